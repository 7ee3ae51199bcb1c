"""Products in bfloat16: how fast a step is, and whether it learns what float32 learns.

    python benchmarks/bfloat16.py --json bfloat16.json
    python benchmarks/bfloat16.py --learning --seeds 5 --json learning.json

Speed: our layer with `precision="bfloat16"` beside torch's in bfloat16 (`module.bfloat16()`, with
input and cotangent in bfloat16), and beside our own in float32. Each row runs two things
alternately in one process, in the other order every round, and compares them by the median over the
rounds of their ratio. Shapes are B, T, I, H; a training step computes dx too. "peak" is the share
of the bfloat16 multiply-adds that the same threads do when they do nothing else, measured beside
each row, and "limit" the ratio to the peer that all of them would give.

Learning: `gatewise train japanese-vowels` and `verse-or-scripture`, and the adding problem over 200
steps (benchmarks/adding.py), with each precision and seed, in turns.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import adding
import torch

from gatewise.cli.plan import Plan
from gatewise.cli.training_run import run
from gatewise.inspect.speed import (
    Rounds,
    Shape,
    Work,
    data,
    measure_machine,
    multiply_adds,
    pair,
    quietly,
    train,
)
from gatewise.kernels import cpu

SHAPES: list[Shape] = [(32, 100, 100, 128), (64, 100, 512, 512)]
REACH = 2.2
PRECISIONS = ("float32", "bfloat16")
TASKS = {
    "japanese-vowels": "accuracy",
    "verse-or-scripture": "accuracy",
    "adding": "mean squared error",
}
ADDING = Namespace(length=200, units=64, batch=50, learning_rate=0.002, bias="chrono")


@dataclass
class Row:
    """Two measured alternatives. Times are medians in milliseconds."""

    cell: str
    shape: Shape
    what: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: float  # peer / ours
    quartiles: tuple[float, float]
    reach: float | None
    peak: float  # ours, as a share of the machine's own bfloat16 multiply-adds


def main() -> None:
    """Measure what was asked for and print it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--learning", action="store_true", help="learning instead of speed")
    parser.add_argument("--task", action="append", choices=TASKS, help="of learning; repeatable")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--shape", action="append", type=sizes, metavar="B,T,I,H", help="of speed; repeatable"
    )
    parser.add_argument("--quick", action="store_true", help="two short rounds; a few epochs")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not cpu.available():
        parser.error(cpu.unavailable_reason())
    if arguments.learning:
        content = learning(arguments.task or list(TASKS), arguments.seeds, arguments.quick)
    else:
        measure = Rounds(2, 0.001) if arguments.quick else Rounds(15, 0.05)
        content = speed(arguments.shape or SHAPES, measure)
    if arguments.json:
        arguments.json.write_text(json.dumps({**asdict(machine()), **content}, indent=2) + "\n")


def machine() -> Any:
    """Return what the figures depend on; its peak is that of bfloat16."""
    return measure_machine("bfloat16")


def sizes(text: str) -> Shape:
    """Return the shape that is written as B,T,I,H."""
    batch, steps, inputs, units = map(int, text.split(","))
    return batch, steps, inputs, units


# Speed


def speed(shapes: list[Shape], measure: Rounds) -> dict[str, Any]:
    """Print a line for each row; return the rows."""
    print(f"{machine().cpu}, {cpu.isa()}, {torch.get_num_threads()} threads")
    print(
        f"{'cell':<5} {'B, T, I, H':<19} {'what':<9} {'peer':<16} {'ours, ms':>9} {'peer, ms':>9} "
        f"{'ratio':>6} {'quartiles':>12} {'reach':>6} {'peak':>5} {'limit':>6}"
    )
    found = []
    for row in rows(shapes, measure):
        found.append(asdict(row))
        reach = "" if row.reach is None else f"{row.reach:.1f}"
        print(
            f"{row.cell:<5} {', '.join(map(str, row.shape)):<19} {row.what:<9} {row.peer:<16} "
            f"{row.ours_ms:>9.3f} {row.peer_ms:>9.3f} {row.ratio:>6.2f} "
            f"{'{:.2f}-{:.2f}'.format(*row.quartiles):>12} {reach:>6} {row.peak:>5.0%} "
            f"{row.ratio / row.peak:>6.2f}",
            flush=True,
        )
    return {"rows": found}


