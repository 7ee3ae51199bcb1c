"""How long the inspector takes on a large model: a million parameters, a thousand time steps.

    python benchmarks/inspect_large.py [--steps 1000] [--units 384] [--batch 8] [--json FILE]

Every measure is taken once, on one LSTM layer with a dense head; the bound is five seconds for all
of them together. The model is not trained: what is measured costs the same.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gatewise.inspect import (
    measure_gates,
    measure_gradient_flow,
    measure_parameters,
    measure_sharing,
    measure_training,
)
from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential
from gatewise.utils import set_random_seed

FEATURES = 256


def build(units: int) -> Sequential:
    """Return the model: with 384 units, 985,344 parameters in the LSTM and 385 in the head."""
    set_random_seed(0)
    model = Sequential([LSTM(units, input_shape=(None, FEATURES)), Dense(1, activation="sigmoid")])
    model.compile(loss="binary_crossentropy", optimizer="rmsprop")
    return model


def measures(model: Sequential, batch: int, steps: int) -> dict[str, Callable[[], Any]]:
    """Return what is timed, by name."""
    random = np.random.default_rng(0)
    x = random.normal(size=(batch, steps, FEATURES)).astype("float32")
    y = (np.arange(batch) % 2).astype("float32")[:, None]
    return {
        "parameters": lambda: measure_parameters(model),
        "training": lambda: measure_training(model, x, y),
        "sharing": lambda: measure_sharing(model, x, y),
        "flow": lambda: measure_gradient_flow(model, x, y),
        "gates": lambda: measure_gates(model, x),
    }


def main() -> None:
    """Print a line for each measure and one for all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--units", type=int, default=384)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    model = build(arguments.units)
    print(
        f"LSTM({arguments.units}), {model.count_params():,} parameters, T = {arguments.steps}, "
        f"{arguments.batch} samples, {torch.get_num_threads()} threads"
    )
    seconds = {}
    for name, measure in measures(model, arguments.batch, arguments.steps).items():
        begin = time.perf_counter()
        measure()
        seconds[name] = time.perf_counter() - begin
        print(f"  measure {name:<10} {seconds[name]:6.2f} s")
    print(f"  all                {sum(seconds.values()):6.2f} s")
    if arguments.json:
        parameters = model.count_params()
        content = {"parameters": parameters, "steps": arguments.steps, "seconds": seconds}
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


if __name__ == "__main__":
    main()
