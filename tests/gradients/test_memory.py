"""What autograd holds for the way back: flat in T for the algorithms that run in pieces."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gatewise.gradients import ARTBP, BPTT, TBPTT, EProp, SnAp1


class Ledger:
    """Counts the numbers that autograd holds, and the most that it ever held."""

    def __init__(self) -> None:
        self.now = self.peak = 0

    def pack(self, tensor: Tensor) -> Held:
        return Held(tensor, self)


class Held:
    """A saved tensor, which is counted as long as it is held."""

    def __init__(self, tensor: Tensor, ledger: Ledger) -> None:
        self.tensor, self.ledger = tensor, ledger
        ledger.now += tensor.numel()
        ledger.peak = max(ledger.peak, ledger.now)

    def __del__(self) -> None:
        self.ledger.now -= self.tensor.numel()


def peak(tools: Any, gradient: Any, steps: int, sequences: bool = True) -> int:
    torch.manual_seed(0)
    model = tools.build("lstm", 2, sequences)
    x, y = tools.series(batch=2, steps=steps, sequences=sequences)
    ledger = Ledger()
    with torch.autograd.graph.saved_tensors_hooks(ledger.pack, lambda held: held.tensor):
        tools.gradients_of(model, gradient, x, y)
    assert ledger.now == 0
    return ledger.peak


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("gradient", [TBPTT(5), TBPTT(2, 6), SnAp1(5), EProp(5)], ids=repr)
def test_online_algorithms_hold_no_more_for_a_longer_series(
    tools: Any, gradient: Any, sequences: bool
) -> None:
    assert peak(tools, gradient, 120, sequences) == peak(tools, gradient, 30, sequences) > 0


def test_backpropagation_holds_every_step(tools: Any) -> None:
    assert peak(tools, BPTT(), 300) > 8 * peak(tools, BPTT(), 30)


def test_artbp_holds_its_longest_segment(tools: Any) -> None:
    assert peak(tools, ARTBP(5), 300, sequences=False) < peak(tools, BPTT(), 300, False) / 3
