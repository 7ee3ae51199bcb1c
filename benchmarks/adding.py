"""Does the LSTM solve the adding problem, over 600 steps?

    python benchmarks/adding.py --json adding.json

Each step holds a number from 0 to 1 and a mark. Two steps are marked, one in each half; the answer
is the sum of their numbers. Whoever always says 1 has a mean squared error of 1/6 = 0.1667 (the
variance of the sum). Published for T = 600 (Bai, Kolter and Koltun, arXiv 1803.01271): LSTM 0.164,
GRU 5.3e-5, TCN 5.8e-5; solved is called what is below 0.001.

The model is LSTM(64) and Dense(1), trained on fresh series throughout. What the published LSTM did
not have is the chrono initialisation of Tallec and Ollivier (arXiv 1804.11188): the biases of the
forget gates are drawn so that their memories span 1 to T steps, b_f = log U(1, T - 1), b_i = -b_f.
`--bias one` is the usual first value, a forget bias of one, under otherwise equal conditions.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import gatewise
from gatewise.cells import split_gates
from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential
from gatewise.optimizers import Adam
from gatewise.optimizers.schedules import PiecewiseConstantDecay

TEST_SERIES = 10_000


def draw(series: int, steps: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return series (N, T, 2) and their answers (N, 1)."""
    numbers = torch.rand(series, steps, generator=generator)
    marks = torch.zeros(series, steps)
    rows, half = torch.arange(series), steps // 2
    marks[rows, torch.randint(half, (series,), generator=generator)] = 1
    marks[rows, torch.randint(half, steps, (series,), generator=generator)] = 1
    return torch.stack([numbers, marks], dim=-1), (numbers * marks).sum(1, keepdim=True)


def chrono(steps: int) -> Callable[..., Tensor]:
    """Return an initializer of the LSTM's bias for memories of up to so many steps."""

    def initial(shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        parts = split_gates(torch.zeros(shape, dtype=dtype), "lstm")
        parts["f"] = torch.empty_like(parts["f"]).uniform_(1, steps - 1).log()
        parts["i"] = -parts["f"]
        return torch.cat(list(parts.values()))

    return initial


def build(arguments: argparse.Namespace) -> Sequential:
    """Return the compiled model."""
    shape = (None, 2)
    if arguments.bias == "chrono":
        bias = chrono(arguments.length)
        layer = LSTM(
            arguments.units, bias_initializer=bias, unit_forget_bias=False, input_shape=shape
        )
    else:
        layer = LSTM(arguments.units, input_shape=shape)
    model = Sequential([layer, Dense(1)])
    high = arguments.learning_rate
    rate = PiecewiseConstantDecay([arguments.steps * 4 // 5], [high, high / 10])
    model.compile(Adam(rate, global_clipnorm=1.0), "mse", precision=arguments.precision)
    return model


def train(seed: int, arguments: argparse.Namespace) -> dict[str, float]:
    """Train one model; return its error on fresh series and the seconds it took."""
    gatewise.utils.set_random_seed(seed)
    model = build(arguments)
    generator = torch.Generator().manual_seed(seed)
    test = draw(arguments.test, arguments.length, torch.Generator().manual_seed(1_000_003))
    started, total = time.perf_counter(), 0.0
    for step in range(1, arguments.steps + 1):
        loss = model.train_on_batch(*draw(arguments.batch, arguments.length, generator))
        assert isinstance(loss, float)
        total += loss
        if step % 200 == 0:
            print(f"  seed {seed}, step {step}: training MSE {total / 200:.6f}", flush=True)
            total = 0.0
    seconds = time.perf_counter() - started
    error = model.evaluate(*test, batch_size=250, verbose=0)
    assert isinstance(error, float)
    baseline = (test[1] - 1).square().mean().item()
    print(f"seed {seed}: test MSE {error:.2e} (always 1: {baseline:.4f}), {seconds:.0f} s")
    return {"seed": seed, "mse": error, "always_one": baseline, "seconds": seconds}


def main() -> None:
    """Train a model for each seed and print what they reach."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--length", type=int, default=600)
    parser.add_argument("--units", type=int, default=64)
    parser.add_argument("--batch", type=int, default=50)
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--learning-rate", type=float, default=0.002)
    parser.add_argument("--bias", choices=("chrono", "one"), default="chrono")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--test", type=int, default=TEST_SERIES)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    runs = [train(seed, arguments) for seed in range(arguments.seeds)]
    errors = [run["mse"] for run in runs]
    print(
        f"T = {arguments.length}, bias {arguments.bias}: test MSE median "
        f"{statistics.median(errors):.2e}, range {min(errors):.2e} to {max(errors):.2e}, "
        f"{sum(error < 0.001 for error in errors)} of {len(errors)} below 0.001"
    )
    if arguments.json:
        settings = {
            key: value for key, value in vars(arguments).items() if key not in ("json", "seeds")
        }
        arguments.json.write_text(json.dumps({"settings": settings, "runs": runs}, indent=1))


if __name__ == "__main__":
    main()
