"""docs/streams.md is a program: its blocks run in order and print the text below them."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from gatewise.kernels import cpu


@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
def test_the_blocks_print_what_the_page_shows(run_page: Callable[..., int]) -> None:
    assert run_page("docs/streams.md") == 3
