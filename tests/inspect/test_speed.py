"""Measured speed: what is compared and counted. No time is asserted."""

from __future__ import annotations

import sys

import pytest
import torch

from gatewise.errors import InputError, UnknownNameError
from gatewise.inspect.speed import OURS, Comparison, Rounds, measure_machine, measure_speed, threads
from gatewise.inspect.text_speed import render_speed
from gatewise.kernels import cpu


def test_rounds_run_both_alternately_in_the_other_order_every_time() -> None:
    ran: list[str] = []
    found = Rounds(3, 0.0).compare(lambda: ran.append("ours"), lambda: ran.append("peer"))
    measured = ran[4:]  # each side is run twice before, to see how often it is to be repeated
    assert measured == ["ours", "peer", "peer", "ours", "ours", "peer"]
    assert len(found.ours) == len(found.peer) == 3


def test_the_ratio_is_the_median_of_the_rounds_ratios() -> None:
    # By the medians of the times it would be 4 / 2.
    found = Comparison([1.0, 2.0, 9.0], [4.0, 2.0, 9.0])
    assert found.quartiles[1] == 1.0
    assert (found.ours_ms, found.peer_ms) == (2.0, 4.0)


@pytest.mark.parametrize("cell", OURS)
@pytest.mark.parametrize("training", [True, False])
def test_every_cell_is_measured(cell: str, training: bool) -> None:
    speed = measure_speed(cell, (2, 3, 4, 5), training, Rounds(2, 0.0))
    assert speed.shape == (2, 3, 4, 5) and speed.training == training
    assert speed.peer == {"lstm": "nn.LSTM", "gru": "nn.GRU", "simple_rnn": "nn.RNN"}[cell]
    low, high = speed.quartiles
    assert 0 < low <= speed.ratio <= high
    if cpu.available():
        assert speed.kernel == "cpu" and cpu.isa() in speed.reason
        assert speed.peak_share is not None and 0 < speed.peak_share < 1
    assert speed.reason in render_speed([speed], measure_machine())


def test_threads_are_set_and_given_back() -> None:
    before = torch.get_num_threads()
    with threads(before + 1):
        assert measure_machine().threads == before + 1
    assert torch.get_num_threads() == before
    with pytest.raises(InputError, match="at least 1 but got 0"), threads(0):
        pass


@pytest.mark.parametrize("shape", [(1, 2, 3), (1, 2, 3, 0), (1, 2, 3, 4, 5)])
def test_a_shape_that_is_none_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match="four positive numbers B,T,I,H"):
        measure_speed("lstm", shape)


def test_an_unknown_cell_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'lstm'"):
        measure_speed("lstn", (1, 2, 3, 4))


def test_the_machine_says_how_far_apart_its_threads_are() -> None:
    if not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    if sys.platform != "linux":
        pytest.skip("elsewhere the kernels may have been built without OpenMP's threads")
    with threads(2):
        machine = measure_machine()
    assert machine.handover_seconds is not None and machine.handover_seconds > 0
    assert " ns apart, " in render_speed([], machine)
    with threads(1):
        alone = measure_machine()
    assert alone.handover_seconds is None
    assert "apart" not in render_speed([], alone)
