"""What each variant of LSTM and GRU costs: its training step beside the plain layer's.

    python benchmarks/variants.py --json variants.json
    python benchmarks/variants.py --shape 64,100,512,512 --only zoneout

A row runs the variant's step and the plain one alternately in one process, in the other order every
round, and compares them by the median over the rounds of their ratio. A step computes the gradients
of the weights and of x, draws its random masks, and has no optimizer. "reach" is the most that the
time may be multiplied by.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gatewise.inspect.speed import Rounds, Shape, data, measure_machine, train
from gatewise.layers import GRU, LSTM

REACH = 1.35
# Layer normalization moves 45·H more numbers a step and row of an LSTM, and 30·H of a GRU
# (docs/variants.md says which).
NORM_REACH = 1.5
LSTMS: dict[str, dict[str, Any]] = {
    "peephole": {"peephole": True},
    "coupled_gates": {"coupled_gates": True},
    "cell_clip": {"cell_clip": 3.0},
    "zoneout of h": {"zoneout": (0.1, 0.0)},
    "zoneout of h and c": {"zoneout": 0.1},
    "weight_dropout": {"weight_dropout": 0.5},
    "all of them": {
        "peephole": True,
        "coupled_gates": True,
        "cell_clip": 3.0,
        "zoneout": 0.1,
        "weight_dropout": 0.5,
    },
}
GRUS: dict[str, dict[str, Any]] = {
    "zoneout": {"zoneout": 0.1},
    "weight_dropout": {"weight_dropout": 0.5},
    "layer_norm": {"layer_norm": True},
}


@dataclass
class Row:
    """A variant and the plain layer. Times are medians in milliseconds."""

    cell: str
    variant: str
    shape: Shape
    variant_ms: float
    plain_ms: float
    ratio: float  # variant / plain
    quartiles: tuple[float, float]  # of the ratio
    reach: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", default="32,100,100,128", help="B,T,I,H")
    parser.add_argument("--only", default="", help="variants whose name holds this")
    parser.add_argument("--quick", action="store_true", help="few and short rounds")
    parser.add_argument("--json", type=Path, help="write the rows and the machine here")
    arguments = parser.parse_args()
    batch, steps, inputs, units = map(int, arguments.shape.split(","))
    rounds = Rounds(2, 0.0) if arguments.quick else Rounds(21, 0.1)
    rows = []
    print(f"{'cell':<5} {'variant':<20} {'ms':>8} {'plain':>8} {'ratio':>6} {'spread':>10}  reach")
    for row in measured((batch, steps, inputs, units), arguments.only, rounds):
        rows.append(row)
        spread = "{:.2f}-{:.2f}".format(*row.quartiles)
        print(
            f"{row.cell:<5} {row.variant:<20} {row.variant_ms:>8.4g} {row.plain_ms:>8.4g} "
            f"{row.ratio:>6.2f} {spread:>10} {row.reach:>6.2f}",
            flush=True,
        )
    if arguments.json:
        content = asdict(measure_machine()) | {"rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(content, indent=1) + "\n")


def measured(shape: Shape, only: str, rounds: Rounds) -> Iterator[Row]:
    """Yield a row for each variant."""
    for kind, variants in ((LSTM, LSTMS | norms(shape[3])), (GRU, GRUS)):
        plain = step(kind, {}, shape)
        for name, options in variants.items():
            if only not in name:
                continue
            found = rounds.compare(step(kind, options, shape), plain)
            low, middle, high = found.quartiles  # of plain / variant
            yield Row(
                kind.__name__, name, shape, found.ours_ms, found.peer_ms, 1 / middle,
                (1 / high, 1 / low), NORM_REACH if "layer_norm" in options else REACH,
            )  # fmt: skip


def norms(units: int) -> dict[str, dict[str, Any]]:
    """Return the variants that depend on the number of units, and layer normalization."""
    half = {"projection": max(1, units // 2)}
    return {
        "projection to H/2": half,
        "layer_norm": {"layer_norm": True},
        "layer_norm, to H/2": {"layer_norm": True, **half},
    }


def step(kind: Any, options: dict[str, Any], shape: Shape) -> Any:
    """Return a training step of a layer."""
    x, cotangent = data(shape)
    layer = kind(shape[3], return_sequences=True, **options)
    layer.build((None, None, shape[2]))
    layer.train()
    assert layer.kernel_choice(x).kernel == "cpu", layer.kernel_choice(x).reason
    return train(layer, layer, x, cotangent[..., : layer.output_size].contiguous())


if __name__ == "__main__":
    main()
