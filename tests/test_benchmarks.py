"""Every benchmark still runs, on next to no data; what it measures is not looked at here."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise.kernels import cpu

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def _run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, BENCHMARKS / name, *arguments],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_fit_overhead(tmp_path: Path):
    target = tmp_path / "overhead.json"
    printed = _run("fit_overhead.py", "--rounds", "1", "--steps", "2", "--json", str(target))
    rows = json.loads(target.read_text())["rows"]
    assert [(row["size"], row["metrics"]) for row in rows] == [
        ("the program", []),
        ("the program", ["accuracy"]),
        ("tiny", []),
        ("tiny", ["accuracy"]),
    ]
    assert len(printed.splitlines()) == 1 + len(rows)


def test_whole_program(tmp_path: Path):
    target = tmp_path / "whole_program.json"
    small = ["--peer", "torch", "--rounds", "2", "--batches", "2", "--json", str(target)]
    printed = _run("whole_program.py", *small).splitlines()
    content = json.loads(target.read_text())
    rows, apart = content["rows"], content["nanoseconds_apart"]
    assert [row["contender"] for row in rows] == ["gatewise", "torch"]
    assert rows[0]["ratio"] == 1 and all(len(row["all_ms"]) == 2 for row in rows)
    assert len(apart) == 2 and all(one is None or one > 0 for one in apart)
    assert len(printed) == 1 + len(rows) + (0 if apart == [None, None] else 1)


def test_verse_or_scripture(tmp_path: Path):
    target = tmp_path / "results.json"
    small = ["--seeds", "1", "--epochs", "2", "--limit", "64", "--json", str(target)]
    table = _run("verse_or_scripture.py", *small).splitlines()
    results = json.loads(target.read_text())
    assert results["training_fragments"] == 64
    for name in ("gatewise", "gatewise-ragged"):
        (run,) = results["runs"][name]
        assert len(run["accuracies"]) == len(run["seconds"]) == 2
        assert any(line.startswith(f"| {name} | {run['accuracies'][-1]:.4f} |") for line in table)
    assert table[-1].startswith("| bag of words, logistic regression |")


def test_recurrent(tmp_path: Path):
    if not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    target = tmp_path / "recurrent.json"
    chosen = ["--only", "random", "--only", "streaming", "--random", "2"]
    printed = _run("recurrent.py", "--quick", *chosen, "--json", str(target)).splitlines()
    content = json.loads(target.read_text())
    assert content["peak_multiply_adds_per_second"] > 0
    assert sum(row["group"] == "random" for row in content["rows"]) == 2
    assert all(row["ours_ms"] > 0 and row["ratio"] > 0 for row in content["rows"])
    # The activations are a part of what limits the ratio.
    assert all(0 < row["limit"] < 0.999 * row["ratio"] / row["peak"] for row in content["rows"])
    assert len(printed) == 1 + len(content["rows"]) + 1
    assert printed[-1].startswith("2 random shapes: geometric mean")


def test_bfloat16(tmp_path: Path):
    if not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    target = tmp_path / "bfloat16.json"
    printed = _run("bfloat16.py", "--quick", "--shape", "2,3,4,5", "--json", str(target))
    rows = json.loads(target.read_text())["rows"]
    assert [(row["cell"], row["what"]) for row in rows[::2]] == [
        (cell, what) for cell in ("lstm", "gru") for what in ("training", "inference")
    ]
    assert {row["peer"] for row in rows[:2]} == {"nn.LSTM, bfloat16", "ours, float32"}
    assert len(printed.splitlines()) == 2 + len(rows)


def test_bfloat16_learning(tmp_path: Path):
    target = tmp_path / "learning.json"
    small = ["--learning", "--quick", "--seeds", "1", "--json", str(target)]
    _run("bfloat16.py", *small, "--task", "adding", "--task", "japanese-vowels")
    reached = json.loads(target.read_text())["learning"]
    assert reached["adding"]["float32"] != reached["adding"]["bfloat16"]
    assert all(0 < one < 1 for values in reached["japanese-vowels"].values() for one in values)


def test_variants(tmp_path: Path):
    if not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    target = tmp_path / "variants.json"
    small = ["--quick", "--shape", "2,3,4,5", "--json", str(target)]
    printed = _run("variants.py", *small).splitlines()
    rows = json.loads(target.read_text())["rows"]
    assert {(row["cell"], row["variant"]) for row in rows} >= {
        ("LSTM", "peephole"),
        ("LSTM", "all of them"),
        ("GRU", "zoneout"),
    }
    assert all(row["variant_ms"] > 0 and row["ratio"] > 0 for row in rows)
    assert len(printed) == 1 + len(rows)


def test_inspect_large(tmp_path: Path):
    target = tmp_path / "inspect.json"
    small = ["--steps", "12", "--units", "8", "--batch", "2", "--json", str(target)]
    printed = _run("inspect_large.py", *small).splitlines()
    content = json.loads(target.read_text())
    assert content["parameters"] == 4 * 8 * (256 + 8 + 1) + 9
    assert set(content["seconds"]) == {"parameters", "training", "sharing", "flow", "gates"}
    assert len(printed) == 1 + 5 + 1 and printed[-1].lstrip().startswith("all")


def test_real_data():
    printed = _run("real_data.py", "japanese-vowels", "--seeds", "1", "--epochs", "1").splitlines()
    assert printed[1] == "gatewise train japanese-vowels"
    assert printed[2].startswith("  seed 0   accuracy 0.")
    assert [line.split()[:3] for line in printed[3:]] == [
        ["this", "model", "accuracy"],
        ["this", "model", "macro_f1"],
        ["majority", "accuracy", "0.08378"],
        ["majority", "macro_f1", "0.01718"],
    ]


def test_int8(tmp_path: Path):
    if not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    target = tmp_path / "int8.json"
    small = ["--quick", "--cell", "gru", "--units", "20", "--json", str(target)]
    printed = _run("int8.py", *small).splitlines()
    rows = json.loads(target.read_text())["rows"]
    assert [(row["what"], row["shape"]) for row in rows] == [
        ("stream", [1, 1, 20, 20]),
        ("forward", [1, 100, 20, 20]),
        ("forward", [32, 100, 20, 20]),
    ]
    assert all(row["int8_ms"] > 0 and 0 < row["off"] < 0.1 for row in rows)
    assert len(printed) == 1 + len(rows)


def test_int8_with_options(tmp_path: Path):
    if not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    target = tmp_path / "int8.json"
    small = ["--quick", "--cell", "lstm", "--units", "20", "--options", "--json", str(target)]
    _run("int8.py", *small)
    rows = json.loads(target.read_text())["rows"]
    options = ["peephole", "coupled_gates", "cell_clip", "zoneout", "projection", "layer_norm"]
    assert [row["option"] for row in rows] == [name for name in (*options, "all") for _ in range(3)]
    assert all(row["int8_ms"] > 0 and row["off"] > 0 for row in rows)


def test_int8_projection(tmp_path: Path):
    target = tmp_path / "projection.json"
    printed = _run("int8_projection.py", "--quick", "--json", str(target)).splitlines()
    rows = json.loads(target.read_text())
    assert len(printed) == 1 + len(rows) == 3
    assert all(row["off"][0] == 0 < min(row["off"][1:]) for row in rows)
