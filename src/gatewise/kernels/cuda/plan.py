"""How many blocks and rows a cluster gets on a GPU, from the sizes of a call.

torch.compile traces what is asked before a kernel is chosen, ``holds`` and ``nanoseconds``. The
layouts it takes as constants: only the batch may be a symbol.
"""

from __future__ import annotations

from functools import cache, lru_cache

import torch

from gatewise.errors import UnsupportedError
from gatewise.kernels.cuda.constant import constant_when_compiled
from gatewise.kernels.cuda.layout import Layout, backward_layout, forward_layout

_LAYOUTS = {"forward": forward_layout, "backward": backward_layout}
_ROWS = (8, 16, 32, 64)
_BLOCKS = (1, 2, 4, 8, 16)


@lru_cache(maxsize=1024)
def plan(
    direction: str, gates: int, hidden: int, precision: str, batch: int, device: int
) -> Layout:
    """Return the layout that should be fastest for a pass, "forward" or "backward", over a batch.

    Raises ``UnsupportedError`` where a step's vectors fit in no block's shared memory.
    """
    found = _possible(direction, gates, hidden, precision, _device(device))
    if not found:
        raise UnsupportedError(
            f"The GPU kernels do not hold {hidden} units: what the blocks exchange in a step is "
            "more than their shared memory. Use kernel='auto', which takes another."
        )
    return min(found, key=lambda pair: _time(batch, *_pace(*pair)))[0]


def holds(gates: int, hidden: int, precision: str, device: int) -> bool:
    """Whether there is a layout for so many units, forward and back."""
    return all(_paces(way, gates, hidden, precision, device) for way in _LAYOUTS)


def nanoseconds(gates: int, hidden: int, precision: str, batch: int, device: int) -> float:
    """Return what a time step of training should about take, forward and back."""
    total = 0.0
    for direction in _LAYOUTS:
        paces = _paces(direction, gates, hidden, precision, device)
        total += min([_time(batch, *pace) for pace in paces])
    return total


def _time(batch: int, rows: int, at_once: int, nanoseconds: float) -> float:
    """Return a time step's nanoseconds where clusters that find no room take turns."""
    clusters = -(-batch // rows)
    return -(-clusters // at_once) * nanoseconds


def _pace(layout: Layout, at_once: int) -> tuple[int, int, float]:
    """Return the rows of a cluster, how many run at once, and a time step's nanoseconds."""
    return layout.rows, at_once, layout.nanoseconds


def _paces(
    direction: str, gates: int, hidden: int, precision: str, device: int
) -> tuple[tuple[int, int, float], ...]:
    """Return the pace of every layout that fits."""
    # The tracer reads a number or a word only where something is done with it, and takes no other
    # for an argument of what is constant.
    return _constant_paces(direction, int(gates), int(hidden), str(precision), int(device))


@constant_when_compiled
def _constant_paces(
    direction: str, gates: int, hidden: int, precision: str, device: int
) -> tuple[tuple[int, int, float], ...]:
    return _remembered_paces(direction, gates, hidden, precision, _device(device))


@lru_cache(maxsize=1024)
def _remembered_paces(
    direction: str, gates: int, hidden: int, precision: str, device: tuple[int, int]
) -> tuple[tuple[int, int, float], ...]:
    found = _possible(direction, gates, hidden, precision, device)
    return tuple(_pace(*pair) for pair in found)


def _possible(
    direction: str, gates: int, hidden: int, precision: str, device: tuple[int, int]
) -> list[tuple[Layout, int]]:
    """Return the layouts that fit, each with how many of its clusters run at once.

    ``device`` is its multiprocessors and the bytes of shared memory that a block may have.
    """
    multiprocessors, shared = device
    found: list[tuple[Layout, int]] = []
    for blocks in _BLOCKS:
        if blocks > 1 and (blocks - 1) * 8 >= hidden:
            break  # a block would have no unit
        for rows in _ROWS:
            layout = _LAYOUTS[direction](gates, hidden, precision, blocks, rows, shared)
            if layout.shared_bytes <= shared:
                found.append((layout, _clusters_at_once(blocks, multiprocessors)))
    return found


def _clusters_at_once(blocks: int, multiprocessors: int) -> int:
    """Return how many clusters surely fit on a GPU.

    A cluster lies within one of the GPU's groups of multiprocessors, of 16 or 18 on an H100, and in
    each a large one leaves some over.
    """
    return max(1, multiprocessors // (blocks if blocks < 8 else blocks + blocks // 8))


@cache
def _device(index: int) -> tuple[int, int]:
    """Return a GPU's multiprocessors and the shared memory, in bytes, that a block may have."""
    properties = torch.cuda.get_device_properties(index)
    return properties.multi_processor_count, properties.shared_memory_per_block_optin
