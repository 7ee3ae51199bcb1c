"""Gate order and specification: declared once, and travelling through the operator unchanged."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gatewise.cells import GATES, Specification, gate_slice, reorder_gates, split_gates
from gatewise.errors import UnknownNameError


@pytest.mark.parametrize("cell", GATES)
def test_slices_and_splits_agree(cell: str) -> None:
    tensor = torch.arange(len(GATES[cell]) * 5)
    for gate, part in split_gates(tensor, cell).items():
        assert torch.equal(part, tensor[gate_slice(cell, gate, 5)])


def test_reordering_and_back_is_the_identity() -> None:
    tensor = torch.arange(12.0).reshape(2, 6)
    there = reorder_gates(tensor, ("z", "r", "h"), ("r", "z", "h"))
    assert torch.equal(there, tensor[:, [2, 3, 0, 1, 4, 5]])
    assert torch.equal(reorder_gates(there, ("r", "z", "h"), ("z", "r", "h")), tensor)


@pytest.mark.parametrize("reverse", [True, False])
@pytest.mark.parametrize("reset_after", [True, False])
@pytest.mark.parametrize("cell", GATES)
def test_specification_survives_its_encoding(cell: str, reset_after: bool, reverse: bool) -> None:
    specification = Specification(cell, "relu", "hard_sigmoid", reset_after, reverse)
    assert Specification.decode(specification.encode()) == specification


def test_unknown_cell_suggests_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'lstm'"):
        Specification("lsmt")


def test_the_hash_is_worked_out_once_and_only_when_it_is_asked_for() -> None:
    # torch.compile makes specifications, and not every version that we support can trace a hash.
    class Counted:
        asked = 0

        def __call__(self, x: Tensor) -> Tensor:
            return x

        def __hash__(self) -> int:
            Counted.asked += 1
            return 1

    specification = Specification("lstm", Counted())
    assert Counted.asked == 0
    assert hash(specification) == hash(specification)
    assert Counted.asked == 1
