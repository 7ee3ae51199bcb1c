"""docs/keras.md is a program: its blocks run in order and print what stands below them."""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise import keras as bridge

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(r"^```(python|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _words(text: str) -> list[str]:
    """The words of a text, without the name of the machine's instruction set."""
    return re.sub(r"avx512|avx2|portable", "#", text).split()


def test_the_blocks_print_what_the_page_shows(monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    printed, compared = "", 0
    try:
        for kind, block in BLOCK.findall((ROOT / "docs" / "keras.md").read_text()):
            if kind == "python":
                output = io.StringIO()
                with contextlib.redirect_stdout(output):
                    exec(compile(block, "docs/keras.md", "exec"), names)
                printed = output.getvalue()
            else:
                assert _words(printed) == _words(block)
                compared += 1
    finally:
        bridge.disable()
    assert compared == 4


def test_the_benchmark_runs(tmp_path) -> None:
    target = tmp_path / "bridge.json"
    command = [sys.executable, ROOT / "benchmarks" / "keras_bridge.py"]
    done = subprocess.run(
        [*command, "--rounds", "1", "--steps", "1", "--json", target],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(target.read_text())["rows"]
    assert [row["program"] for row in rows] == ["the program", "with Embedding(mask_zero=True)"]
    assert all(row["kernel"] == "cpu" and row["bridge_ms"] > 0 for row in rows)
    assert len(done.stdout.splitlines()) == 1 + len(rows)
