"""The linear part of a forecast, and how far a model is trusted beside it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from gatewise.data import Columns, SeriesData, SeriesPreprocessor, make_windows, prepare
from gatewise.data.linear_forecast import LinearForecast


def windows_of(values: np.ndarray, window: int, horizon: int) -> tuple[np.ndarray, np.ndarray]:
    starts = range(len(values) - window - horizon + 1)
    x = np.stack([values[at : at + window] for at in starts])
    return x, np.stack([values[at + window : at + window + horizon] for at in starts])


def wave(steps: int = 200) -> SeriesData:
    time = np.arange(steps)
    noise = np.random.default_rng(3).normal(size=(steps, 2))
    x = np.stack([10 * np.sin(time / 3) + 0.5 * time, 3.0 + np.cos(time / 5)], axis=1) + noise
    return SeriesData(
        "wave",
        "forecasting",
        [x],
        None,
        ["one"],
        ("level", "other"),
        columns=Columns(target=("level", "other")),
        horizon=3,
    )


def test_what_is_linear_is_found():
    """A sinusoid obeys a recurrence of two steps, and each target is fitted on its own window."""
    time = np.arange(120.0)
    values = np.stack([np.sin(time / 2), 100 * np.cos(time / 7)], axis=1)
    x, y = windows_of(values, 8, 4)
    forecast = LinearForecast.fit(x[:80], y[:80])
    assert forecast.weights.shape == (2, 8, 4)
    np.testing.assert_allclose(forecast(x[80:])[:, :, 0], y[80:, :, 0], atol=1e-2)
    np.testing.assert_allclose(forecast(x[80:])[:, :, 1], y[80:, :, 1], atol=1.0)


def test_noise_is_penalised_until_little_but_the_last_value_is_left():
    walk = np.cumsum(np.random.default_rng(0).normal(size=300))[:, None]
    x, y = windows_of(walk, 24, 2)
    forecast = LinearForecast.fit(x, y)
    assert np.abs(forecast.weights).max() < 0.1


def test_a_shifted_series_has_its_forecast_shifted():
    x, y = windows_of(np.random.default_rng(1).normal(size=(60, 1)), 5, 2)
    forecast = LinearForecast.fit(x, y)
    np.testing.assert_allclose(forecast(x + 1000.0), forecast(x) + 1000.0, rtol=1e-12)


@pytest.mark.parametrize("window", [1, 2, 7])
def test_few_and_constant_windows_have_a_forecast(window):
    x = np.full((2, window, 1), 5.0)
    assert LinearForecast.fit(x, x[:, :1])(x).ravel().tolist() == [5.0, 5.0]


@pytest.fixture(scope="module")
def parts():
    return make_windows(wave(), window=12)


def test_a_perfect_model_is_trusted_and_a_useless_one_is_not(parts):
    preprocessor = prepare(parts.train)
    held_out = parts.validation
    perfect = preprocessor.weighed(preprocessor.targets(held_out), held_out)
    assert perfect.trust > 0.999
    linear = replace(preprocessor, trust=0.0)
    noisy = preprocessor.targets(held_out) * 0 + 50.0
    useless = preprocessor.weighed(noisy, held_out)
    assert useless.trust < 0.05
    np.testing.assert_allclose(
        linear.restore(noisy, held_out),
        preprocessor.linear(np.stack(held_out.x)),
    )


def test_the_share_is_the_best_one(parts):
    preprocessor = prepare(parts.train)
    held_out = parts.validation
    chance = np.random.default_rng(2)
    found = preprocessor.targets(held_out) + 0.1 * chance.normal(size=(len(held_out), 6))
    chosen = preprocessor.weighed(found, held_out)
    assert 0 < chosen.trust < 1
    linear = preprocessor.linear(np.stack(held_out.x))
    unit = np.square(held_out.y - linear).mean(axis=(0, 1))

    def error(trust: float) -> float:
        told = replace(preprocessor, trust=trust).restore(found, held_out)
        return float((np.square(told - held_out.y).mean(axis=(0, 1)) / unit).sum())

    assert error(chosen.trust) <= min(error(chosen.trust - 0.01), error(chosen.trust + 0.01))


def test_the_model_file_keeps_it(parts):
    preprocessor = replace(prepare(parts.train), trust=0.25)
    assert SeriesPreprocessor.from_config(preprocessor.get_config()) == preprocessor


def test_a_gap_in_the_window_counts_as_the_value_before_it():
    data = wave()
    data.x[0][30:33, 0] = np.nan
    parts = make_windows(data, window=12)
    preprocessor = replace(prepare(parts.train), trust=0.5)
    with_gap = parts.train.take([25])
    assert np.isnan(with_gap.x[0]).any()
    assert np.isfinite(preprocessor.restore(np.zeros((1, 6)), with_gap)).all()
