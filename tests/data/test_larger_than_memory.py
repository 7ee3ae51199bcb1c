"""Tables whose numbers do not fit into memory are read from a file, to the same result."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest

from gatewise.data import make_windows, prepare, read
from gatewise.data.readers import spool

ROWS = 1_000_000  # of 12 columns: 96 MB as float64

# The limit is on the process's own memory; what is mapped from a file does not count.
CHILD = """
import resource, sys
from gatewise.data import make_windows, prepare, read
from gatewise.data.readers import spool
import pyarrow.parquet, numpy, torch
pyarrow.set_memory_pool(pyarrow.system_memory_pool())
pyarrow.set_cpu_count(1)
read(sys.argv[2], target="a", horizon=2)  # so that everything is loaded
spool.IN_MEMORY = int(sys.argv[3])
used = next(int(line.split()[1]) for line in open("/proc/self/status") if "VmData" in line) * 1024
resource.setrlimit(resource.RLIMIT_DATA, (used + 85_000_000,) * 2)
data = read(sys.argv[1], target="a", horizon=2)
parts = make_windows(data, window=16)
preprocessor = prepare(parts.train)
print(len(data.x[0]), len(parts.train), preprocessor.scaler.mean.round(2).tolist())
"""


def write(path: Path, rows: int) -> None:
    chance = np.random.default_rng(0)
    columns = {name: chance.normal(size=rows) + at for at, name in enumerate("abcdefghijkl")}
    pyarrow.parquet.write_table(pa.table(columns), path, row_group_size=65_536)


def in_little_memory(tmp_path: Path, limit: int) -> subprocess.CompletedProcess[str]:
    arguments = [str(tmp_path / "large.parquet"), str(tmp_path / "small.parquet"), str(limit)]
    # So that glibc gives back what was freed, and the figures are those of what is in use.
    environment = {**os.environ, "MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536"}
    command = [sys.executable, "-c", CHILD, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


@pytest.mark.skipif(sys.platform != "linux", reason="RLIMIT_DATA counts allocations on Linux alone")
def test_a_table_is_read_and_prepared_in_less_memory_than_its_numbers_take(tmp_path):
    write(tmp_path / "large.parquet", ROWS)
    write(tmp_path / "small.parquet", 500)
    done = in_little_memory(tmp_path, 1_000_000)
    assert done.returncode == 0, done.stderr[-2000:]
    count, windows, *means = done.stdout.replace("[", "").replace("]", "").replace(",", "").split()
    assert int(count) == ROWS
    assert 40_000 < int(windows) <= 50_000
    np.testing.assert_allclose([float(mean) for mean in means], range(12), atol=0.02)
    held = in_little_memory(tmp_path, 1 << 30)  # the same, with the numbers in memory
    assert held.returncode != 0
    assert "Memory" in held.stderr or "alloc" in held.stderr


def is_mapped(array: Any) -> bool:
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return array is not None


def test_the_file_changes_no_number(tmp_path, monkeypatch):
    path = tmp_path / "table.csv"
    chance = np.random.default_rng(1)
    lines = ["series,time,a,b,kind,label"]
    for series in range(6):
        for step in range(50):
            a, b = chance.normal(size=2).round(3)
            lines.append(f"s{series},{step},{a},{b},{'xyz'[step % 3]},{'uv'[series % 2]}")
    path.write_text("\n".join(lines) + "\n")
    held = read(path)
    monkeypatch.setattr(spool, "IN_MEMORY", 100)
    filed = read(path)
    assert all(is_mapped(one) for one in filed.x)
    assert not any(is_mapped(one) for one in held.x)
    for one, other in zip(held.x, filed.x, strict=True):
        np.testing.assert_array_equal(one, other)
    assert prepare(held) == prepare(filed)


def test_windows_of_a_long_series_are_thinned_at_every_point_of_its_period(tmp_path):
    path = tmp_path / "long.parquet"
    time = np.arange(150_000)
    pyarrow.parquet.write_table(pa.table({"a": np.sin(2 * np.pi * time / 12)}), path)
    parts = make_windows(read(path, target="a", horizon=1))
    assert len(parts.train) <= 50_000
    assert "one every 5 steps" in parts.how
    phases = {int(name.split()[-1]) % 12 for name in parts.train.ids}
    assert phases == set(range(12))
    every = make_windows(read(path, target="a", horizon=1), stride=1, window=8)
    assert len(every.train) == 90_000 - 8
