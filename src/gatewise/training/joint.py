"""The losses and metrics of a model with several outputs, each output with its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise import losses, metrics
from gatewise.errors import InputError
from gatewise.metrics.metric import Mean
from gatewise.training.several import Several


class JointLoss(losses.Loss):
    """The weighted sum of the outputs' losses, which is what training minimizes."""

    def __init__(self, of_each: Sequence[losses.Loss | None], weights: Sequence[float]) -> None:
        self.name = "loss"
        self.of_each = list(of_each)
        self.weights = list(weights)

    def call(self, y_true: Any, y_pred: Any) -> Tensor:
        """Return each sample's loss."""
        return self.per_step(y_true, y_pred)

    def check(self, y_true: Any, y_pred: Any, mask: Any = None) -> None:
        """Raise `InputError` for labels that do not fit the loss of their output."""
        if not isinstance(y_true, Several) or len(y_true.parts) != len(self.of_each):
            raise InputError(f"y needs the labels of {len(self.of_each)} outputs, in a list.")
        for loss, label, output, one in zip(
            self.of_each, y_true.parts, y_pred.parts, _listed(mask, self.of_each), strict=True
        ):
            if loss is not None:
                loss.check(label, output, one)

    def __call__(
        self, y_true: Any, y_pred: Any, sample_weight: Any = None, mask: Any = None
    ) -> Any:
        parts = zip(
            self.of_each,
            self.weights,
            y_true.parts,
            y_pred.parts,
            _listed(mask, self.of_each),
            strict=True,
        )
        found = [
            weight * loss(label, output, sample_weight, one)
            for loss, weight, label, output, one in parts
            if loss is not None
        ]
        return torch.stack(found).sum()

    def per_step(self, y_true: Any, y_pred: Any) -> Tensor:
        """Return each sample's loss, to name a bad one."""
        total = torch.zeros(len(y_pred), device=y_pred.device)
        for loss, label, output in zip(self.of_each, y_true.parts, y_pred.parts, strict=True):
            if loss is not None:
                found = loss.per_step(label, output)
                total = total + (found.flatten(1).sum(1) if found.ndim > 1 else found)
        return total


class OutputMetric(metrics.Metric):
    """A metric of one of several outputs, reported as `<output>_<metric>`."""

    def __init__(self, metric: metrics.Metric, place: int, name: str) -> None:
        self.name = name
        self._metric, self._place = metric, place

    def update(self, y_true: Any, y_pred: Any, mask: Any = None, sample_weight: Any = None) -> None:
        """Count the output's part of a batch."""
        one = mask[self._place] if isinstance(mask, (list, tuple)) else None
        labels, output = y_true.parts[self._place], y_pred.parts[self._place]
        self._metric.update(labels, output, one, sample_weight)

    def result(self) -> float:
        """Return the value so far."""
        return self._metric.result()

    def reset(self) -> None:
        """Begin anew."""
        self._metric.reset()


class OutputLoss(metrics.Metric):
    """The mean loss of one of several outputs, reported as `<output>_loss`."""

    def __init__(self, loss: losses.Loss, place: int, name: str) -> None:
        self.name = name
        self._loss, self._place = loss, place
        self._mean = Mean()

    def update(self, y_true: Any, y_pred: Any, mask: Any = None, sample_weight: Any = None) -> None:
        """Count the output's loss as often as the batch has samples."""
        one = mask[self._place] if isinstance(mask, (list, tuple)) else None
        labels, output = y_true.parts[self._place], y_pred.parts[self._place]
        self._mean.add(self._loss(labels, output, sample_weight, one), len(output))

    def result(self) -> float:
        """Return the mean so far."""
        return self._mean.result()

    def reset(self) -> None:
        """Begin anew."""
        self._mean.reset()


def joint_loss(given: Any, loss_weights: Any, names: Sequence[str]) -> JointLoss:
    """Return the losses of several outputs, from a list, a dictionary, or one for all."""
    of_each = [None if one is None else losses.get(one) for one in spread("loss", given, names)]
    if not any(of_each):
        raise InputError(f"No output of {', '.join(names)} has a loss. Give at least one.")
    weights = [1.0] * len(names)
    if loss_weights is not None:
        found = spread("loss_weights", loss_weights, names)
        weights = [1.0 if weight is None else float(weight) for weight in found]
    return JointLoss(of_each, weights)


def joint_metrics(given: Any, loss: JointLoss, names: Sequence[str]) -> list[metrics.Metric]:
    """Return the metrics of several outputs, from a list of lists or a dictionary of lists."""
    if given is None:
        return []
    single = isinstance(given, str) or (
        isinstance(given, (list, tuple)) and all(isinstance(one, str) for one in given)
    )
    if single and len(names) != (1 if isinstance(given, str) else len(given)):
        raise InputError(
            f"metrics of a model with several outputs say which output they are of: a dictionary "
            f"such as {{'{names[0]}': ['accuracy']}}, or a list with one entry an output."
        )
    found: list[metrics.Metric] = []
    for place, (name, of_one) in enumerate(
        zip(names, spread("metrics", given, names), strict=True)
    ):
        listed = of_one if isinstance(of_one, (list, tuple)) else [of_one]
        for one in (one for one in listed if one is not None):
            metric = metrics.get(one, loss.of_each[place])
            found.append(OutputMetric(metric, place, f"{name}_{metric.name}"))
    return found


def output_losses(loss: JointLoss, names: Sequence[str]) -> list[metrics.Metric]:
    """Return what reports each output's own loss."""
    pairs = enumerate(zip(names, loss.of_each, strict=True))
    return [OutputLoss(one, place, f"{name}_loss") for place, (name, one) in pairs if one]


def spread(what: str, given: Any, names: Sequence[str]) -> list[Any]:
    """Return one entry an output, from a list, a dictionary by name, or one for all."""
    if isinstance(given, Mapping):
        unknown = [name for name in given if name not in names]
        if unknown:
            raise InputError(
                f"{what} names the output '{unknown[0]}', but there are {', '.join(names)}."
            )
        return [given.get(name) for name in names]
    if isinstance(given, (list, tuple)):
        if len(given) != len(names):
            raise InputError(
                f"{what} has {len(given)} entries for {len(names)} outputs: {', '.join(names)}."
            )
        return list(given)
    return [given] * len(names)


def _listed(mask: Any, outputs: Sequence[Any]) -> Sequence[Any]:
    return mask if isinstance(mask, (list, tuple)) else [None] * len(outputs)
