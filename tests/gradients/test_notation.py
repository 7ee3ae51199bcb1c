"""Algorithms in a word: what is read, what is written, and what an error says."""

from __future__ import annotations

from typing import Any

import pytest

from gatewise.errors import InputError, UnknownNameError
from gatewise.gradients import ARTBP, BPTT, RTRL, TBPTT, EProp, GradientAlgorithm, SnAp1
from gatewise.gradients.notation import parse, write

WRITTEN = {
    "bptt": BPTT(),
    "bptt:sqrt": BPTT("sqrt"),
    "bptt:10": BPTT(10),
    "tbptt:5": TBPTT(5),
    "tbptt:20": TBPTT(20),
    "tbptt:20,40": TBPTT(20, 40),
    "tbptt:20,auto": TBPTT(20, "auto"),
    "artbp:20": ARTBP(20),
    "artbp:12.5,6": ARTBP(12.5, 6),
    "rtrl": RTRL(),
    "rtrl:3": RTRL(3),
    "snap1": SnAp1(),
    "snap1:5": SnAp1(5),
    "eprop": EProp(),
    "eprop:7": EProp(7),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_reading_and_writing_are_each_others_way_back(text: str) -> None:
    assert parse(text) == WRITTEN[text]
    assert write(WRITTEN[text]) == text


def test_names_may_be_written_in_other_ways() -> None:
    assert parse("TBPTT: 20, 40") == TBPTT(20, 40)
    assert parse("SnAp-1:2") == parse("snap_1:2") == SnAp1(2)
    assert parse("e-prop") == EProp()
    assert parse("tbptt") == TBPTT(20)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tbptt:x", r"'x' as its k1.*Write tbptt:K1 or tbptt:K1,K2"),
        ("tbptt:20,", r"'' as its k2"),
        ("tbptt:20,40,60", r"3 arguments, and tbptt takes at most 2"),
        ("tbptt:2.5", r"'2.5' as its k1"),
        ("tbptt:40,20", r"k2 .*at least k1.*Use TBPTT\(20, 40\) or TBPTT\(40\)"),
        ("tbptt:0", r"k1 to be a whole number of time steps, at least 1"),
        ("bptt:half", r"'half' as its checkpoint.*bptt:sqrt"),
        ("artbp", r"lacks an argument. Write artbp:MEAN_LENGTH"),
        ("artbp:20,1", r"alpha above 2"),
        ("snap1:0", r"every"),
        ("rtrl:1,2", r"2 arguments"),
    ],
)
def test_what_cannot_be_read_is_an_error_that_shows_the_form(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'tbptt'"):
        parse("tbtt:20")


def test_an_algorithm_of_ones_own_is_written_by_its_name() -> None:
    class Own(GradientAlgorithm):
        exact = unbiased = online = False
        cost = "3F"

        def supports(self, model: Any) -> None:
            pass

        def gradients(self, task: Any, trail: Any = None) -> Any:
            yield task.backward(task.whole())

    assert write(Own()) == "Own"