def rows(shapes: list[Shape], measure: Rounds) -> Iterator[Row]:
    """Measure LSTM and GRU at each shape, in training and inference, beside both peers."""
    for cell in ("lstm", "gru"):
        for shape in shapes:
            for what, work in (("training", train), ("inference", forward_alone)):
                yield from beside_peers(cell, shape, what, work, measure)


def beside_peers(
    cell: str, shape: Shape, what: str, work: Callable[..., Work], measure: Rounds
) -> Iterator[Row]:
    """Measure one shape beside torch's layer in bfloat16 and beside our own in float32."""
    ours, theirs = pair(cell, shape)
    plain, _ = pair(cell, shape)
    ours.precision = "bfloat16"
    theirs = theirs.bfloat16()
    x, sent = data(shape)
    rounded = x.bfloat16(), sent.bfloat16()
    peers = {
        f"nn.{type(theirs).__name__}, bfloat16": work(theirs, lambda x: theirs(x)[0], *rounded),
        "ours, float32": work(plain, plain, x, sent),
    }
    done = multiply_adds(cell, shape) * (1 if what == "training" else 1 / 3)
    for peer, other in peers.items():
        peak = cpu.peak(precision="bfloat16")
        found = measure.compare(work(ours, ours, x, sent), other)
        low, ratio, high = found.quartiles
        aimed = cell == "lstm" and what == "training" and peer.startswith("nn.")
        yield Row(
            cell, shape, what, peer, found.ours_ms, found.peer_ms, ratio, (low, high),
            REACH if aimed else None, done / (found.ours_ms * 1e-3) / peak,
        )  # fmt: skip


def forward_alone(layer: Any, forward: Callable[..., Any], x: Any, sent: Any) -> Work:
    """Return the way forward without gradients, as `train` returns a training step."""
    return quietly(lambda: forward(x))


# Learning


def learning(tasks: list[str], seeds: int, quick: bool) -> dict[str, Any]:
    """Train each task with each precision and seed; print and return what they reach."""
    figures: dict[str, dict[str, list[float]]] = {}
    for task in tasks:
        figures[task] = {precision: [] for precision in PRECISIONS}
        for seed in range(seeds):
            for precision in PRECISIONS:
                reached = (added if task == "adding" else trained)(task, seed, precision, quick)
                figures[task][precision].append(reached)
        print(f"{task}, {TASKS[task]}")
        for precision, values in figures[task].items():
            mean, listed = statistics.mean(values), ", ".join(f"{one:.4g}" for one in values)
            print(f"  {precision:<9} mean {mean:.4g}: {listed}", flush=True)
    return {"learning": figures}


def trained(source: str, seed: int, precision: str, quick: bool) -> float:
    """Return the test accuracy of `gatewise train` with its defaults."""
    settings = {"epochs": 1} if quick else {}
    with tempfile.TemporaryDirectory() as folder:
        plan = Plan(
            source=source, reading={}, settings=settings, seed=seed, device="cpu",
            precision=precision,
        )  # fmt: skip
        return run(plan, Path(folder) / "run", quiet=True)["figures"]["this model"]["accuracy"]


def added(task: str, seed: int, precision: str, quick: bool) -> float:
    """Return the mean squared error on fresh series."""
    given = Namespace(**vars(ADDING), steps=20 if quick else 2000, test=500 if quick else 10_000)
    return adding.train(seed, Namespace(**vars(given), precision=precision))["mse"]


if __name__ == "__main__":
    main()
