"""Learning step by step, after the habit of stream-learning libraries."""

from __future__ import annotations

from typing import Any

import numpy as np

from gatewise.training import Compiled
from gatewise.training.online import Learner


class Online:
    """What a model learns from one time step at a time; the part of `Model` that has a present."""

    compiled: Compiled | None
    _learner: Learner | None = None

    def learn_one(self, x: Any, y: Any = None) -> float | None:
        """Take the next time step of a series, learn from its label, and return the loss.

        `x` holds the step's features (I,), or is a token id; `y` is its label, as a step of `fit`'s
        y would be. Without `y` the model moves on and learns nothing. The model is compiled with an
        algorithm that is online and learns at every step: `SnAp1()`, `EProp()`, `RTRL()` or
        `TBPTT(1, k2)`. The series goes on from call to call until `reset_state()`.

        Raises `InputError` for a step or label of the wrong shape, `UnsupportedError` for another
        algorithm, `NonFiniteError` where the loss or its gradient is no number.

        >>> import gatewise
        >>> from gatewise.gradients import SnAp1
        >>> from gatewise.layers import LSTM, Dense
        >>> gatewise.utils.set_random_seed(0)
        >>> model = gatewise.Sequential([LSTM(8, input_shape=(None, 1)), Dense(1)])
        >>> model.compile(optimizer="adam", loss="mse", gradient=SnAp1())
        >>> losses = [model.learn_one([(-1) ** t], [(-1) ** (t + 1)]) for t in range(400)]
        >>> losses[-1] < losses[0] / 10
        True
        """
        return self._learning(x).learn(x, y)

    def predict_one(self, x: Any) -> np.ndarray:
        """Return the prediction for the next time step, as an array; the series does not move on.

        `predict_one(x)` and then `learn_one(x, y)` test each step before it is learnt.
        """
        return self._learning(x).predict(x)

    def _learning(self, x: Any) -> Learner:
        if self._learner is None or self._learner.compiled is not self.compiled:
            self._learner = Learner(self, x)  # pyright: ignore[reportArgumentType]
        return self._learner
