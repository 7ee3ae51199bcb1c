"""docs/inspect.md is a program: its blocks run in order and print the text below them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

# Digits that depend on the machine's instruction set, and the bars drawn from them.
MEASURED = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?%?|\binf\b|\bnan\b|[▁▂▃▄▅▆▇█·]+")


def shape(text: str) -> list[str]:
    """The words of a text, with what was measured on a machine left out."""
    return MEASURED.sub("#", text).split()


def test_python_blocks_print_what_the_page_shows(
    run_page: Callable[..., int], tmp_path: Path
) -> None:
    pytest.importorskip("matplotlib")
    assert run_page("docs/inspect.md", shape) == 7
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == [
        f"{name}.png" for name in ("flow", "gates", "history", "saturation", "text", "unrolled")
    ]
