"""docs/kernels.md and docs/bfloat16.md are programs: their blocks print the text below them."""

from __future__ import annotations

from collections.abc import Callable


def test_the_blocks_print_what_the_page_shows(run_page: Callable[..., int]) -> None:
    assert run_page("docs/kernels.md") == 2


def test_the_blocks_of_bfloat16_print_what_the_page_shows(run_page: Callable[..., int]) -> None:
    assert run_page("docs/bfloat16.md") == 2
