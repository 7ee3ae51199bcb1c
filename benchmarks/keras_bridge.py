"""How much faster is a whole `fit` step of a Keras program after `gatewise.keras.enable()`?

    python benchmarks/keras_bridge.py --json bridge.json

The program: LSTM(128) over 100 channels, Dropout(0.5), Dense(1, sigmoid), rmsprop, binary
cross-entropy, batches of 32, in Keras on torch. One process and one model: rounds of some steps
alternate between Keras's own loops and the bridge, each pair in the other order than the last, so
that a machine that slows down for a while slows both. The promise: at least 3 times as fast.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

from gatewise import __version__
from gatewise import keras as bridge

BATCH = 32
UNITS = 128


@dataclass(frozen=True)
class Program:
    """A model and its data: T steps of I channels, or of words where ``vocabulary`` is given."""

    name: str
    steps: int
    inputs: int
    vocabulary: int | None = None


PROGRAMS = (
    Program("the program", 100, 100),
    Program("with Embedding(mask_zero=True)", 100, 100, vocabulary=10_000),
)


def main() -> None:
    """Measure every program both ways and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--steps", type=int, default=10, help="training steps a round")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [measure(program, arguments.rounds, arguments.steps) for program in PROGRAMS]
    print(f"{'a step of fit':<32} {'Keras, ms':>10} {'bridge, ms':>11} {'times':>6}  quartiles")
    for row in rows:
        low, high = row["ratio_quartiles"]
        print(
            f"{row['program']:<32} {row['keras_ms']:>10.2f} {row['bridge_ms']:>11.2f} "
            f"{row['ratio']:>6.2f}  {low:.2f} to {high:.2f}"
        )
    if arguments.json:
        arguments.json.write_text(json.dumps({**machine(), "rows": rows}, indent=2) + "\n")


def measure(program: Program, rounds: int, steps: int) -> dict[str, Any]:
    """Return milliseconds a step both ways and their ratio, medians over alternating rounds."""
    keras.utils.set_random_seed(0)
    model = built(program)
    x, y = data(program, steps)

    def milliseconds_a_step(with_bridge: bool) -> float:
        if with_bridge:
            bridge.enable()
        began = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)
        took = time.perf_counter() - began
        bridge.disable()
        return took * 1e3 / steps

    order = [False, True]
    for with_bridge in order:
        milliseconds_a_step(with_bridge)
    (path,) = bridge.report(model).values()
    if path.kernel == "keras":
        raise RuntimeError(f"The bridge fell back, so nothing is measured: {path.reason}.")
    times: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(rounds):
        for with_bridge in order:
            times[with_bridge].append(milliseconds_a_step(with_bridge))
        order.reverse()
    ratios = [stock / ours for stock, ours in zip(times[False], times[True], strict=True)]
    low, _, high = statistics.quantiles(ratios, n=4) if rounds > 1 else (ratios[0],) * 3
    return {
        "program": program.name,
        "keras_ms": statistics.median(times[False]),
        "bridge_ms": statistics.median(times[True]),
        "ratio": statistics.median(ratios),
        "ratio_quartiles": [low, high],
        "kernel": path.kernel,
        "kernel_reason": path.reason,
    }


def built(program: Program) -> keras.Model:
    """Return the program's model, compiled."""
    layers: list[Any] = [keras.Input((None, program.inputs))]
    if program.vocabulary is not None:
        layers = [
            keras.Input((None,)),
            keras.layers.Embedding(program.vocabulary, program.inputs, mask_zero=True),
        ]
    layers += [
        keras.layers.LSTM(UNITS),
        keras.layers.Dropout(0.5),
        keras.layers.Dense(1, activation="sigmoid"),
    ]
    model = keras.Sequential(layers)
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"])
    return model


def data(program: Program, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Return random inputs and labels for some steps; ids end in padding of random length."""
    numbers = np.random.default_rng(0)
    rows = BATCH * steps
    y = numbers.integers(0, 2, (rows, 1))
    if program.vocabulary is None:
        return numbers.normal(size=(rows, program.steps, program.inputs)).astype("float32"), y
    ids = numbers.integers(1, program.vocabulary, (rows, program.steps))
    lengths = numbers.integers(program.steps // 2, program.steps + 1, (rows, 1))
    return np.where(np.arange(program.steps) < lengths, ids, 0), y


def machine() -> dict[str, Any]:
    """Return what the figures depend on."""
    return {
        "versions": {
            "gatewise": __version__,
            "keras": keras.__version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
    }


if __name__ == "__main__":
    main()
