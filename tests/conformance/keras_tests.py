"""Keras's own tests of its recurrent layers, run from the installed wheel in this process."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import pytest

FILES = (
    "bidirectional",
    "dropout_rnn_cell",
    "gru",
    "lstm",
    "rnn",
    "simple_rnn",
    "stacked_rnn_cells",
    "time_distributed",
)


class Outcomes:
    """A pytest plugin that notes what became of each test; `collected` sees the test modules."""

    def __init__(self, collected: Callable[[list[Any]], None]) -> None:
        self.by_test: dict[str, str] = {}
        self._collected = collected

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._collected(list({item.module for item in session.items}))  # pyright: ignore

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, name = report.location
        test = f"{Path(file).name}::{name}"
        if report.when == "call" or report.outcome != "passed":
            self.by_test[test] = report.outcome


def run(collected: Callable[[list[Any]], None] = lambda modules: None) -> dict[str, str]:
    """Return what became of each test: "passed", "failed" or "skipped"."""
    folder = Path(keras.__file__).parent / "src" / "layers" / "rnn"
    outcomes = Outcomes(collected)
    files = [str(folder / f"{name}_test.py") for name in FILES]
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    pytest.main([*options, *files], plugins=[outcomes])
    return outcomes.by_test
