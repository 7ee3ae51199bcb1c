"""The README is a program: its blocks run in order and print the text that stands below them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"

# Digits that depend on the machine's instruction set or its speed, and the bars drawn from them.
MEASURED = re.compile(
    r"\d+(\.\d+)?(e-?\d+)?%?|[▁▂▃▄▅▆▇█]+|avx512(_vnni|_bf16)?|avx2|portable"
    r"|in the (gradient|output|state|final).*"
)


def shape(text: str) -> list[str]:
    """The words of a text, with what was measured on a machine left out."""
    return MEASURED.sub("#", text).split()


def test_python_blocks_print_what_the_readme_shows(run_page: Callable[..., int]) -> None:
    assert run_page("README.md", shape) == 4


def test_the_count_of_the_program_is_exact() -> None:
    summary = README.read_text(encoding="utf-8")
    for number in ("117,248", "129", "117,377", "4·(128·100 + 128·128) + 4·128"):
        assert number in summary
