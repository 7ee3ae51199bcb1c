"""The compiled module: that it is there where it must be, and what happens where it cannot be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gatewise.cells import Specification
from gatewise.kernels import cpu, recording, recurrent

ROOT = Path(__file__).parents[2]
REQUIRED = os.environ.get("GATEWISE_REQUIRE_NATIVE") == "1"


@pytest.mark.skipif(not REQUIRED, reason="GATEWISE_REQUIRE_NATIVE=1 is not set")
def test_the_native_kernel_runs() -> None:
    assert cpu.available(), cpu.unavailable_reason()
    weights = [torch.ones(3, 8), torch.ones(2, 8), torch.zeros(8)]
    with recording() as records:
        recurrent(torch.zeros(1, 4, 3), weights, None, specification=Specification("lstm"))
    assert records[0].kernel == "cpu"


@pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torch_and_the_kernels_share_one_openmp_runtime() -> None:
    program = """
import torch
from gatewise.cells import NO_NOISE, Specification
from gatewise.kernels import cpu
torch.set_num_threads(2)
x = torch.ones(8, 32, 64)
weights = [torch.ones(64, 256), torch.ones(64, 256)]
cpu.forward(x, weights, [x[:, 0]] * 2, None, NO_NOISE, Specification("lstm"), False)
paths = {line.split()[-1] for line in open("/proc/self/maps")}
print(*sorted(path for path in paths if "libgomp" in path or "omp5" in path))
"""
    result = _python(program, {})
    assert len(result.stdout.split()) == 1, result.stdout + result.stderr


def test_a_program_ends_without_a_word() -> None:
    program = """
import torch
from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential

model = Sequential([LSTM(4), Dense(1)])
model.compile(loss="mse", gradient="snap1:5")
model.fit(torch.ones(8, 20, 3), torch.ones(8, 1), epochs=1, verbose=0)
"""
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert (ended.stdout, ended.stderr) == ("", "")


@pytest.mark.slow
def test_without_a_compiler_the_install_is_pure_python_and_says_so(tmp_path: Path) -> None:
    installed = _install(tmp_path, require_native="0")
    assert installed.returncode == 0, installed.stdout + installed.stderr
    assert not list(tmp_path.glob("gatewise/_native*"))
    program = """
import warnings
import torch
import gatewise
from gatewise.errors import FallbackWarning
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    layer = gatewise.layers.LSTM(4, input_shape=(None, 3))
    layer(torch.zeros(1, 2, 3))
    layer(torch.zeros(1, 2, 3))
print(gatewise.__file__)
for warning in caught:
    if warning.category is FallbackWarning:
        print(warning.message)
"""
    # Without the site module no editable install of gatewise can come before the folder.
    libraries = str(Path(torch.__file__).parents[1])
    path = os.pathsep.join((str(tmp_path), libraries))
    result = _python(program, {"PYTHONPATH": path}, "-S")
    assert result.returncode == 0, result.stderr
    file, *warnings = result.stdout.splitlines()
    assert Path(file).is_relative_to(tmp_path)
    assert len(warnings) == 1
    assert "The native CPU kernels are not installed" in warnings[0]
    assert "pip install --no-cache-dir --force-reinstall" in warnings[0]


@pytest.mark.slow
def test_without_a_compiler_the_install_fails_where_the_kernels_are_required(
    tmp_path: Path,
) -> None:
    installed = _install(tmp_path, require_native="1")
    assert installed.returncode != 0
    assert "no-such-compiler" in installed.stdout + installed.stderr


def _install(target: Path, require_native: str) -> subprocess.CompletedProcess[str]:
    """Install the package into a folder, with this interpreter's build tools and no compiler."""
    pip = [sys.executable, "-m", "pip", "install", "--disable-pip-version-check"]
    options = ["--no-build-isolation", "--no-deps", "--no-cache-dir", "--target", str(target)]
    environment = {"CXX": "/no-such-compiler", "GATEWISE_REQUIRE_NATIVE": require_native}
    # The build tools that were installed beside this interpreter come first.
    tools = str(Path(sys.executable).parent)
    environment["PATH"] = os.pathsep.join((tools, os.environ.get("PATH", "")))
    return subprocess.run(
        [*pip, *options, str(ROOT)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _python(
    program: str, environment: dict[str, str], *options: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *options, "-c", program],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
