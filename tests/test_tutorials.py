"""The tutorials are programs: their blocks run in order and print the text that stands below."""

from __future__ import annotations

import contextlib
import io
import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gatewise.cli.main import app

TUTORIALS = sorted((Path(__file__).resolve().parents[1] / "docs" / "tutorials").glob("*.md"))
BLOCK = re.compile(r"^```(python|sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
MEASURED = re.compile(
    r"\d+(\.\d+)?(e-?\d+)?"
)  # figures of a training, which the machine may change


def shape(text: str) -> str:
    """The words of a text, with what was measured left out."""
    return " ".join(MEASURED.sub("#", text).split())


def assert_shows(printed: str, block: str) -> None:
    """Assert that a block is what was printed; a line `…` stands for any lines left out."""
    pieces = [re.escape(shape(piece)) for piece in re.split(r"^…$", block, flags=re.MULTILINE)]
    assert re.fullmatch(r" ?.* ?".join(pieces), shape(printed)), printed


def run_python(block: str, names: dict[str, object]) -> str:
    output = io.StringIO()
    with contextlib.redirect_stdout(output):
        exec(compile(block, "tutorial", "exec"), names)
    return output.getvalue()


def run_commands(block: str) -> str:
    printed = ""
    for command in block.splitlines():
        program, *arguments = shlex.split(command)
        assert program == "gatewise"
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code in (0, 2), result.output
        assert (result.exit_code == 0) == (not result.stderr.startswith("Error")), result.stderr
        printed += result.output
    return printed


@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_blocks_print_what_the_page_shows(tutorial, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed, compared = "", 0
    for kind, block in BLOCK.findall(tutorial.read_text(encoding="utf-8")):
        if kind == "text":
            assert_shows(printed, block)
            compared += 1
        else:
            printed = run_python(block, names) if kind == "python" else run_commands(block)
    assert compared


def test_a_block_that_differs_is_found():
    with pytest.raises(AssertionError):
        assert_shows("one 1.5 three", "one 2.5 two\n")
    with pytest.raises(AssertionError):
        assert_shows("one two three", "two\n…\n")
    assert_shows("one 1.5 three four", "one 2 three\n…\n")
