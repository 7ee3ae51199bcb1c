"""Keras's own tests pass on the bridge exactly where they pass on Keras, and on our layers."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent

_CUDNN = "asks for use_cudnn, Keras's own choice of kernels; ours is use_kernel"
_PRIVATE = "asks a private method of Keras's Bidirectional which kernel it would take"
_TORCH_CUDNN = "watches Keras's own call of torch's cuDNN; is skipped without a GPU"
FAILING = {
    "bidirectional_test.py::SimpleRNNTest.test_keeps_use_cudnn": _CUDNN,
    "bidirectional_test.py::SimpleRNNTest.test_fused_lstm_matches_unfused": _CUDNN,
    "bidirectional_test.py::SimpleRNNTest.test_fused_gru_matches_unfused": _CUDNN,
    "bidirectional_test.py::SimpleRNNTest.test_fused_lstm_eligibility": _PRIVATE,
    "bidirectional_test.py::SimpleRNNTest.test_fused_gru_eligibility": _PRIVATE,
    "bidirectional_test.py::SimpleRNNTest.test_torch_cudnn_bidirectional_gru_dispatch_fires": (
        _TORCH_CUDNN
    ),
    "gru_test.py::GRUTest.test_torch_cudnn_dispatch_fires": _TORCH_CUDNN,
    "gru_test.py::GRUTest.test_stateful_with_symbolic_batch_size": "is about TensorFlow alone",
    "time_distributed_test.py::TimeDistributedTest.test_build": "needs Conv2D: sequences have none",
}
"""The tests that do not pass on our layers, skipped ones among them, each with its reason."""


def test_the_bridge_passes_what_keras_passes(tmp_path: Path) -> None:
    found, output = _run("run_keras_tests.py", tmp_path)
    keras, bridge = found.values()
    assert bridge["outcomes"] == keras["outcomes"], output
    outcomes = list(bridge["outcomes"].values())
    assert "failed" not in outcomes, output
    assert outcomes.count("passed") >= 60, output
    assert outcomes.count("skipped") <= 3, output
    # Not because Keras's loop ran after all.
    assert keras["kernels"] == {}
    for cell in ("lstm", "gru", "simple_rnn"):
        ran = [n for name, n in bridge["kernels"].items() if name.split()[0] == cell]
        assert sum(ran) > 10, bridge["kernels"]


def test_our_layers_pass_all_but_the_listed(tmp_path: Path) -> None:
    outcomes, output = _run("run_on_layers.py", tmp_path)
    by_function: dict[str, bool] = {}
    for test, outcome in outcomes.items():
        function = re.sub(r"\d+$", "", test)
        by_function[function] = by_function.get(function, True) and outcome == "passed"
    failing = {function for function, passed in by_function.items() if not passed}
    assert failing - FAILING.keys() == set(), output
    # What passes now must leave the list.
    assert FAILING.keys() - failing == set()
    assert len(by_function) - len(failing) >= 55, output
    basics = [function for function in by_function if function.endswith("test_basics")]
    assert len(basics) == 8 and not failing & set(basics)


def _run(script: str, folder: Path) -> tuple[dict[str, Any], str]:
    """Return what a script wrote; in a process of its own, since it changes Keras's modules."""
    target = folder / "outcomes.json"
    done = subprocess.run(
        [sys.executable, str(HERE / script), str(target)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(target.read_text()), done.stdout
