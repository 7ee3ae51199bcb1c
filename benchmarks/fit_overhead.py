"""What does `fit` add to a training step, beside a loop written by hand in torch?

    python benchmarks/fit_overhead.py --json overhead.json

Both train the same layers with the same loss and the same optimizer, in the same process. Rounds of
some steps alternate, each pair in the other order than the last, and what `fit` adds is the median
over the pairs of their difference: a machine that slows down for a while slows both of a pair. The
promise: at most 0.3 ms a step.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise import losses
from gatewise.layers import LSTM, Dense, Dropout
from gatewise.models import Sequential

BATCH = 32


@dataclass(frozen=True)
class Size:
    """A model and its data: T steps of I channels into H units."""

    name: str
    steps: int
    inputs: int
    units: int


SIZES = (Size("the program", 100, 100, 128), Size("tiny", 5, 4, 8))


def main() -> None:
    """Measure both sizes, with and without a metric, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--steps", type=int, default=30, help="training steps a round")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = [
        measure(size, metrics, arguments.rounds, arguments.steps)
        for size in SIZES
        for metrics in ([], ["accuracy"])
    ]
    columns = f"{'loop, ms':>9} {'fit, ms':>9} {'added, ms':>10}  quartiles"
    print(f"{'size':<12} {'metrics':<10} {columns}")
    for row in rows:
        metrics = ", ".join(row["metrics"]) or "none"
        low, high = row["added_quartiles_ms"]
        print(
            f"{row['size']:<12} {metrics:<10} {row['loop_ms']:>9.3f} {row['fit_ms']:>9.3f} "
            f"{row['added_ms']:>+10.3f}  {low:+.3f} to {high:+.3f}"
        )
    if arguments.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads(), "rows": rows}
        arguments.json.write_text(json.dumps(about, indent=2) + "\n")


def measure(size: Size, metrics: list[str], rounds: int, steps: int) -> dict[str, Any]:
    """Return milliseconds a step of the loop and of `fit`, medians over alternating rounds."""
    torch.manual_seed(0)
    x = torch.randn(BATCH * steps, size.steps, size.inputs)
    y = torch.randint(0, 2, (BATCH * steps, 1)).float()
    model = Sequential()
    model.add(LSTM(size.units, input_shape=(None, size.inputs)))
    model.add(Dropout(0.5))
    model.add(Dense(1, activation="sigmoid"))
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=metrics)

    def fit() -> None:
        model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)

    def loop() -> None:
        train_by_hand(model, x, y)

    fit()
    loop()
    times: dict[str, list[float]] = {"loop": [], "fit": []}
    pair = [("loop", loop), ("fit", fit)]
    for _ in range(rounds):
        for name, work in pair:
            times[name].append(milliseconds(work) / steps)
        pair.reverse()
    differences = [after - before for before, after in zip(*times.values(), strict=True)]
    low, high = np.quantile(differences, [0.25, 0.75]).tolist()
    return {
        "size": size.name,
        "metrics": metrics,
        "loop_ms": statistics.median(times["loop"]),
        "fit_ms": statistics.median(times["fit"]),
        "added_ms": statistics.median(differences),
        "added_quartiles_ms": [low, high],
    }


def train_by_hand(model: Sequential, x: Tensor, y: Tensor) -> float:
    """Train one epoch as one would in plain torch; return the mean loss."""
    assert model.optimizer is not None
    assert model.loss is not None
    model.train()
    total = torch.zeros(())
    for chosen in torch.randperm(len(x)).split(BATCH):
        model.optimizer.zero_grad()
        loss = losses.objective(model.loss, y[chosen], model(x[chosen]))
        loss.backward()
        model.optimizer.step()
        total += loss.detach()
    model.eval()
    return float(total) * BATCH / len(x)


def milliseconds(work: Callable[[], None]) -> float:
    """Return how long `work` takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1e3


if __name__ == "__main__":
    main()
