"""The linear part of a forecast: ridge regression on the window, from its last value."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

_MOST_WINDOWS = 20_000
_MOST_STEPS = 512  # of a window, counted from its end
_BLOCKS = 5
_PENALTIES = 10.0 ** np.arange(-6, 4)  # in mean eigenvalues of the windows' second moments


@dataclass(frozen=True, eq=False)
class LinearForecast:
    """The next H values of each of K targets, as affine functions of its own last W values.

    `forecast[n, h, k] = last[n, k] + Σ_t weights[k, t, h]·(x[n, t, k] - last[n, k]) + bias[k, h]`
    with `weights` (K, W, H), `bias` (K, H): a series that is shifted has its forecast shifted.

    >>> x = np.arange(40.0)[:, None, None] + np.arange(3.0)[:, None]  # straight lines, (40, 3, 1)
    >>> line = LinearForecast.fit(x, x[:, -1:] + 1.0)
    >>> line(np.array([[[7.0], [8.0], [9.0]]])).round(3).tolist()
    [[[10.0]]]
    >>> LinearForecast.from_config(line.get_config()) == line
    True
    """

    weights: np.ndarray
    bias: np.ndarray

    @classmethod
    def fit(cls, x: np.ndarray, y: np.ndarray) -> LinearForecast:
        """Return the forecast of windows x (N, T, K) and what followed, y (N, H, K).

        The ridge penalty of each target is the one with the least squared error on blocks of
        windows left out of the fit, a horizon apart from the others.
        """
        every = max(len(x) // _MOST_WINDOWS, 1)
        x, y = x[::every, -_MOST_STEPS:], y[::every]
        fitted = [_fit_target(x[:, :, k], y[:, :, k], every) for k in range(x.shape[2])]
        return cls(np.stack([one for one, _ in fitted]), np.stack([one for _, one in fitted]))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Return the forecasts (N, H, K) of windows (N, T, K) of at least W steps."""
        x = x[:, x.shape[1] - self.weights.shape[1] :]
        last = x[:, -1:]
        return last + np.einsum("ntk,kth->nhk", x - last, self.weights) + self.bias.T

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LinearForecast):
            return NotImplemented
        return np.array_equal(self.weights, other.weights) and np.array_equal(self.bias, other.bias)

    def __hash__(self) -> int:
        return hash((self.weights.tobytes(), self.bias.tobytes()))

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this forecast again, as JSON; floats survive exactly."""
        return {"weights": self.weights.tolist(), "bias": self.bias.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LinearForecast:
        """Return the forecast of a config that `get_config` gave."""
        return cls(np.array(config["weights"]), np.array(config["bias"]))


def _fit_target(x: np.ndarray, y: np.ndarray, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Return weights (T, H) and bias (H,) of one target, x (N, T) and y (N, H)."""
    last = x[:, -1:]
    spread = np.abs(x - last).max() or 1.0
    seen, told = (x - last) / spread, (y - last) / spread
    errors = np.zeros(len(_PENALTIES))
    apart = -(-y.shape[1] // every)  # windows that tell steps of the block's
    bounds = np.linspace(0, len(x), min(_BLOCKS, len(x)) + 1).astype(int)
    for start, stop in pairwise(bounds.tolist()):
        kept = np.r_[0 : max(start - apart, 0), min(stop + apart, len(x)) : len(x)]
        if not len(kept):
            continue
        for at, (weights, bias) in enumerate(_ridge_path(seen[kept], told[kept])):
            errors[at] += np.square(seen[start:stop] @ weights + bias - told[start:stop]).sum()
    weights, bias = _ridge_path(seen, told)[int(errors.argmin())]
    return weights, bias * spread


def _ridge_path(seen: np.ndarray, told: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return weights and bias for every penalty, by one eigendecomposition."""
    mean, goal = seen.mean(axis=0), told.mean(axis=0)
    centred = seen - mean
    values, vectors = np.linalg.eigh(centred.T @ centred)
    values = np.maximum(values, 0.0)
    scale = values.mean() or 1.0
    turned = vectors.T @ (centred.T @ (told - goal))
    paths = [vectors @ (turned / (values + penalty * scale)[:, None]) for penalty in _PENALTIES]
    return [(weights, goal - mean @ weights) for weights in paths]
