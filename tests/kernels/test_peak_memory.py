"""What a training step holds between forward and back, and at most: pages of the process, counted.

docs/kernels.md states the numbers.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gatewise.kernels import cpu

pytestmark = [
    pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason()),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "kernels.md"
BATCH, STEPS, INPUTS, UNITS = 128, 100, 128, 128
CELLS = {
    "LSTM": {},
    "GRU": {},
    "GRU(reset_after=False)": {"reset_after": False},
    "SimpleRNN": {},
}

_PROGRAM = f"""
import torch
from gatewise import layers

def resident(which):
    for line in open("/proc/self/status"):
        if line.startswith(which):
            return int(line.split()[1]) * 1024

def forget_the_most():
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")

def measure(layer):
    x = torch.ones({BATCH}, {STEPS}, {INPUTS}, requires_grad=True)
    sent = torch.ones({BATCH}, {STEPS}, {UNITS})
    before = resident("VmRSS")
    outputs = layer(x)
    held = resident("VmRSS") - before
    forget_the_most()
    outputs.backward(sent)
    numbers = 4 * {BATCH * STEPS * UNITS}
    return held / numbers, (resident("VmHWM") - before) / numbers

for name, keywords in {CELLS}.items():
    for recompute in (None, "gates"):
        kind = getattr(layers, name.split("(")[0])
        layer = kind({UNITS}, return_sequences=True, recompute=recompute, **keywords)
        measure(layer)  # what torch takes once, it has taken
        print(name, recompute, *measure(layer), sep=";")
"""


@pytest.fixture(scope="module")
def measured() -> dict[tuple[str, str], tuple[float, float]]:
    """Numbers a step and row, in H, held between forward and back and at most on the way back."""
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        # Blocks that are freed go back to the system, so that pages tell what is in use.
        env=os.environ
        | {
            "OMP_NUM_THREADS": "1",
            "GATEWISE_KEEP_MEMORY": "0",
            "MALLOC_MMAP_THRESHOLD_": "65536",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    if "clear_refs" in done.stderr:
        pytest.skip("this system does not reset the highest memory use")
    assert done.returncode == 0, done.stderr
    rows = [line.split(";") for line in done.stdout.splitlines()]
    return {(name, mode): (float(held), float(most)) for name, mode, held, most in rows}


@pytest.mark.parametrize("name", CELLS)
def test_memory_is_what_the_documentation_says(
    name: str, measured: dict[tuple[str, str], tuple[float, float]]
) -> None:
    (row,) = re.findall(rf"^\| `{re.escape(name)}` \|(.*)\|$", DOCUMENT.read_text(), re.MULTILINE)
    said = [float(cell.strip().removesuffix("H").removesuffix("·") or 1) for cell in row.split("|")]
    (plain, plain_most), (few, few_most) = (measured[name, mode] for mode in ("None", "gates"))
    dx = INPUTS / UNITS  # which is there at the end as well, and is not among what is said
    assert said == pytest.approx([plain, plain_most - dx, few], abs=0.25)
    if not name.startswith("GRU"):  # whose dU needs the reset gates of all steps at once
        # A layer alone has as much at once as without, and a part of its rows' gates.
        assert few_most < plain_most + 1.0
