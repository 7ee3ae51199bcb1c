"""docs/kernels.md is a program: its blocks run in order and print the text below them."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_blocks_print_what_the_document_shows() -> None:
    names: dict[str, object] = {}
    printed, compared = "", 0
    for kind, block in BLOCK.findall(DOCUMENT.read_text()):
        if kind == "python":
            output = io.StringIO()
            with contextlib.redirect_stdout(output):
                exec(compile(block, DOCUMENT.name, "exec"), names)
            printed = output.getvalue()
        else:
            assert printed == block
            compared += 1
    assert compared == 2
