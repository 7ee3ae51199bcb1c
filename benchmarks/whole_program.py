"""How long does a step of the whole program take in `fit`, beside Keras and a loop in plain torch?

    python benchmarks/whole_program.py --peer keras-jax --peer torch --json whole_program.json

The program: LSTM(128, input_shape=(None, 100)), Dropout(0.5), Dense(1, sigmoid), binary
cross-entropy, rmsprop, accuracy; batches of 32 series of 100 steps. Every contender lives in a
process of its own, all through the run, and waits while another one trains; they take turns round
by round, each round in the other order, and are compared by the median over the rounds of their
ratio. A round is one epoch of `fit`, so what a framework does once an epoch counts too.
`gatewise-bfloat16` is ours with products in bfloat16.

"apart" is the time that a line of memory takes from one thread to another and back, measured before
each round: a virtual machine's host moves its processors, and all contenders feel it.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

OURS, BFLOAT16 = "gatewise", "gatewise-bfloat16"
KERAS = ("keras-jax", "keras-torch", "keras-tensorflow")
PEERS = (BFLOAT16, *KERAS, "torch")
BATCH, STEPS, INPUTS, UNITS = 32, 100, 100, 128


def main() -> None:
    """Run the rounds and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--peer", action="append", choices=PEERS, help="repeatable")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--batches", type=int, default=40, help="batches an epoch")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--json", type=Path, help="write every figure into this file")
    parser.add_argument("--contender", choices=(OURS, *PEERS), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.contender:
        serve(arguments.contender, arguments.batches)
        return
    names = [OURS, *(arguments.peer or ["torch"])]
    contenders = {name: Contender(name, arguments.batches, arguments.threads) for name in names}
    milliseconds: dict[str, list[float]] = {name: [] for name in names}
    apart: list[float | None] = []
    try:
        for _ in range(arguments.rounds):
            apart.append(nanoseconds_apart(arguments.threads))
            for name in names:
                milliseconds[name].append(contenders[name].step_milliseconds())
            names.reverse()
    finally:
        for contender in contenders.values():
            contender.close()
    rows = [row(name, times, milliseconds[OURS]) for name, times in milliseconds.items()]
    print(f"{'contender':<16} {'ms a step':>9} {'of gatewise':>12}  quartiles")
    for one in rows:
        low, high = one["quartiles"]
        print(
            f"{one['contender']:<16} {one['ms']:>9.2f} {one['ratio']:>12.2f}  {low:.2f}-{high:.2f}"
        )
    known = [one for one in apart if one is not None]
    if known:
        print(f"threads apart: {min(known):.0f} to {max(known):.0f} ns")
    if arguments.json:
        content = {"threads": arguments.threads, "rounds": arguments.rounds, "rows": rows}
        content["nanoseconds_apart"] = apart
        arguments.json.write_text(json.dumps(content, indent=2) + "\n")


def nanoseconds_apart(count: int) -> float | None:
    """Return how far the threads are from each other, if there are several."""
    from gatewise.inspect.speed import threads
    from gatewise.kernels import cpu

    with threads(count):
        seconds = cpu.handover() if cpu.available() else None
    return None if seconds is None else 1e9 * seconds


def row(name: str, times: list[float], ours: list[float]) -> dict[str, Any]:
    """Return a contender's median time and how many times ours it is."""
    ratios = [time / own for time, own in zip(times, ours, strict=True)]
    low, middle, high = (
        statistics.quantiles(ratios, n=4, method="inclusive") if len(ratios) > 1 else ratios * 3
    )
    return {
        "contender": name,
        "ms": statistics.median(times),
        "ratio": middle,
        "quartiles": (low, high),
        "all_ms": times,
    }


class Contender:
    """A process that trains one epoch for each line that it is sent."""

    def __init__(self, name: str, batches: int, threads: int) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "TF_NUM_INTRAOP_THREADS": str(threads),
        }
        if name in KERAS:
            environment["KERAS_BACKEND"] = name.removeprefix("keras-")
        command = [sys.executable, __file__, "--contender", name, "--batches", str(batches)]
        self._process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.step_milliseconds()  # what is compiled or settled in the first epoch is not measured

    def step_milliseconds(self) -> float:
        """Train one epoch and return the milliseconds that a step took."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("train\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"A contender ended with the status {self._process.wait()}.")
        return float(answer)

    def close(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


def serve(name: str, batches: int) -> None:
    """Train an epoch for each line read, and write the milliseconds a step."""
    random = np.random.default_rng(0)
    x = random.standard_normal((batches * BATCH, STEPS, INPUTS), np.float32)
    y = (x[:, :, 0].mean(1, keepdims=True) > 0).astype(np.float32)
    train = torch_program(x, y) if name == "torch" else fit_program(name, x, y)
    for _ in sys.stdin:
        began = time.perf_counter()
        train()
        print((time.perf_counter() - began) / batches * 1e3, flush=True)


def fit_program(name: str, x: np.ndarray, y: np.ndarray) -> Callable[[], Any]:
    """Return an epoch of the program: its lines are the same for Keras and for us."""
    if name in KERAS:
        from keras import Sequential  # pyright: ignore[reportPrivateImportUsage]
        from keras.layers import LSTM, Dense, Dropout  # pyright: ignore[reportMissingImports]
    else:
        from gatewise.layers import LSTM, Dense, Dropout
        from gatewise.models import Sequential
    model: Any = Sequential()
    model.add(LSTM(UNITS, input_shape=(None, INPUTS)))
    model.add(Dropout(0.5))
    model.add(Dense(1, activation="sigmoid"))
    chosen = {"precision": "bfloat16"} if name == BFLOAT16 else {}
    model.compile(loss="binary_crossentropy", optimizer="rmsprop", metrics=["accuracy"], **chosen)
    return lambda: model.fit(x, y, batch_size=BATCH, epochs=1, verbose=0)


def torch_program(x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """Return an epoch of the program as a loop over `nn.LSTM`, with torch's own parts."""
    import torch
    from torch import nn

    lstm = nn.LSTM(INPUTS, UNITS, batch_first=True)
    dropout, head = nn.Dropout(0.5), nn.Linear(UNITS, 1)
    loss_of = nn.BCEWithLogitsLoss()
    optimizer = torch.optim.RMSprop([*lstm.parameters(), *head.parameters()], lr=1e-3)
    inputs, targets = torch.from_numpy(x), torch.from_numpy(y)

    def train() -> None:
        right = torch.zeros(())
        for batch in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            logits = head(dropout(lstm(inputs[batch])[1][0][0]))
            loss = loss_of(logits, targets[batch])
            loss.backward()
            optimizer.step()
            right += ((logits.detach() > 0) == (targets[batch] > 0.5)).sum()

    return train


if __name__ == "__main__":
    main()
