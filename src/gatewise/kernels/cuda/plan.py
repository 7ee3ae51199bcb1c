"""How many blocks and rows a cluster gets on a GPU, from the sizes of a call."""

from __future__ import annotations

from functools import cache, lru_cache

import torch

from gatewise.errors import UnsupportedError
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
    found = _possible(direction, gates, hidden, precision, batch, _device(device))
    if not found:
        raise UnsupportedError(
            f"The GPU kernels do not hold {hidden} units: what the blocks exchange in a step is "
            "more than their shared memory. Use kernel='auto', which takes another."
        )
    return min(found, key=lambda pair: pair[0])[1]


@lru_cache(maxsize=1024)
def holds(gates: int, hidden: int, precision: str, device: int) -> bool:
    """Whether there is a layout for so many units, forward and back."""
    return all(_possible(way, gates, hidden, precision, 1, _device(device)) for way in _LAYOUTS)


@lru_cache(maxsize=1024)
def nanoseconds(gates: int, hidden: int, precision: str, batch: int, device: int) -> float:
    """Return what a time step of training should about take, forward and back."""
    return sum(
        min(time for time, _ in _possible(way, gates, hidden, precision, batch, _device(device)))
        for way in _LAYOUTS
    )


def _possible(
    direction: str, gates: int, hidden: int, precision: str, batch: int, device: tuple[int, int]
) -> list[tuple[float, Layout]]:
    """Return the layouts that fit, each with the nanoseconds that it should take a step.

    ``device`` is its multiprocessors and the bytes of shared memory that a block may have.
    """
    multiprocessors, shared = device
    found: list[tuple[float, Layout]] = []
    for blocks in _BLOCKS:
        if blocks > 1 and (blocks - 1) * 8 >= hidden:
            break  # a block would have no unit
        for rows in _ROWS:
            layout = _LAYOUTS[direction](gates, hidden, precision, blocks, rows, shared)
            if layout.shared_bytes <= shared:
                # A cluster takes turns with others that find no room beside it.
                turns = -(-layout.clusters(batch) // _clusters_at_once(blocks, multiprocessors))
                found.append((turns * layout.nanoseconds, layout))
            if rows >= batch:
                break
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
