"""Every example runs to its end, as a user would run it, and learns something."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
ACCURACY = r"Test accuracy (\d\.\d+); the majority alone gives (\d\.\d+)\."


class Check(NamedTuple):
    """The setting in which an example is run here, the numbers it prints, and what must hold."""

    arguments: str
    printed: str
    holds: Callable[..., bool]


# Each must beat what costs nothing, by far where it runs in full; the small settings learn little.
CHECKS = {
    "the_program.py": Check("", ACCURACY, lambda a, majority: a > 0.75 > majority),
    "pytorch_one_line.py": Check("", ACCURACY, lambda a, majority: a > 0.9 > majority),
    "sentence_classification.py": Check(
        "--samples 1500 --epochs 2", ACCURACY, lambda a, majority: a > 0.7 > majority
    ),
    "addition.py": Check(
        "--digits 1 --samples 50 --epochs 60 --units 32",
        r"Validation accuracy (\d\.\d+) of the characters, (\d\.\d+) of the answers\.",
        lambda characters, answers: 0.3 < characters <= 1 and 0 <= answers <= 1,
    ),
    "stateful_lag.py": Check(
        "--steps 100 --epochs 2",
        r"Test MSE (\d\.\d+) stateful, (\d\.\d+) without state; always 0: (\d\.\d+)\.",
        lambda stateful, without, zero: stateful < without / 2 < zero / 2,
    ),
    "text_generation.py": Check(
        "--characters 20000 --units 32 --epochs 12 --length 20",
        r"Validation loss (\d\.\d+) nats a character; their frequencies alone give (\d\.\d+)\.",
        lambda loss, frequencies: loss < frequencies,
    ),
    "forecasting.py": Check(
        "--days 60 --epochs 3",
        r"Test MAE (\d\.\d+); as it is now (\d\.\d+); as a day before (\d\.\d+)\.",
        lambda error, _now, yesterday: error < 0.8 * yesterday,
    ),
    "attention.py": Check(
        # Small as it is, it has learned what a date looks like.
        "--samples 400 --epochs 6 --units 32",
        r"-> \d{4}-\d\d-\d\d; it looked at .*\nTest accuracy (\d\.\d+) of whole dates\.",
        lambda accuracy: accuracy <= 1,
    ),
}


def test_every_example_is_tested():
    assert {path.name for path in EXAMPLES.glob("*.py")} == CHECKS.keys()


def test_every_example_is_short_and_says_what_it_reaches():
    for name in CHECKS.keys() - {"the_program.py", "pytorch_one_line.py"}:
        text = (EXAMPLES / name).read_text()
        assert len(text.splitlines()) < 80
        documentation = text.split('"""')[1]
        assert f"python examples/{name}" in documentation
        # The line that the example prints at its end stands in its docstring, with the numbers.
        assert re.search(CHECKS[name].printed.split(r"\n")[-1], documentation)


@pytest.mark.parametrize("name", sorted(CHECKS))
def test_example(name: str, tmp_path: Path):
    check = CHECKS[name]
    done = subprocess.run(
        [sys.executable, "-W", "error", EXAMPLES / name, *check.arguments.split()],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = re.search(check.printed, done.stdout)
    assert found, done.stdout
    assert check.holds(*map(float, found.groups())), done.stdout
    assert not list(tmp_path.iterdir())
