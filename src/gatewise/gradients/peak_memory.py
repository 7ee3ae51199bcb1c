"""How much memory something takes at its peak, over what there was before."""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")
_CLEAR = Path("/proc/self/clear_refs")


def peak_memory(run: Callable[[], object], device: torch.device) -> int | None:
    """Run and return the bytes that it took at most, over those before; None if it cannot be told.

    On a GPU they are those of torch's allocator, on Linux those of the whole process, in pages that
    were touched; other systems do not let a process begin a new peak.
    """
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        run()
        torch.cuda.synchronize(device)
        return torch.cuda.max_memory_allocated(device) - before
    if device.type != "cpu" or not _begin_new_peak():
        run()
        return None
    before = _kilobytes("VmRSS")
    run()
    return max(0, _kilobytes("VmHWM") - before) * 1024


def _begin_new_peak() -> bool:
    """Give freed memory back, and forget the last peak; return whether both could be done."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
        _CLEAR.write_text("5")
    except (AttributeError, OSError):  # another C library; another system, or no permission
        return False
    return True


def _kilobytes(name: str) -> int:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None, f"{_STATUS} has no {name}"
    return int(found[1])
