"""docs/int8.md is a program: its blocks run in order and print the text below them."""

from __future__ import annotations

from collections.abc import Callable

import pytest


def test_the_blocks_print_what_the_page_shows(
    run_page: Callable[..., int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # the width of the summary
    assert run_page("docs/int8.md") == 4
