"""The scaler: right figures, from the training series alone, and back again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gatewise.data import Preprocessor, StandardScaler, preprocessor_from_json, preprocessor_to_json
from gatewise.errors import InputError, NonFiniteError


@pytest.fixture
def series() -> list[np.ndarray]:
    numbers = np.random.default_rng(1)
    spread = np.array([1.0, 100.0, 0.01])
    return [
        (numbers.normal(size=(length, 3)) * spread + [5, -70, 0]).astype(np.float32)
        for length in (1, 7, 30)
    ]


def test_training_series_become_standard(series):
    scaled = StandardScaler.fit(series)(series)
    assert [one.dtype for one in scaled] == [np.float32] * 3
    steps = np.concatenate(scaled).astype(np.float64)
    np.testing.assert_allclose(steps.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(steps.std(axis=0), 1, atol=1e-5)


def test_inverse_and_array_forms(series):
    scaler = StandardScaler.fit(series)
    for back, one in zip(scaler.inverse(scaler(series)), series, strict=True):
        np.testing.assert_allclose(back, one, rtol=1e-4, atol=1e-5)
    batch = np.stack([series[1], series[1]]).astype(np.float64)  # (2, 7, 3)
    assert scaler(batch).dtype == np.float64
    np.testing.assert_allclose(scaler(batch)[0], scaler(series)[1], rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(StandardScaler.fit(batch).mean, StandardScaler.fit([series[1]]).mean)


def test_a_constant_channel_becomes_zero_and_stays_finite():
    x = np.full((50, 2), 0.1, dtype=np.float32)
    x[:, 1] = np.arange(50)
    scaler = StandardScaler.fit([x])
    assert scaler.deviation[0] == 1.0
    np.testing.assert_allclose(scaler([x])[0][:, 0], 0, atol=1e-7)


def test_config_survives_json_exactly(series):
    scaler = StandardScaler.fit(series)
    assert isinstance(scaler, Preprocessor)
    again = preprocessor_from_json(json.loads(json.dumps(preprocessor_to_json(scaler))))
    assert again == scaler
    assert isinstance(again, StandardScaler)
    assert again.mean.tobytes() == scaler.mean.tobytes()
    assert again != StandardScaler(scaler.mean + 1, scaler.deviation)
    assert hash(again) == hash(scaler)


@pytest.mark.parametrize(
    ("wrong", "kind", "message"),
    [
        (lambda: StandardScaler.fit([]), InputError, "got no series"),
        (
            lambda: StandardScaler.fit([np.ones((2, 3)), np.ones((2, 4))]),
            InputError,
            "Series 1 has shape (2, 4)",
        ),
        (lambda: StandardScaler.fit([np.ones((0, 3))]), InputError, "nothing to measure"),
        (
            lambda: StandardScaler.fit([[[1.0], [np.nan]]]),
            NonFiniteError,
            "sample 0, step 1, channel 0",
        ),
        (lambda: StandardScaler([0.0], [1.0])(np.ones((2, 2))), InputError, "fitted on 1 channels"),
        (lambda: StandardScaler([0.0], [0.0]), InputError, "greater than 0"),
        (lambda: StandardScaler([0.0], [1.0, 1.0]), InputError, "shapes (1,) and (2,)"),
    ],
)
def test_refusals(wrong, kind, message):
    with pytest.raises(kind) as error:
        wrong()
    assert message in str(error.value)
