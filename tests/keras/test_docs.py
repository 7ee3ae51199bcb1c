"""docs/keras.md is a program: its blocks run in order and print what stands below them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewise import keras as bridge

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


def _words(text: str) -> list[str]:
    """The words of a text, without the name of the machine's instruction set."""
    return re.sub(r"avx512(_vnni|_bf16)?|avx2|portable", "#", text).split()


def test_the_blocks_print_what_the_page_shows(run_page: Callable[..., int]) -> None:
    try:
        assert run_page("docs/keras.md", _words) == 4
    finally:
        bridge.disable()


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
