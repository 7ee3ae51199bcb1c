"""The benchmark still runs, on next to no data; what it measures is not looked at here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

BENCHMARK = Path(__file__).resolve().parents[2] / "benchmarks" / "gradients.py"


def run(*arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, BENCHMARK, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_cue_is_learnt_and_drawn(tmp_path: Path) -> None:
    target, figure = tmp_path / "cue.json", tmp_path / "cue.png"
    small = ["--lag", "4", "--chunk", "2", "--memory", "4", "--seeds", "1", "--cues", "10"]
    printed = run("cue", *small, "--json", str(target), "--figure", str(figure))
    rows = json.loads(target.read_text())["rows"]
    assert [row["data"] for row in rows] == ["stream"] * 5 + ["series"] * 3
    assert all(len(curve) == 10 for row in rows for curve in row["curves"])
    assert len(printed.splitlines()) == 1 + len(rows)
    assert figure.read_bytes().startswith(b"\x89PNG")


def test_costs_are_measured() -> None:
    assert json.loads(run("cost", "--one", "snap1:100", "600"))["steps"] == 600
    assert len(run("speed", "--quick", "--rounds", "2").splitlines()) == 1 + 6
    assert len(run("online", "--steps", "5").splitlines()) == 1 + 6
