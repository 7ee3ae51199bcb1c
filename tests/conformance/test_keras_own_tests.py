"""Keras's own tests pass on the bridge exactly where they pass on Keras."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

RUNNER = Path(__file__).with_name("run_keras_tests.py")


def test_the_bridge_passes_what_keras_passes(tmp_path: Path) -> None:
    # A process of its own: the bridge changes Keras's classes.
    target = tmp_path / "outcomes.json"
    done = subprocess.run(
        [sys.executable, str(RUNNER), str(target)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    keras, bridge = json.loads(target.read_text()).values()
    assert bridge["outcomes"] == keras["outcomes"], done.stdout
    outcomes = list(bridge["outcomes"].values())
    assert "failed" not in outcomes, done.stdout
    assert outcomes.count("passed") >= 60, done.stdout
    assert outcomes.count("skipped") <= 3, done.stdout
    # Not because Keras's loop ran after all.
    assert keras["kernels"] == {}
    for cell in ("lstm", "gru", "simple_rnn"):
        ran = [n for name, n in bridge["kernels"].items() if name.split()[0] == cell]
        assert sum(ran) > 10, bridge["kernels"]
