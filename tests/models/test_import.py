"""What `import gatewise` brings along."""

from __future__ import annotations

import subprocess
import sys

import gatewise


def test_heavy_packages_stay_away_until_they_are_needed() -> None:
    heavy = ["rich", "torchmetrics", "pyarrow", "typer", "torch._dynamo", "pandas", "matplotlib"]
    code = f"import sys, gatewise; print([name for name in {heavy} if name in sys.modules])"
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert found.strip() == "[]"


def test_the_import_root_stands_in_for_keras() -> None:
    assert gatewise.Sequential is gatewise.models.Sequential
    assert issubclass(gatewise.Sequential, gatewise.Model)
    assert gatewise.callbacks.EarlyStopping
    assert gatewise.callbacks.History
    assert gatewise.utils.set_random_seed
    assert gatewise.utils.pad_sequences
    assert gatewise.nn.LSTM
    assert gatewise.inspect.measure_sharing
    assert gatewise.accelerate
    assert gatewise.load_model is gatewise.models.load_model
    assert gatewise.Input is gatewise.layers.Input
    assert gatewise.__version__
