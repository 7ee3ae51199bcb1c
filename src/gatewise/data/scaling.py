"""Channels brought to mean 0 and deviation 1, by the training series alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np

from gatewise.data.finite import check_finite
from gatewise.errors import InputError


class StandardScaler:
    """Scale each channel: `(x - mean) / deviation`, figures of the series it was fitted on.

    `mean` and `deviation` hold a number a channel. Build one from the training series, and from
    these only, with `StandardScaler.fit`. A scaler takes and returns one array `(..., I)` or a list
    of series `(T_i, I)`, as float32 (float64 for float64 input).

    >>> scaler = StandardScaler.fit([[[1.0, 5.0]], [[3.0, 5.0]]])
    >>> scaler.mean.tolist(), scaler.deviation.tolist()
    ([2.0, 5.0], [1.0, 1.0])
    >>> scaler(np.array([[4.0, 6.0]]))
    array([[2., 1.]])
    >>> scaler.inverse(scaler(np.array([[4.0, 6.0]])))
    array([[4., 6.]])
    """

    def __init__(
        self, mean: Sequence[float] | np.ndarray, deviation: Sequence[float] | np.ndarray
    ) -> None:
        self.mean = np.array(mean, dtype=np.float64)
        self.deviation = np.array(deviation, dtype=np.float64)
        if self.mean.ndim != 1 or self.mean.shape != self.deviation.shape:
            raise InputError(
                "StandardScaler needs one mean and one deviation a channel, but got shapes "
                f"{self.mean.shape} and {self.deviation.shape}."
            )
        if not (
            np.isfinite(self.mean).all()
            and np.all(np.isfinite(self.deviation) & (self.deviation > 0))
        ):
            raise InputError(
                "StandardScaler needs finite means and finite deviations greater than 0."
            )

    @classmethod
    def fit(cls, series: Sequence[Any] | np.ndarray) -> StandardScaler:
        """Return the scaler of `series`: `(T_i, I)` each, or one array `(..., I)` without padding.

        A channel that never changes keeps deviation 1: it becomes 0 everywhere. Raises
        `NonFiniteError` for NaN or infinity and `InputError` for series of different channel
        counts.
        """
        listed = [np.asarray(one, dtype=np.float64) for one in series]
        if not listed:
            raise InputError("StandardScaler.fit got no series. Give the training series.")
        check_finite(listed)
        width = listed[0].shape[-1] if listed[0].ndim else 0
        for index, one in enumerate(listed):
            if one.ndim == 0 or one.shape[-1] != width:
                raise InputError(
                    f"Series {index} has shape {one.shape} but series 0 has {width} "
                    "channels in its last axis. All series need the same channels."
                )
        steps = np.concatenate([one.reshape(-1, width) for one in listed])  # (sum of T_i, I)
        if not steps.size:
            raise InputError(
                f"StandardScaler.fit got {len(steps)} steps of {width} channels: "
                "nothing to measure."
            )
        deviation = steps.std(axis=0)
        # Rounding leaves a constant channel a deviation of some ulp of its mean: not a spread to
        # divide by.
        constant = deviation <= 1e-12 * np.abs(steps).max(axis=0)
        return cls(steps.mean(axis=0), np.where(constant, 1.0, deviation))

    @overload
    def __call__(self, series: np.ndarray) -> np.ndarray: ...
    @overload
    def __call__(self, series: Sequence[Any]) -> list[np.ndarray]: ...
    def __call__(self, series: np.ndarray | Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """Return `series` in deviations from the mean; a list gives a list."""
        if isinstance(series, Sequence):
            return [self._scale(one) for one in series]
        return self._scale(series)

    @overload
    def inverse(self, series: np.ndarray) -> np.ndarray: ...
    @overload
    def inverse(self, series: Sequence[Any]) -> list[np.ndarray]: ...
    def inverse(self, series: np.ndarray | Sequence[Any]) -> np.ndarray | list[np.ndarray]:
        """Return scaled `series` in their own units again; a list gives a list."""
        if isinstance(series, Sequence):
            return [self._unscale(one) for one in series]
        return self._unscale(series)

    def _scale(self, one: Any) -> np.ndarray:
        array, dtype = self._checked(one)
        return ((array - self.mean) / self.deviation).astype(dtype)

    def _unscale(self, one: Any) -> np.ndarray:
        array, dtype = self._checked(one)
        return (array * self.deviation + self.mean).astype(dtype)

    def _checked(self, one: Any) -> tuple[np.ndarray, type]:
        array = np.asarray(one)
        if array.ndim == 0 or array.shape[-1] != len(self.mean):
            raise InputError(
                f"StandardScaler was fitted on {len(self.mean)} channels but got shape "
                f"{array.shape}. Channels are the last axis."
            )
        return array, np.float64 if array.dtype == np.float64 else np.float32

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StandardScaler):
            return NotImplemented
        return np.array_equal(self.mean, other.mean) and np.array_equal(
            self.deviation, other.deviation
        )

    def __hash__(self) -> int:
        return hash((self.mean.tobytes(), self.deviation.tobytes()))

    def __repr__(self) -> str:
        return f"StandardScaler({len(self.mean)} channels)"

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this scaler again, as JSON; floats survive exactly."""
        return {"mean": self.mean.tolist(), "deviation": self.deviation.tolist()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> StandardScaler:
        """Return the scaler of a config that `get_config` gave."""
        return cls(config["mean"], config["deviation"])
