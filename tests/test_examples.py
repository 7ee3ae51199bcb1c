"""Every example runs to its end, as a user would run it, and learns something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"

# What each must beat on its test part: far above the majority, below what it reaches.
ACCURACY = {"the_program.py": 0.75, "pytorch_one_line.py": 0.9}


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == ACCURACY.keys()


@pytest.mark.parametrize("name", sorted(ACCURACY))
def test_example(name: str, tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(r"Test accuracy (\d\.\d+); the majority alone gives (\d\.\d+)\.", done.stdout)
    assert found, done.stdout
    accuracy, majority = map(float, found.groups())
    assert accuracy > ACCURACY[name] > majority
    assert not list(tmp_path.iterdir())
