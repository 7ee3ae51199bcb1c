"""A model that is fed one step at a time and must remember the last ones: stateful or not?

    python examples/stateful_lag.py

The answer at each step is the mean of the last two inputs, but a batch holds a single step of each
series. With `stateful=True` a batch goes on where the one before ended, and the model can know the
input before this one; without, half of the answer is out of reach. It prints:

    Test MSE 0.0016 stateful, 0.0837 without state; always 0: 0.1656.
"""

from __future__ import annotations

import argparse

import numpy as np

from gatewise.layers import LSTM, Dense
from gatewise.models import Sequential
from gatewise.optimizers import Adam
from gatewise.utils import set_random_seed

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=600)
parser.add_argument("--series", type=int, default=32, help="how many go side by side")
parser.add_argument("--epochs", type=int, default=15)
arguments = parser.parse_args()

random = np.random.default_rng(0)
x = random.uniform(-1, 1, size=(2, arguments.steps, arguments.series, 1)).astype(np.float32)
y = (x + np.concatenate([np.zeros_like(x[:, :1]), x[:, :-1]], axis=1)) / 2


def one_step_a_batch(part: np.ndarray) -> np.ndarray:
    """Return (steps · series, 1, 1): the first step of every series, then the second, …"""
    return part.reshape(-1, 1, 1)


def error(stateful: bool) -> float:
    """Train on the first half of the data and return the mean squared error on the second."""
    set_random_seed(0)
    model = Sequential([LSTM(20, stateful=stateful, input_shape=(None, 1)), Dense(1)])
    model.compile(Adam(0.003), "mse")
    for _ in range(arguments.epochs):
        model.reset_state()
        model.fit(
            one_step_a_batch(x[0]),
            y[0].reshape(-1, 1),
            batch_size=arguments.series,
            shuffle=False,
            verbose=0,
        )
    model.reset_state()
    return model.evaluate(
        one_step_a_batch(x[1]), y[1].reshape(-1, 1), batch_size=arguments.series, verbose=0
    )


without, with_state = error(stateful=False), error(stateful=True)
print(f"Test MSE {with_state:.4f} stateful, {without:.4f} without state; always 0: {y.var():.4f}.")
