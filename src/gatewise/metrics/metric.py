"""What a metric of gatewise is, and the counters behind Keras's names.

A counter adds tensors on their own device and never waits for it; `result` does.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from gatewise.arguments import KnownArguments
from gatewise.errors import InputError, UnsupportedError


class Metric(KnownArguments, ABC):
    """A value that is gathered over the batches of an epoch."""

    name: str
    # Whether batches without masks and weights may come as one.
    by_sample = False

    @abstractmethod
    def update(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> None:
        """Count a batch; steps where `mask` `(B, T)` is False do not count."""

    @abstractmethod
    def result(self) -> float:
        """Return the value so far; 0 before the first batch."""

    @abstractmethod
    def reset(self) -> None:
        """Forget all batches."""

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments, as plain data for a file."""
        raise UnsupportedError(
            f"The metric {self.name!r} is code and is not written to model files. Use one of "
            "gatewise.metrics, or compile the loaded model again."
        )


class Mean:
    """A weighted mean of numbers, such as the loss with the sizes of its batches.

    >>> mean = Mean()
    >>> mean.add(torch.tensor(1.0), 3)
    >>> mean.add(torch.tensor(5.0), 1)
    >>> mean.result()
    2.0
    """

    def __init__(self) -> None:
        self.reset()

    def add(self, value: Tensor, weight: float = 1.0) -> None:
        """Count `value` `weight` times."""
        self.add_sum(value.detach() * weight, weight)

    def add_sum(self, total: Tensor, count: float | Tensor) -> None:
        """Count a sum of `count` values."""
        wide = _wide(total)
        self._total = total.to(wide) + self._total
        self._count = self._count + (count.to(wide) if isinstance(count, Tensor) else count)

    def result(self) -> float:
        """Return the mean so far; 0 before the first value."""
        total, count = float(self._total), float(self._count)
        return total / count if count else 0.0

    def reset(self) -> None:
        """Forget all values."""
        self._total: float | Tensor = 0.0
        self._count: float | Tensor = 0.0


class MeanMetric(Metric):
    """The mean of a function of labels and predictions, over samples, as Keras takes it.

    `function(y_true, y_pred)` gives a number for each sample `(B,)` or step `(B, T)`. Steps are
    averaged within their batch: each batch counts as many times as it has samples.

    >>> metric = MeanMetric("error", lambda y_true, y_pred: (y_true - y_pred).abs())
    >>> metric.update(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 5.0]))
    >>> metric.result()
    1.5
    """

    def __init__(self, name: str, function: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.name = name
        self.function = function
        self._mean = Mean()

    @torch.no_grad()
    def update(
        self,
        y_true: Tensor,
        y_pred: Tensor,
        mask: Tensor | None = None,
        sample_weight: Tensor | None = None,
    ) -> None:
        values = self.function(y_true, y_pred)
        if values.dim() == 0:
            self._refuse_weights(mask, sample_weight)
            self._mean.add(values, len(y_true))
            return
        steps = max(1, math.prod(values.shape[1:]))
        weights = _weights(self.name, values, mask, sample_weight)
        if weights is None:
            total = values.sum(dtype=_wide(values))
            self._mean.add_sum(total / steps if steps > 1 else total, len(values))
            return
        # A value at a masked step may be NaN, which a product with 0 would keep.
        weighted = (values * weights).masked_fill(weights == 0, 0.0)
        self._mean.add_sum(weighted.sum() / steps, weights.expand_as(values).sum() / steps)

    def result(self) -> float:
        return self._mean.result()

    def reset(self) -> None:
        self._mean.reset()

    def _refuse_weights(self, mask: Tensor | None, sample_weight: Tensor | None) -> None:
        if mask is not None or sample_weight is not None:
            raise InputError(
                f"The metric {self.name!r} returned one number for the batch, so masks and weights "
                "cannot be applied. Return a number for each sample or step."
            )


class SampleMean(MeanMetric):
    """A `MeanMetric` whose function computes each sample's value from that sample alone."""

    by_sample = True


class RootMeanSquaredError(SampleMean):
    """The root of the mean squared error over all batches.

    >>> metric = RootMeanSquaredError()
    >>> metric.update(torch.tensor([[0.0], [0.0]]), torch.tensor([[1.0], [7.0]]))
    >>> metric.result()
    5.0
    """

    def __init__(self, name: str = "root_mean_squared_error") -> None:
        super().__init__(name, squared_error)

    def result(self) -> float:
        return math.sqrt(super().result())

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class MeanSquaredError(SampleMean):
    """The mean squared error over all batches."""

    def __init__(self, name: str = "mean_squared_error") -> None:
        super().__init__(name, squared_error)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


class MeanAbsoluteError(SampleMean):
    """The mean absolute error over all batches."""

    def __init__(self, name: str = "mean_absolute_error") -> None:
        super().__init__(name, absolute_error)

    def get_config(self) -> dict[str, Any]:
        return {"name": self.name}


def squared_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of `(y_true - y_pred)**2`.

    >>> squared_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([2.5000])
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return (y_true.to(y_pred.dtype) - y_pred).square().mean(-1)


def absolute_error(y_true: Tensor, y_pred: Tensor) -> Tensor:
    """Return the mean over the last axis of `|y_true - y_pred|`.

    >>> absolute_error(torch.tensor([[1.0, 3.0]]), torch.tensor([[0.0, 1.0]]))
    tensor([1.5000])
    """
    y_true, y_pred = aligned(y_true, y_pred)
    return (y_true.to(y_pred.dtype) - y_pred).abs().mean(-1)


def aligned(y_true: Tensor, y_pred: Tensor) -> tuple[Tensor, Tensor]:
    """Return both in one shape, where only a last axis of size 1 is missing from one of them.

    >>> [t.shape for t in aligned(torch.zeros(4), torch.zeros(4, 1))]
    [torch.Size([4, 1]), torch.Size([4, 1])]
    """
    if y_pred.dim() == 1:
        y_pred = y_pred.unsqueeze(-1)
    if y_true.dim() + 1 == y_pred.dim():
        y_true = y_true.unsqueeze(-1)
    if y_true.shape != y_pred.shape:
        raise InputError(
            f"The metric expected labels of the predictions' shape {tuple(y_pred.shape)} but got "
            f"{tuple(y_true.shape)}."
        )
    return y_true, y_pred


def _wide(values: Tensor) -> torch.dtype:
    """Return the type for sums over an epoch: float32 cannot count beyond 16 million samples."""
    return torch.float32 if values.device.type == "mps" else torch.float64  # MPS has no other


def _weights(
    name: str, values: Tensor, mask: Tensor | None, sample_weight: Tensor | None
) -> Tensor | None:
    """Return one weight for each value, 0 at masked steps; None where all count alike."""
    weights = None
    for argument, given in (("sample_weight", sample_weight), ("mask", mask)):
        if given is None:
            continue
        if given.dim() == values.dim() + 1 and given.shape[-1] == 1:
            given = given.squeeze(-1)
        if given.shape != values.shape[: given.dim()]:
            raise InputError(
                f"The metric {name!r} expected a {argument} of shape {tuple(values.shape)} or "
                f"fewer trailing axes, but got {tuple(given.shape)}."
            )
        dtype = values.dtype if values.is_floating_point() else torch.float32
        fitted = given.reshape(given.shape + (1,) * (values.dim() - given.dim())).to(dtype)
        weights = fitted if weights is None else weights * fitted
    return weights
