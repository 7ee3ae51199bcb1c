"""Run Keras's own tests of its recurrent layers, from the installed wheel, and write what came out.

    python tests/conformance/run_keras_tests.py outcomes.json

First on Keras as it is, then with the bridge on. The file holds for each way what became of every
test ("passed", "failed" or "skipped") and how often which kernel ran.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections import Counter
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
    """A pytest plugin that notes what became of each test."""

    def __init__(self) -> None:
        self.by_test: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        file, _, name = report.location
        test = f"{Path(file).name}::{name}"
        if report.when == "call" or report.outcome != "passed":
            self.by_test[test] = report.outcome


def main(target: Path) -> None:
    found = {"keras": _run(Counter())}
    kernels: Counter[str] = Counter()
    _enable_and_count(kernels)
    found["bridge"] = _run(kernels)
    target.write_text(json.dumps(found))


def _run(kernels: Counter[str]) -> dict[str, Any]:
    folder = Path(keras.__file__).parent / "src" / "layers" / "rnn"
    outcomes = Outcomes()
    files = [str(folder / f"{name}_test.py") for name in FILES]
    options = ["-q", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(folder)]
    pytest.main([*options, *files], plugins=[outcomes])
    return {"outcomes": outcomes.by_test, "kernels": kernels}


def _enable_and_count(kernels: Counter[str]) -> None:
    from gatewise import errors
    from gatewise import keras as bridge
    from gatewise.keras import loop
    from gatewise.kernels import choose

    fused = loop._fused

    def counted(layer, specification, x, weights, state, mask, training):
        request = loop.Request.of(x, weights, specification, mask)
        kernels[f"{specification.cell} {choose(request).kernel}"] += 1
        return fused(layer, specification, x, weights, state, mask, training)

    loop._fused = counted
    warnings.simplefilter("ignore", errors.FallbackWarning)
    bridge.enable()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
