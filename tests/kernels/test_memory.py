"""Freed memory is kept from one step to the next: the kernels' own always, all of it on wish."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from gatewise.kernels import cpu

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

_STEPS = """
import resource
import torch
from gatewise import nn
from gatewise.kernels import cpu

layer = nn.LSTM(100, 128, batch_first=True)
x = torch.randn(32, 100, 100, requires_grad=True)

def train(steps):
    for _ in range(steps):
        layer.zero_grad(set_to_none=True)
        layer(x)[0].sum().backward()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

train(20)
counts = []
for _ in range(11):
    before = faults()
    train(1)
    counts.append(faults() - before)
# The median: now and then the heap grows once for good.
print(sorted(counts)[5], cpu.keep_freed_memory())
"""


def _run(program: str, setting: str | None, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | variables
    environment.pop("GATEWISE_KEEP_MEMORY", None)
    if setting is not None:
        environment["GATEWISE_KEEP_MEMORY"] = setting
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
def test_a_training_step_takes_no_new_pages() -> None:
    result = _run(_STEPS, None)
    assert result.returncode == 0, result.stderr
    faults, kept = result.stdout.split()
    if kept == "False":
        pytest.skip("this C library has no such setting")
    assert int(faults) < 50


_CALLS = """
import resource
import torch
from gatewise import nn

layer = nn.LSTM(100, 128, batch_first=True)
x = torch.randn(1, 10, 100)

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

counts = []
with torch.no_grad():
    for _ in range(20):
        before = faults()
        layer(x)
        counts.append(faults() - before)
print(sorted(counts)[10])
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults")
def test_a_call_takes_its_working_memory_from_the_call_before() -> None:
    # Every block of 64 KiB or more that is freed goes back to the system; the packed weights alone
    # are 0.45 MB, 114 pages.
    result = _run(_CALLS, "0", MALLOC_MMAP_THRESHOLD_="65536")
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) < 20


@pytest.mark.parametrize(("setting", "calls"), [(None, 1), ("", 1), ("1", 1), ("0", 0)])
def test_the_first_training_call_keeps_memory_unless_told_not_to(
    setting: str | None, calls: int
) -> None:
    program = """
import torch
from gatewise.cells import NO_NOISE, Specification
from gatewise.kernels import cpu, native

class Counted:
    calls = 0
    def __getattr__(self, name):
        return getattr(compiled, name)
    def keep_freed_memory(self):
        self.calls += 1
        return True

compiled, native._native = native._native, Counted()
x, weights = torch.ones(1, 2, 3), [torch.ones(3, 8), torch.ones(2, 8)]
state = [torch.zeros(1, 2)] * 2
counts = []
for needs_backward in (False, True, True):
    cpu.forward(x, weights, state, None, NO_NOISE, Specification("lstm"), needs_backward)
    counts.append(native._native.calls)
print(*counts)
"""
    result = _run(program, setting)
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == ["0", str(calls), str(calls)]


def test_another_setting_is_an_error() -> None:
    result = _run("import gatewise.kernels", "no")
    assert result.returncode != 0
    assert "GATEWISE_KEEP_MEMORY is 'no', which is neither 0 nor 1." in result.stderr
    assert "Set it to 0" in result.stderr
