"""The README is a program: its blocks run in order and print the text that stands below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

README = Path(__file__).resolve().parents[1] / "README.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Digits that depend on the machine's instruction set or its speed, and the bars drawn from them.
MEASURED = re.compile(
    r"\d+(\.\d+)?(e-?\d+)?%?|[▁▂▃▄▅▆▇█]+|avx512|avx2|portable|in the (gradient|output|state).*"
)


def blocks() -> list[tuple[str, str]]:
    return BLOCK.findall(README.read_text())


def shape(text: str) -> list[str]:
    """The words of a text, with what was measured on a machine left out."""
    return MEASURED.sub("#", text).split()


def test_python_blocks_print_what_the_readme_shows(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed, compared = "", 0
    for kind, block in blocks():
        if kind == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(block, "README.md", "exec"), names)
            printed = output.getvalue()
        else:
            assert shape(printed) == shape(block)
            compared += 1
    assert compared == 4


def test_the_count_of_the_program_is_exact() -> None:
    summary = blocks()[1][1]
    for number in ("117,248", "129", "117,377", "4·(128·100 + 128·128) + 4·128"):
        assert number in summary
