"""The first value that is not finite is found and named."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gatewise.data import check_finite
from gatewise.errors import NonFiniteError


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("kind", [np.array, torch.tensor])
def test_names_the_first_place(kind, bad):
    x = np.zeros((3, 4, 2))
    x[1, 2, 1] = x[2, 0, 0] = bad
    with pytest.raises(NonFiniteError, match=rf"x holds {bad} at sample 1, step 2, channel 1\."):
        check_finite(kind(x.tolist()))


def test_other_ranks_and_names():
    with pytest.raises(NonFiniteError, match=r"y holds nan at sample 1\."):
        check_finite(np.array([0.0, np.nan]), name="y")
    with pytest.raises(NonFiniteError, match=r"sample 2, step 0\."):
        check_finite([[1.0], [2.0, 3.0], [np.inf]])


def test_padding_may_be_anything():
    x = torch.zeros(2, 3, 2)
    x[0, 2] = float("nan")
    mask = torch.ones(2, 3, dtype=torch.bool)
    mask[0, 2] = False
    check_finite(x, mask)
    x[1, 0, 0] = float("inf")
    with pytest.raises(NonFiniteError, match="sample 1, step 0, channel 0"):
        check_finite(x, mask)


def test_large_and_whole_numbers_are_finite():
    check_finite(torch.full((4, 4), 3e38))  # the sum overflows, the values do not
    check_finite(np.array([[1, 2], [3, 4]]))
    check_finite([np.ones((2, 2), dtype=np.float32)])
