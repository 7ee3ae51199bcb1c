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


def test_the_benchmark_runs(tmp_path: Path) -> None:
    target = tmp_path / "results.json"
    small = ["--lag", "4", "--chunk", "2", "--seeds", "1", "--batches", "1", "--lengths"]
    run(*small, "--json", str(target))
    assert len(json.loads(target.read_text())["cue"]) == 7
    assert json.loads(run("--one", "BPTT, sqrt", "40"))["steps"] == 40
