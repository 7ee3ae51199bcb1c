"""The native CPU kernels beside torch's own layers, ONNX Runtime and the machine's limit.

    python benchmarks/recurrent.py --json recurrent.json
    python benchmarks/recurrent.py --only inference --quick

Each row runs two things alternately in one process, in the other order every round, and compares
them by the median over the rounds of their ratio: a machine that slows down for a while slows both.
Shapes are B, T, I, H. A training step computes dx too. "peak" is the share of the multiply-adds
that the same threads do when they do nothing else, and "limit" the ratio to the peer of a machine
that did these and then the activations, at the rate at which it does nothing else, and nothing
more: no copies, no waits, no Python. Both rates are measured before and after each row, and the
higher one counts. "apart" is the nanoseconds that a line of memory took from one thread to another
and back after the row: the host of a virtual machine moves its processors, and at 60 or so they
share a core. "reach" is the ratio aimed at; in the group "no cliff" the peer is our own plain layer
and the reach is the most that its time may be multiplied by.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import statistics
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import onnx_peer
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import gatewise.nn
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
from gatewise.layers import LSTM, Bidirectional

PROGRAM, WIDE, ROWS_OF_PIXELS = (32, 100, 100, 128), (64, 100, 512, 512), (128, 28, 28, 128)
TRAINING = [
    ("lstm", PROGRAM, 1.8),
    ("lstm", WIDE, 1.3),
    ("lstm", ROWS_OF_PIXELS, 1.7),
    ("lstm", (32, 50, 32, 64), 3.0),
    ("lstm", (256, 50, 64, 256), 1.8),
    ("lstm", (16, 25, 1024, 1024), 1.8),
    ("gru", PROGRAM, 3.5),
    ("gru", WIDE, 2.0),
    ("gru", ROWS_OF_PIXELS, 3.5),
]
LENGTHS = [(PROGRAM, 5.0), (WIDE, 4.0), (ROWS_OF_PIXELS, 2.0)]
INFERENCE = [(PROGRAM, 1.4), (WIDE, 1.05), ((1, 100, 100, 128), 1.4)]
STREAMING = [(64, 2.0), (128, 2.0)]
STACK = 3
ACTIVATIONS = {"lstm": 5, "gru": 3}  # of a unit at a step


@dataclass
class Row:
    """Two measured alternatives. Times are medians in milliseconds."""

    group: str
    cell: str
    shape: Shape
    what: str
    peer: str
    ours_ms: float
    peer_ms: float
    ratio: float  # peer / ours; in "no cliff" ours / peer
    quartiles: tuple[float, float]  # of the ratio
    reach: float | None
    peak: float | None  # ours, as a share of the machine's own multiply-adds
    limit: float | None  # the ratio that the machine's own arithmetic allows
    apart_ns: float | None  # how far the threads were from each other; None for one


@dataclass(frozen=True)
class Arithmetic:
    """What a row computes, whoever does it."""

    multiply_adds: float
    activations: float

    def times(self, share: float) -> Arithmetic:
        """Return a share of it."""
        return Arithmetic(share * self.multiply_adds, share * self.activations)


def main() -> None:
    """Measure the chosen groups and print the table."""
    groups = {
        "training": training,
        "one line": one_line,
        "lengths": lengths,
        "inference": inference,
        "streaming": streaming,
        "no cliff": no_cliff,
        "random": random_shapes,
    }
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--only", action="append", choices=groups, help="a group; repeatable")
    parser.add_argument("--quick", action="store_true", help="two short rounds, few shapes")
    parser.add_argument("--random", type=int, default=200, help="how many random shapes")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    if not cpu.available():
        parser.error(cpu.unavailable_reason())
    measure = Rounds(2, 0.001) if arguments.quick else Rounds(15, 0.05)
    shapes = min(arguments.random, 2) if arguments.quick else arguments.random
    head = (
        f"{'ours, ms':>9} {'peer, ms':>9} {'ratio':>6} {'quartiles':>12} {'reach':>6} "
        f"{'peak':>5} {'limit':>5} {'apart':>5}"
    )
    print(f"{'group':<10} {'cell':<5} {'B, T, I, H':<19} {'what':<18} {'peer':<13} {head}")
    rows = []
    for name, group in groups.items():
        if arguments.only and name not in arguments.only:
            continue
        for row in group(measure, shapes) if group is random_shapes else group(measure):
            rows.append(row)
            print(line(row), flush=True)
    for summary in summaries(rows):
        print(summary)
    if arguments.json:
        content = {**machine(), "rows": [asdict(row) for row in rows]}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


def training(measure: Rounds) -> Iterator[Row]:
    """A training step of whole sequences beside torch's layer."""
    for cell, shape, reach in TRAINING:
        works = training_pair(cell, shape)
        done = training_work(cell, shape)
        yield compared(measure, "training", cell, shape, "step", reach, *works, done)


