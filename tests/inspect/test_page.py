"""docs/inspect.md is a program: its blocks run in order and print the text below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "inspect.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# Digits that depend on the machine's instruction set, and the bars drawn from them.
MEASURED = re.compile(r"-?\d+(\.\d+)?(e-?\d+)?%?|\binf\b|\bnan\b|[▁▂▃▄▅▆▇█·]+")


def shape(text: str) -> list[str]:
    """The words of a text, with what was measured on a machine left out."""
    return MEASURED.sub("#", text).split()


def test_python_blocks_print_what_the_page_shows(monkeypatch, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed, compared = "", 0
    for kind, block in BLOCK.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(block, PAGE.name, "exec"), names)
            printed = output.getvalue()
        else:
            assert shape(printed) == shape(block)
            compared += 1
    assert compared == 6
    drawn = sorted(path.name for path in tmp_path.glob("*.png"))
    assert drawn == [
        f"{name}.png" for name in ("flow", "gates", "history", "saturation", "text", "unrolled")
    ]
