"""The loss and the metrics of an epoch that is under way."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from gatewise.metrics import Metric
from gatewise.training.compiled import Compiled

_MOST_WAITING = 1 << 16  # numbers


class Counted(NamedTuple):
    """What the metrics are told of a batch."""

    labels: Tensor
    prediction: Tensor
    mask: Tensor | None
    sample_weight: Tensor | None


class Running(Mapping[str, float]):
    """The mean loss and the metrics so far; the metrics are computed when they are read.

    Small batches wait until then: together they are counted in a fraction of the time that each
    takes between two training steps, which drive a metric's code out of the caches. The first does
    not wait, so that what a metric cannot take shows at once.
    """

    def __init__(self, compiled: Compiled) -> None:
        self._compiled = compiled
        self._metrics: dict[str, Metric] = {one.name: one for one in compiled.all_metrics}
        self._total = 0.0
        self._waiting: list[Counted] = []
        self._numbers = _MOST_WAITING
        self.samples = 0
        for metric in self._metrics.values():
            metric.reset()

    def add_loss(self, loss: float, samples: int) -> None:
        """Count a batch's loss as often as it has samples."""
        self._total += loss * samples
        self.samples += samples

    def add_batch(self, batch: Counted, *, may_wait: bool) -> None:
        """Count a batch in the metrics, by the time that one is read.

        It may wait if its tensors stay as they are.
        """
        self._waiting.append(batch)
        if may_wait and isinstance(batch.prediction, Tensor) and batch.prediction.is_cpu:
            self._numbers += batch.labels.numel() + batch.prediction.numel()
            if self._numbers < _MOST_WAITING:
                return
        self._count_waiting()

    def _count_waiting(self) -> None:
        waiting, self._waiting, self._numbers = self._waiting, [], 0
        together = _together(waiting)
        for metric in self._compiled.metrics:
            for labels, prediction, mask, _ in together if metric.by_sample else waiting:
                metric.update(labels, prediction, mask, None)
        for metric in self._compiled.weighted_metrics:
            for batch in together if metric.by_sample else waiting:
                metric.update(*batch)

    def __getitem__(self, name: str) -> float:
        if name == "loss":
            return self._total / self.samples if self.samples else math.nan
        metric = self._metrics[name]
        self._count_waiting()
        return float(metric.result())

    def __iter__(self) -> Iterator[str]:
        yield "loss"
        yield from self._metrics

    def __len__(self) -> int:
        return 1 + len(self._metrics)


def _together(batches: list[Counted]) -> list[Counted]:
    """Return the batches as one, if they are alike and all their samples count alike."""
    if len(batches) < 2 or len({_kind(batch) for batch in batches}) > 1:
        return batches
    first = batches[0]
    if first.mask is not None or first.sample_weight is not None:
        return batches
    labels = torch.cat([batch.labels for batch in batches])
    return [Counted(labels, torch.cat([batch.prediction for batch in batches]), None, None)]


def _kind(batch: Counted) -> tuple[object, ...]:
    labels, prediction, mask, sample_weight = batch
    tensors = labels.shape[1:], labels.dtype, prediction.shape[1:], prediction.dtype
    return *tensors, mask is None, sample_weight is None
