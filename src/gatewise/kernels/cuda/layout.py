"""How a layer is laid out over the blocks of a GPU: the sizes that the kernels are compiled with.

A cluster of blocks takes some rows of the batch through the whole sequence and keeps U meanwhile,
first in the registers of its warps, then in shared memory, and what fits in neither in device
memory. ``source/layout.cuh`` says the same in the kernels' words.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

WARPS = 8
_THREADS = WARPS * 32
_TILE = 16  # the rows and the columns of a tile of U
_EIGHT = 8  # units of a block and rows of a cluster come in eights
_REGISTERS = 190  # of a thread, for U, sums, operands and pairs; the rest is addresses and the like
_ALWAYS = 1000  # nanoseconds of a step that no size changes: the blocks' exchange above all


@dataclass(frozen=True)
class ElementSize:
    """What the element of the products asks of memory and of time.

    The nanoseconds, of a whole block and for eight rows, are rough figures of an H100; they only
    tell layouts apart.
    """

    number: int  # bytes
    fragment: int  # registers of a lane for its part of a tile
    sums: int  # registers of a lane for the sums of a tile
    operand: int  # registers for what a product reads of the vectors
    padding: int  # numbers between vectors
    in_registers: float  # nanoseconds for a fragment there
    in_shared: float
    in_device: float
    vectors: float  # nanoseconds to read the vectors of a step of tiles


ELEMENTS = {
    "bfloat16": ElementSize(2, 4, 4, 16, 8, 18.0, 25.0, 80.0, 8.0),
    "float32": ElementSize(4, 8, 16, 32, 4, 70.0, 85.0, 200.0, 60.0),
}


@dataclass(frozen=True)
class Layout:
    """The sizes of one kernel; the names are those of ``source/layout.cuh``."""

    hidden: int
    blocks: int
    units: int
    rows: int
    tiles: int
    tile_groups: int
    steps: int
    in_registers: int
    in_shared: int
    shared_bytes: int
    fragment_bytes: int  # of device memory, for all clusters together
    nanoseconds: float  # what a time step should about take

    def clusters(self, batch: int) -> int:
        """Return how many clusters a batch takes."""
        return -(-batch // self.rows)


@lru_cache(maxsize=1024)
def forward_layout(
    gates: int, hidden: int, precision: str, blocks: int, rows: int, shared: int
) -> Layout:
    """Return the sizes forward for a cluster of so many blocks, with so many bytes shared memory.

    >>> forward_layout(4, 512, "bfloat16", 16, 8, 232448).in_shared
    0
    """
    element, units = ELEMENTS[precision], _up(-(-hidden // blocks), _EIGHT)
    row_tiles, column_tiles = -(-gates * units // _TILE), -(-blocks * units // _TILE)
    pairs = -(-units * rows // _THREADS)
    found = []
    for groups in (1, 2, 4, 8):
        tiles, step_groups = -(-row_tiles // groups), WARPS // groups
        steps = -(-column_tiles // step_groups)
        seen = steps * step_groups * _TILE + element.padding
        other = 2 * rows * seen * element.number + pairs * _THREADS * element.number
        other += step_groups * rows * (_up(tiles * groups * _TILE, 32) + 8) * 4
        sums = rows / _EIGHT * step_groups * tiles * groups * 4.0 / WARPS
        found.append(
            _placed(
                hidden, blocks, units, rows, tiles, groups, steps, other, 20 * pairs, element,
                shared, _ALWAYS + 150.0 * pairs + sums,
            )
        )  # fmt: skip
    return min(found, key=lambda layout: layout.nanoseconds)


@lru_cache(maxsize=1024)
def backward_layout(
    gates: int, hidden: int, precision: str, blocks: int, rows: int, shared: int
) -> Layout:
    """Return the sizes of the way back; see :func:`forward_layout`.

    >>> backward_layout(4, 512, "bfloat16", 16, 8, 232448).tiles
    4
    """
    element, units = ELEMENTS[precision], _up(-(-hidden // blocks), _EIGHT)
    tiles, steps = -(-blocks * units // (_TILE * WARPS)), -(-gates * units // _TILE)
    other = 2 * rows * (steps * _TILE + element.padding) * element.number
    other += 2 * blocks * units * (rows + 4) * 4
    pairs = -(-units * rows // _THREADS)
    sent = rows / _EIGHT * blocks * units * 1.5
    return _placed(
        hidden, blocks, units, rows, tiles, WARPS, steps, other, 28 * pairs, element, shared,
        _ALWAYS + 150.0 * pairs + sent,
    )  # fmt: skip


def _placed(
    hidden: int,
    blocks: int,
    units: int,
    rows: int,
    tiles: int,
    groups: int,
    steps: int,
    other: int,
    pair_registers: int,
    element: ElementSize,
    shared: int,
    nanoseconds: float,
) -> Layout:
    """Place the steps of U: as many as fit in registers, then in shared memory, then the rest."""
    chains = 1 if tiles >= 4 or element.number == 4 else 2 if tiles >= 2 else 4
    free = _REGISTERS - pair_registers - element.operand - element.sums * tiles * chains
    in_registers = min(steps, max(0, free // (element.fragment * tiles)))
    step_bytes = _THREADS * tiles * element.fragment * 4
    mailboxes = 64  # with what rounding to 16 bytes adds
    room = shared - other - mailboxes
    in_shared = min(steps - in_registers, max(0, room // step_bytes))
    rest = steps - in_registers - in_shared
    times = in_registers * element.in_registers + in_shared * element.in_shared
    times = (times + rest * element.in_device) * tiles + steps * element.vectors
    return Layout(
        hidden, blocks, units, rows, tiles, groups, steps, in_registers, in_shared,
        other + mailboxes + in_shared * step_bytes, blocks * rest * step_bytes,
        nanoseconds + rows / _EIGHT * times,
    )  # fmt: skip


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
