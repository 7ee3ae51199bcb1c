"""Regularizers, against Keras's."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from gatewise.errors import InputError, UnknownNameError
from gatewise.layers import regularizers


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        ("l1", keras.regularizers.L1()),
        ("l2", keras.regularizers.L2()),
        ("l1_l2", keras.regularizers.L1L2(0.01, 0.01)),
        (regularizers.L1(0.3), keras.regularizers.L1(0.3)),
        (regularizers.L2(0.3), keras.regularizers.L2(0.3)),
        (regularizers.L1L2(0.3, 0.2), keras.regularizers.L1L2(0.3, 0.2)),
        (regularizers.L1L2(), keras.regularizers.L1L2()),
    ],
)
def test_penalties_are_keras(ours: Any, theirs: Any) -> None:
    weight = torch.randn(4, 5, generator=torch.Generator().manual_seed(1))
    penalty = regularizers.get(ours)
    assert penalty is not None
    np.testing.assert_allclose(penalty(weight), theirs(weight), rtol=1e-6)


def test_round_trip() -> None:
    for known in (regularizers.L1(0.2), regularizers.L2(), regularizers.L1L2(0.1, 0.3), None):
        assert regularizers.get(regularizers.serialize(known)) == known
    theirs = keras.regularizers.serialize(keras.regularizers.L2(0.5))
    assert regularizers.get(theirs) == regularizers.L2(0.5)


@pytest.mark.parametrize("factor", [-1, float("nan"), float("inf"), "0.1"])
def test_factors_are_checked(factor: Any) -> None:
    with pytest.raises(InputError, match="L2 expected l2 to be a number of 0 or more but got"):
        regularizers.L2(factor)


def test_unknown_names() -> None:
    with pytest.raises(
        UnknownNameError, match=r"Unknown regularizer 'l1_l3'\. Did you mean 'l1_l2'"
    ):
        regularizers.get("l1_l3")
