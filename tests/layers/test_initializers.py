"""Initializers: their distributions, their names, and Keras's own numbers for equal seeds."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
import torch

from gatewise.errors import InputError, UnknownNameError
from gatewise.layers import initializers

SHAPE = (200, 300)


@pytest.mark.parametrize(
    ("name", "deviation", "limit"),
    [
        ("glorot_uniform", math.sqrt(2 / 500), math.sqrt(6 / 500)),
        ("glorot_normal", math.sqrt(2 / 500), 2 * math.sqrt(2 / 500) / 0.8796),
        ("he_uniform", math.sqrt(2 / 200), math.sqrt(6 / 200)),
        ("he_normal", math.sqrt(2 / 200), 2 * math.sqrt(2 / 200) / 0.8796),
        ("lecun_uniform", math.sqrt(1 / 200), math.sqrt(3 / 200)),
        ("lecun_normal", math.sqrt(1 / 200), 2 * math.sqrt(1 / 200) / 0.8796),
        ("random_uniform", 0.05 / math.sqrt(3), 0.05),
        ("uniform", 0.05 / math.sqrt(3), 0.05),
        ("random_normal", 0.05, math.inf),
        ("truncated_normal", 0.05 * 0.8796, 0.1),
        ("variance_scaling", math.sqrt(1 / 200), 2 * math.sqrt(1 / 200) / 0.8796),
    ],
)
def test_mean_deviation_and_limit(name: str, deviation: float, limit: float) -> None:
    torch.manual_seed(0)
    drawn = initializers.get(name)(SHAPE, dtype=torch.float64)
    # 60,000 draws: the mean strays by 0.004 deviations, the deviation itself by at most 0.3 %.
    assert abs(drawn.mean().item()) < 5 * deviation / math.sqrt(drawn.numel())
    assert drawn.std().item() == pytest.approx(deviation, rel=0.015)
    assert 0.97 * min(limit, 3.5 * deviation) < drawn.abs().max().item() <= limit * (1 + 1e-4)


@pytest.mark.parametrize("shape", [(7, 7), (4, 12), (12, 4), (2, 3, 5)])
def test_orthogonal(shape: tuple[int, ...]) -> None:
    drawn = initializers.Orthogonal(gain=2.0, seed=1)(shape, dtype=torch.float64)
    assert drawn.shape == shape
    matrix = drawn.flatten(0, -2) / 2
    product = matrix @ matrix.T if matrix.shape[0] < matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, torch.eye(len(product), dtype=torch.float64))


def test_orthogonal_is_uniform() -> None:
    """The determinant is +1 and -1 equally often, which a bare QR decomposition does not give."""
    torch.manual_seed(2)
    draws = [torch.linalg.det(initializers.Orthogonal()((3, 3))).item() for _ in range(400)]
    assert abs(sum(draws)) < 5 * math.sqrt(400)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (initializers.GlorotUniform(seed=7), keras.initializers.GlorotUniform(seed=7)),
        (initializers.HeUniform(seed=7), keras.initializers.HeUniform(seed=7)),
        (
            initializers.RandomUniform(-1, 2, seed=7),
            keras.initializers.RandomUniform(-1, 2, seed=7),
        ),
        (initializers.RandomNormal(1, 2, seed=7), keras.initializers.RandomNormal(1, 2, seed=7)),
        (initializers.Orthogonal(seed=7), keras.initializers.Orthogonal(seed=7)),
        (initializers.Constant(3), keras.initializers.Constant(3)),
        (initializers.Identity(2.0), keras.initializers.Identity(2.0)),
        (initializers.Zeros(), keras.initializers.Zeros()),
        (initializers.Ones(), keras.initializers.Ones()),
    ],
)
def test_equal_seeds_give_the_numbers_of_keras(ours: Any, theirs: Any) -> None:
    drawn = ours((6, 8), dtype=torch.float32).numpy()
    np.testing.assert_allclose(drawn, theirs((6, 8)).numpy(), rtol=1e-6, atol=1e-7)


def test_seeds() -> None:
    seeded, free = initializers.GlorotUniform(seed=3), initializers.GlorotUniform()
    assert torch.equal(seeded(SHAPE), seeded(SHAPE))
    assert not torch.equal(free(SHAPE), free(SHAPE))
    assert not torch.equal(seeded(SHAPE), initializers.GlorotUniform(seed=4)(SHAPE))
    torch.manual_seed(5)
    before = free(SHAPE)
    torch.manual_seed(5)
    assert torch.equal(free(SHAPE), before)


@pytest.mark.parametrize("scale", [0.5, 2.0])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out", "fan_avg"])
@pytest.mark.parametrize(
    "distribution", ["uniform", "normal", "truncated_normal", "untruncated_normal"]
)
def test_variance_scaling(scale: float, mode: str, distribution: str) -> None:
    drawn = initializers.VarianceScaling(scale, mode, distribution, seed=1)(SHAPE)
    fan = {"fan_in": 200, "fan_out": 300, "fan_avg": 250}[mode]
    assert drawn.std().item() == pytest.approx(math.sqrt(scale / fan), rel=0.015)


@pytest.mark.parametrize(
    "given",
    [
        initializers.GlorotUniform(),
        "glorot_uniform",
        "GlorotUniform",
        initializers.GlorotUniform,
        {"class_name": "GlorotUniform", "config": {"seed": None}},
        keras.initializers.serialize(keras.initializers.GlorotUniform()),
    ],
)
def test_names_dictionaries_and_classes(given: Any) -> None:
    assert initializers.get(given) == initializers.GlorotUniform()


def test_round_trip() -> None:
    for known in (
        initializers.VarianceScaling(2.0, "fan_avg", "uniform", 1),
        initializers.Orthogonal(gain=0.5, seed=3),
        initializers.HeNormal(seed=2),
        initializers.Constant(1.5),
    ):
        assert initializers.get(initializers.serialize(known)) == known


def test_mistakes_are_named() -> None:
    with pytest.raises(
        UnknownNameError, match=r"'glorot_unform'\. Did you mean 'glorot_uniform'\?"
    ):
        initializers.get("glorot_unform")
    with pytest.raises(InputError, match=r"has no name, so no configuration can hold it"):
        initializers.serialize(lambda shape, dtype: torch.zeros(shape))
    with pytest.raises(InputError, match=r"^An initializer is a name, a dictionary .* but got 3\."):
        initializers.get(3)
    with pytest.raises(InputError, match=r"GlorotUniform takes seed but got gain\."):
        initializers.get({"class_name": "GlorotUniform", "config": {"gain": 2}})
    with pytest.raises(
        InputError, match=r"Orthogonal needs two axes or more but the shape is \(3,\)"
    ):
        initializers.Orthogonal()((3,))
    with pytest.raises(UnknownNameError, match="Did you mean 'fan_in'"):
        initializers.VarianceScaling(mode="fan_inn")
    with pytest.raises(InputError, match="positive scale but got 0"):
        initializers.VarianceScaling(scale=0)
