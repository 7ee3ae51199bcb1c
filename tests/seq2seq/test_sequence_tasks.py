"""The benchmarks of docs/results/sequence_tasks.md still run, on next to no data."""

from __future__ import annotations

import json
import runpy
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import torch

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a benchmark as a program, in float32; return what it prints."""

    def run(name: str, *arguments: str) -> str:
        torch.set_default_dtype(torch.float32)
        monkeypatch.setattr(sys, "argv", [name, *arguments])
        runpy.run_path(str(BENCHMARKS / name), run_name="__main__")
        return capsys.readouterr().out

    return run


def test_adding(run: Any, tmp_path: Path) -> None:
    small = [
        "--length",
        "6",
        "--steps",
        "200",
        "--units",
        "16",
        "--learning-rate",
        "0.02",
        "--seeds",
        "1",
        "--test",
        "100",
    ]
    printed = run("adding.py", *small, "--json", str(tmp_path / "adding.json"))
    (one,) = json.loads((tmp_path / "adding.json").read_text())["runs"]
    assert one["mse"] < one["always_one"]
    assert "T = 6, bias chrono: test MSE median" in printed.splitlines()[-1]


def test_chorales(run: Any, tmp_path: Path) -> None:
    random = np.random.default_rng(0)

    def pieces(count: int) -> np.ndarray:
        found = np.empty((1, count), dtype=object)
        for number in range(count):
            length = random.integers(3, 8)
            found[0, number] = (random.random((length, 88)) < 0.04).astype(np.uint8)
        return found

    parts = {"traindata": pieces(4), "validdata": pieces(2), "testdata": pieces(3)}
    scipy.io.savemat(tmp_path / "chorales.mat", parts)
    small = ["--epochs", "2", "--seeds", "1", "--units", "8"]
    target = tmp_path / "chorales.json"
    run("chorales.py", str(tmp_path / "chorales.mat"), *small, "--json", str(target))
    (one,) = json.loads(target.read_text())["runs"]
    assert 0 < one["test"] < 88 and one["epochs"] == 2


def test_the_figure_of_the_chorales_is_the_mean_over_all_chords() -> None:
    torch.set_default_dtype(torch.float32)
    benchmark = runpy.run_path(str(BENCHMARKS / "chorales.py"), run_name="chorales")
    model = benchmark["build"](Namespace(units=8, learning_rate=0.01))
    random = np.random.default_rng(0)
    chords = [(random.random((n, 88)) < 0.04).astype(np.float32) for n in (5, 2, 9)]
    part = [one[:-1] for one in chords], [one[1:] for one in chords]
    found = benchmark["likelihood"](model, part)
    losses = [
        torch.nn.functional.binary_cross_entropy_with_logits(
            torch.from_numpy(scores), torch.from_numpy(said), reduction="none"
        ).sum(dim=1)
        for scores, said in zip(model.predict(part[0], verbose=0), part[1], strict=True)
    ]
    assert found == pytest.approx(torch.cat(losses).mean().item(), rel=1e-5)
