"""Weights of 8 bits beside float32: inference and streams of one layer.

    python benchmarks/int8.py --json int8.json
    python benchmarks/int8.py --threads 1 --units 256 --units 512
    python benchmarks/int8.py --cell lstm --options

Each row runs the same layer twice, as it was and quantized, alternately in one process, in the
other order every round, and compares them by the median over the rounds of their ratio. A stream
is one step from Python on arrays; "forward" is a whole series, the packing of the weights included.
With `--options` the rows are those of the cell with each of its options instead of the plain one.
"reach" is the ratio aimed at. "off" is the largest difference of an output: the weights are drawn,
so it says nothing of a trained model, for which `gatewise bench --int8 MODEL DATA` does.
"""

from __future__ import annotations

import argparse
import copy
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatewise.inspect.speed import OURS, Rounds, Shape, data, measure_machine, quietly, threads
from gatewise.kernels import cpu

UNITS = (128, 256, 512, 1024)
STEPS = 100
BATCHES = (1, 32)
REACH_FROM, REACH = 256, 1.3  # at B=1
WIDTH = 18  # of the name of a row
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "lstm": {
        "peephole": {"peephole": True},
        "coupled_gates": {"coupled_gates": True},
        "cell_clip": {"cell_clip": 3.0},
        "zoneout": {"zoneout": 0.1},
        "projection": {"projection": "half"},  # of the units
        "layer_norm": {"layer_norm": True},
    },
    "gru": {"zoneout": {"zoneout": 0.1}},
}


@dataclass
class Row:
    """Two measured alternatives. Times are medians in milliseconds a time step."""

    cell: str
    option: str
    shape: Shape  # B, T, I, H
    what: str
    float32_ms: float
    int8_ms: float
    ratio: float
    quartiles: tuple[float, float]
    reach: float | None
    off: float


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--cell", action="append", choices=OURS, help="repeatable; lstm and gru")
    parser.add_argument("--units", action="append", type=int, help="repeatable; 128 to 1024")
    parser.add_argument("--threads", type=int, help="torch's own unless given")
    parser.add_argument("--options", action="store_true", help="the cell with each of its options")
    parser.add_argument("--quick", action="store_true", help="two short rounds")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not cpu.available():
        parser.error(cpu.unavailable_reason())
    measure = Rounds(2, 0.001) if arguments.quick else Rounds(15, 0.05)
    print(
        f"{'cell':<{WIDTH}} {'B, T, I, H':<20} {'what':<8} {'float32, us':>11} {'int8, us':>9} "
        f"{'ratio':>6} {'quartiles':>12} {'reach':>6} {'off':>8}"
    )
    rows = []
    with threads(arguments.threads):
        for cell in arguments.cell or ("lstm", "gru"):
            for units in arguments.units or UNITS:
                for option, further in options(cell, units, plain=not arguments.options):
                    for row in measured(measure, cell, option, further, units):
                        rows.append(row)
                        print(line(row), flush=True)
        machine = asdict(measure_machine())
    if arguments.json:
        content = {**machine, "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


def options(cell: str, units: int, plain: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the plain cell, or each of its options and all of them together."""
    if plain:
        yield "", {}
        return
    known = OPTIONS.get(cell, {})
    both = {name: value for option in known.values() for name, value in option.items()}
    for name, further in (*known.items(), ("all", both)):
        yield (
            name,
            {key: units // 2 if value == "half" else value for key, value in further.items()},
        )


def measured(
    measure: Rounds, cell: str, option: str, further: dict[str, Any], units: int
) -> Iterator[Row]:
    """Yield the rows of one layer: a stream, a series alone, and a batch."""
    torch.manual_seed(0)
    layer = OURS[cell](units, return_sequences=True, **further)
    layer.build((None, None, units))
    small = copy.deepcopy(layer)
    small.quantize("int8")
    for batch in BATCHES:
        shape = (batch, STEPS, units, units)
        x, _ = data(shape)
        with torch.inference_mode():
            off = (small(x) - layer(x)).abs().max().item()
        if batch == 1:
            streams, step = [layer.stream(), small.stream()], np.ascontiguousarray(x[:, 0].numpy())
            works = [partial(stream.step, step) for stream in streams]
            yield compared(measure, cell, option, (1, 1, units, units), "stream", *works, 1, off)
        works = [quietly(lambda one=one, x=x: one(x)) for one in (layer, small)]
        yield compared(measure, cell, option, shape, "forward", *works, STEPS, off)


def compared(
    measure: Rounds, cell: str, option: str, shape: Shape, what: str, large: Any, small: Any,
    steps: int, off: float,
) -> Row:  # fmt: skip
    """Measure a row."""
    found = measure.compare(small, large)
    low, middle, high = found.quartiles
    reach = REACH if shape[0] == 1 and shape[3] >= REACH_FROM else None
    return Row(
        cell, option, shape, what, found.peer_ms / steps, found.ours_ms / steps, middle,
        (low, high), reach, off,
    )  # fmt: skip


def line(row: Row) -> str:
    """Return a row of the table."""
    name, shape = f"{row.cell} {row.option}", ", ".join(map(str, row.shape))
    reach = "" if row.reach is None else f"{row.reach:.2f}"
    spread = "{:.2f}-{:.2f}".format(*row.quartiles)
    return (
        f"{name:<{WIDTH}} {shape:<20} {row.what:<8} {row.float32_ms * 1e3:>11.4g} "
        f"{row.int8_ms * 1e3:>9.4g} {row.ratio:>6.2f} {spread:>12} {reach:>6} {row.off:>8.2g}"
    )


if __name__ == "__main__":
    main()