def one_line(measure: Rounds) -> Iterator[Row]:
    """The same step where a PyTorch program says gatewise.nn in place of torch.nn."""
    for cell, shape, reach in TRAINING:
        x, cotangent = data(shape)
        _, peer = pair(cell, shape)
        ours = getattr(gatewise.nn, type(peer).__name__)(*shape[2:], batch_first=True)
        ours.load_state_dict(peer.state_dict())
        steps = [
            train(layer, lambda x, layer=layer: layer(x)[0], x, cotangent) for layer in (ours, peer)
        ]
        done = training_work(cell, shape)
        yield compared(measure, "one line", cell, shape, "step", reach, *steps, done)


def lengths(measure: Rounds) -> Iterator[Row]:
    """Lengths from T/2 to T: a mask beside torch's packed sequences."""
    for shape, reach in LENGTHS:
        batch, steps, *_ = shape
        generator = torch.Generator().manual_seed(5)
        of_each = torch.randint(steps // 2, steps + 1, (batch,), generator=generator)
        of_each[0] = steps
        mask = torch.arange(steps) < of_each[:, None]
        x, cotangent = data(shape)
        ours, peer = pair("lstm", shape)

        def packed(x: Tensor, peer: nn.Module = peer, of_each: Tensor = of_each) -> Tensor:
            sequence = pack_padded_sequence(x, of_each, batch_first=True, enforce_sorted=False)
            return pad_packed_sequence(peer(sequence)[0], batch_first=True)[0]

        cotangent = cotangent * mask.unsqueeze(-1)
        works = (
            train(ours, lambda x, ours=ours, mask=mask: ours(x, mask=mask), x, cotangent),
            train(peer, packed, x, cotangent),
        )
        # The real steps alone are counted.
        done = training_work("lstm", shape).times(float(mask.float().mean()))
        yield compared(measure, "lengths", "lstm", shape, "step, packed", reach, *works, done)


def inference(measure: Rounds) -> Iterator[Row]:
    """The forward pass alone beside torch and ONNX Runtime; the better of them is what counts."""
    for shape, reach in INFERENCE:
        x, _ = data(shape)
        ours, peer = pair("lstm", shape)
        peers: dict[str, Work] = {"torch": quietly(lambda peer=peer, x=x: peer(x))}
        session = onnx_peer.session(shape)
        if session is not None:
            given = onnx_peer.inputs(shape)
            peers["ONNX Runtime"] = lambda session=session, given=given: session.run(None, given)
        # A stream is what a session of ONNX Runtime is: weights packed once, arrays in and out.
        stream, steps = ours.stream(shape[0]), x.numpy()
        works: dict[str, Work] = {
            "forward": quietly(lambda ours=ours, x=x: ours(x)),
            "steps of a stream": lambda stream=stream, steps=steps: stream.steps(steps),
        }
        for (what, work), (name, other) in itertools.product(works.items(), peers.items()):
            yield compared(
                rested(measure, name),
                "inference",
                "lstm",
                shape,
                what,
                reach,
                work,
                other,
                forward_work("lstm", shape),
                name,
            )


def rested(measure: Rounds, peer: str) -> Rounds:
    """Return the rounds with a rest where the peer's threads go on looking for work (40 ms)."""
    return replace(measure, rest=0.1) if peer == "ONNX Runtime" else measure


def streaming(measure: Rounds) -> Iterator[Row]:
    """One step from Python at B=1 beside a session of ONNX Runtime that is handed its state."""
    for units, reach in STREAMING:
        shape = (1, 1, units, units)
        session = onnx_peer.session(shape)
        if session is None:
            continue
        ours, _ = pair("lstm", shape)
        stream = ours.stream()
        x = np.ones((1, units), np.float32)
        given = onnx_peer.inputs(shape)

        def peer(session: Any = session, given: dict[str, np.ndarray] = given) -> None:
            _, given["h"], given["c"] = session.run(None, given)

        yield compared(
            rested(measure, "ONNX Runtime"), "streaming", "lstm", shape, "one step",
            reach, lambda stream=stream, x=x: stream.step(x), peer, forward_work("lstm", shape),
            "ONNX Runtime",
        )  # fmt: skip


def no_cliff(measure: Rounds) -> Iterator[Row]:
    """What a training step costs with everything that a layer can be asked for, beside without."""
    shape = (32, 100, 128, 128)
    batch, steps, _, units = shape
    x, cotangent = data(shape)
    generator = torch.Generator().manual_seed(6)
    holes = torch.rand(batch, steps, generator=generator) > 0.1
    padding = torch.arange(steps) < torch.full((batch, 1), steps - 1)
    state = [torch.zeros(batch, units, requires_grad=True) for _ in range(2)]
    plain = built(LSTM(units, return_sequences=True), shape)
    # name, layer, what it is called with, the most that its time may be multiplied by
    variants: list[tuple[str, Any, dict[str, Any], float]] = [
        ("mask with holes", plain, {"mask": holes}, 1.15),
        ("lengths", plain, {"mask": padding}, 1.15),
        ("initial state", plain, {"initial_state": state}, 1.15),
        ("final state", LSTM(units, return_sequences=True, return_state=True), {}, 1.15),
        ("last output", LSTM(units), {}, 1.15),
        ("go_backwards", LSTM(units, return_sequences=True, go_backwards=True), {}, 1.15),
        ("dropout", LSTM(units, return_sequences=True, dropout=0.2), {}, 1.15),
        ("recurrent dropout", LSTM(units, return_sequences=True, recurrent_dropout=0.2), {}, 1.15),
        ("recompute", LSTM(units, return_sequences=True, recompute="gates"), {}, 1.4),
        ("bidirectional", Bidirectional(LSTM(units, return_sequences=True)), {}, 2.1),
    ]
    layers = [built(LSTM(units, return_sequences=True), shape) for _ in range(STACK)]
    variants.append((f"a stack of {STACK}", nn.Sequential(*layers), {}, 1.05 * STACK))
    for name, layer, keywords, most in variants:
        layer = layer if isinstance(layer, nn.Sequential) else built(layer, shape)
        layer.train()

        def forward(x: Tensor, layer: Any = layer, keywords: dict[str, Any] = keywords) -> Tensor:
            results = layer(x, **keywords)
            outputs = results[0] if isinstance(results, tuple) else results
            return outputs[..., :units]

        sent = cotangent[:, 0] if name == "last output" else cotangent
        works = train(layer, forward, x, sent), train(plain, plain, x, cotangent)
        row = compared(measure, "no cliff", "lstm", shape, name, most, *works, None, "plain")
        row.ratio, row.quartiles = 1 / row.ratio, (1 / row.quartiles[1], 1 / row.quartiles[0])
        yield row


def random_shapes(measure: Rounds, count: int) -> Iterator[Row]:
    """Shapes drawn log-uniformly, training and inference; those of minutes are drawn again."""
    random = Random(7)

    def draw(low: int, high: int) -> int:
        return round(math.exp(random.uniform(math.log(low), math.log(high))))

    done = 0
    while done < count:
        shape = (draw(1, 256), draw(1, 300), draw(1, 700), draw(1, 700))
        cell, trains = random.choice(["lstm", "gru"]), random.random() < 0.5
        if multiply_adds(cell, shape) > 2e10:
            continue
        done += 1
        if trains:
            works, of_row = training_pair(cell, shape), training_work(cell, shape)
        else:
            x, _ = data(shape)
            ours, peer = pair(cell, shape)
            works = (
                quietly(lambda ours=ours, x=x: ours(x)),
                quietly(lambda peer=peer, x=x: peer(x)),
            )
            of_row = forward_work(cell, shape)
        what = "step" if trains else "forward"
        yield compared(measure, "random", cell, shape, what, 1.0, *works, of_row)


def compared(
    measure: Rounds, group: str, cell: str, shape: Shape, what: str, reach: float | None,
    ours: Work, peer: Work, done: Arithmetic | None, name: str = "torch",
) -> Row:  # fmt: skip
    """Measure a row, in which so much is ``done``."""
    rates = machine_rates(measure)
    found = measure.compare(ours, peer)
    low, middle, high = found.quartiles
    ours_ms = found.ours_ms
    peak = limit = None
    if done is not None:
        # The host of a virtual machine may have moved its processors meanwhile.
        products, activations = map(max, rates, machine_rates(measure))
        multiplying = done.multiply_adds / products * 1e3
        peak = multiplying / ours_ms
        limit = middle * ours_ms / (multiplying + done.activations / activations * 1e3)
    handover = cpu.handover()
    apart = None if handover is None else handover * 1e9
    return Row(
        group, cell, shape, what, name, ours_ms, found.peer_ms, middle, (low, high), reach, peak,
        limit, apart,
    )  # fmt: skip


def machine_rates(measure: Rounds) -> tuple[float, float]:
    """Return the multiply-adds and the activations a second of a machine that does nothing else."""
    time.sleep(measure.rest)
    return cpu.peak(), cpu.activation_peak()


def training_work(cell: str, shape: Shape) -> Arithmetic:
    """Return the arithmetic of a training step; the way back has no activations of its own."""
    batch, steps, _, units = shape
    return Arithmetic(multiply_adds(cell, shape), batch * steps * units * ACTIVATIONS[cell])


def forward_work(cell: str, shape: Shape) -> Arithmetic:
    """Return the arithmetic of the way forward alone."""
    whole = training_work(cell, shape)
    return replace(whole, multiply_adds=whole.multiply_adds / 3)


def built(layer: Any, shape: Shape) -> Any:
    """Return a layer of ours with its weights."""
    layer.build((None, None, shape[2]))
    return layer


def training_pair(cell: str, shape: Shape) -> tuple[Work, Work]:
    """Return a training step of ours and of torch's."""
    x, cotangent = data(shape)
    ours, peer = pair(cell, shape)
    return train(ours, ours, x, cotangent), train(peer, lambda x: peer(x)[0], x, cotangent)


def line(row: Row) -> str:
    """Return a row of the table."""
    shape = ", ".join(map(str, row.shape))
    reach = "" if row.reach is None else f"{row.reach:.2f}"
    peak = "" if row.peak is None else f"{row.peak:.0%}"
    limit = "" if row.limit is None else f"{row.limit:.2f}"
    apart = "" if row.apart_ns is None else f"{row.apart_ns:.0f}"
    spread = "{:.2f}-{:.2f}".format(*row.quartiles)
    return (
        f"{row.group:<10} {row.cell:<5} {shape:<19} {row.what:<18} {row.peer:<13} "
        f"{row.ours_ms:>9.4g} {row.peer_ms:>9.4g} {row.ratio:>6.2f} {spread:>12} {reach:>6} "
        f"{peak:>5} {limit:>5} {apart:>5}"
    )


def summaries(rows: list[Row]) -> Iterator[str]:
    """Yield the geometric mean and the worst of the random shapes, if there are any."""
    random = [row for row in rows if row.group == "random"]
    if random:
        mean = math.exp(statistics.fmean(math.log(row.ratio) for row in random))
        worst = min(random, key=lambda row: row.ratio)
        yield (
            f"{len(random)} random shapes: geometric mean {mean:.2f}, worst {worst.ratio:.2f} "
            f"({worst.cell}, {worst.shape}, {worst.what})"
        )


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    found = asdict(measure_machine())
    found["versions"]["numpy"] = np.__version__
    if onnx_peer.version() is not None:
        found["versions"]["onnxruntime"] = onnx_peer.version()
    return found


if __name__ == "__main__":
    main()
