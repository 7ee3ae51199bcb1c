"""What do the algorithms for gradients through time learn, and what do they cost?

    python benchmarks/gradients.py --json gradients.json

The cue: each series begins with a sign and asks for it after `--lag` steps of noise, at every step
from there on. An algorithm whose credit reaches back less far stays at chance unless it finds
another way. All algorithms see the same data, and the loss is that of the last `--chunk` steps, so
each takes few steps of the optimizer a batch, BPTT one. Reported: the accuracy on fresh series,
mean and range over the seeds.

The cost: time and peak memory of one gradient for series of `--lengths` steps, beside those of a
forward pass without a gradient. Each measurement is a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import gatewise
from gatewise.gradients import (
    ARTBP,
    BPTT,
    RTRL,
    TBPTT,
    EProp,
    GradientAlgorithm,
    SnAp1,
    backward,
)
from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential

FORWARD = "forward alone"


def algorithms(chunk: int) -> dict[str, GradientAlgorithm]:
    """Return what is compared."""
    return {
        "BPTT": BPTT(),
        "BPTT, sqrt": BPTT(checkpoint="sqrt"),
        "TBPTT": TBPTT(chunk),
        "ARTBP": ARTBP(mean_length=chunk),
        "RTRL": RTRL(every=chunk),
        "SnAp1": SnAp1(every=chunk),
        "EProp": EProp(every=chunk),
    }


def main() -> None:
    """Run the parts that were asked for and print their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--lag", type=int, default=100)
    parser.add_argument("--chunk", type=int, default=10)
    parser.add_argument("--units", type=int, default=8)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--batches", type=int, default=300)
    parser.add_argument("--lengths", type=int, nargs="*", default=[1_000, 10_000, 100_000])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(cost_here(arguments.one[0], int(arguments.one[1]), arguments.chunk)))
        return
    cue = {name: learn_all(name, arguments) for name in algorithms(arguments.chunk)}
    print(f"{'algorithm':<14} {'accuracy':>9}  range over {arguments.seeds} seeds")
    for name, found in cue.items():
        print(f"{name:<14} {statistics.mean(found):>9.3f}  {min(found):.3f} to {max(found):.3f}")
    names = [FORWARD, *(name for name in algorithms(arguments.chunk) if name != "RTRL")]
    costs = [cost(name, steps, arguments.chunk) for steps in arguments.lengths for name in names]
    print(f"\n{'algorithm':<14} {'T':>8} {'seconds':>9} {'peak, MiB':>10}")
    for row in costs:
        print(
            f"{row['name']:<14} {row['steps']:>8} {row['seconds']:>9.3f} {row['peak_mib']:>10.1f}"
        )
    if arguments.json:
        about = {"torch": torch.__version__, "threads": torch.get_num_threads()}
        about |= {"cue": cue, "costs": costs}
        arguments.json.write_text(json.dumps(about, indent=2) + "\n")


def cue_task(series: int, lag: int, chunk: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return x (B, T, 2), labels (B, T, 1) and the weight of each step: 1 where the sign is due."""
    steps = lag + chunk
    sign = torch.randint(0, 2, (series, 1, 1)).float()
    x = torch.randn(series, steps, 2) * 0.1
    x[:, :1, 0:1] = 2 * sign - 1
    weights = (torch.arange(steps) >= lag).float().expand(series, steps)
    return x, sign.expand(series, steps, 1), weights


def learn_all(name: str, arguments: argparse.Namespace) -> list[float]:
    """Return the accuracy for each seed."""
    return [
        learn(algorithms(arguments.chunk)[name], seed, arguments) for seed in range(arguments.seeds)
    ]


def learn(algorithm: GradientAlgorithm, seed: int, arguments: argparse.Namespace) -> float:
    """Train on the cue and return the accuracy where the sign is due."""
    gatewise.utils.set_random_seed(seed)
    model = network(arguments.units)
    optimizer = gatewise.optimizers.Adam(0.01, global_clipnorm=1.0)
    model.compile(optimizer=optimizer, loss="binary_crossentropy", gradient=algorithm)
    x, y, weights = cue_task(32 * arguments.batches, arguments.lag, arguments.chunk)
    model.fit(x, y, sample_weight=weights, epochs=1, verbose=0)
    x, y, _ = cue_task(256, arguments.lag, arguments.chunk)
    with torch.no_grad():
        right = (model(x) > 0.5) == (y > 0.5)
    return right[:, arguments.lag :].float().mean().item()


def network(units: int) -> Sequential:
    """Return the model of both parts."""
    layer = LSTM(units, return_sequences=True, input_shape=(None, 2))
    return Sequential([layer, Dense(1, activation="sigmoid")])


def cost(name: str, steps: int, chunk: int) -> dict[str, Any]:
    """Measure one gradient in a process of its own."""
    command = [sys.executable, __file__, "--chunk", str(chunk), "--one", name, str(steps)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def cost_here(name: str, steps: int, chunk: int) -> dict[str, Any]:
    """Return the seconds of one gradient and what this process needed beyond its start."""
    gatewise.utils.set_random_seed(0)
    model = network(32)
    model.compile(loss="binary_crossentropy")
    # Chunks of a hundred steps: at most a thousand gradients for the longest series.
    algorithm = None if name == FORWARD else algorithms(max(chunk, 100))[name]
    warm_x, warm_y, _ = cue_task(4, 10, 10)
    backward(model, warm_x, warm_y, gradient=algorithm)
    x, y, _ = cue_task(4, steps - 10, 10)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    if algorithm is None:
        with torch.no_grad():
            model(x)
    else:
        backward(model, x, y, gradient=algorithm)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"name": name, "steps": steps, "seconds": seconds, "peak_mib": peak / 1024}


if __name__ == "__main__":
    main()
