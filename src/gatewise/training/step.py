"""One step of training or evaluation, and the values that add up over an epoch.

A step that comes out as NaN or infinity is not taken: the loss and the gradients are looked at
between the backward pass and the optimizer. So the weights are always those of the last good step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from gatewise import losses
from gatewise.errors import NonFiniteError
from gatewise.gradients import Carried, Part, Task, Trail, joined
from gatewise.layers import activity
from gatewise.training.batches import Batch, Loaded
from gatewise.training.compiled import compiled_of
from gatewise.training.finite import finite
from gatewise.training.running import Counted, Running
from gatewise.training.several import Several
from gatewise.training.sources import Source
from gatewise.training.trainable import Trainable


class Stepper:
    """Takes training and evaluation steps of a compiled, built model."""

    def __init__(self, model: Trainable, wanted: str) -> None:
        self._model = model
        self._compiled = compiled_of(model, wanted)
        assert self._compiled.loss is not None
        self._loss = self._compiled.loss
        self._weights: list[nn.Parameter] = []
        self._has_penalty = False
        # What `check_labels` has not seen: single batches, loaders, steps that the model may mask.
        self._look_at_each = True
        self._trail: Trail | None = None
        self._carried = Carried()

    def start(self) -> Running:
        """Begin an epoch: return fresh running values; the metrics begin anew."""
        self._weights = list(self._model.parameters())
        self._has_penalty = self._model.regularization() is not None
        return Running(self._compiled)

    def check_labels(self, *sources: Source) -> None:
        """Raise `InputError` for labels that do not fit the loss, before the first step."""
        self._look_at_each = any(
            # A list, not a generator: every source is to be looked at.
            [self._must_look_at_each(source) for source in sources]  # noqa: C419
        )

    @torch.no_grad()
    def _must_look_at_each(self, source: Source) -> bool:
        """Check a source's labels if all can be seen at once; return whether they cannot."""
        # A look at one sample would leave its state in a stateful layer.
        if isinstance(source, Loaded) or not isinstance(source.y, Tensor) or self._model.stateful:
            return True
        example = source.example().to(self._model.device)
        prediction, mask = self._model.forward_with_mask(example.x, example.mask)
        if mask is not None:
            return True
        self._loss.check(source.y.to(prediction.device), prediction)
        return False

    def train(self, batch: Batch, running: Running, place: str) -> None:
        """Take an optimizer step for each gradient that the algorithm gives of this batch.

        One that is not finite raises `NonFiniteError` and leaves the weights as they are.
        """
        optimizer = self._compiled.bind(self._model)
        parts: list[Part] = []
        total = 0.0
        for part in self._gradients(batch, optimizer):
            loss, good = self.look_at(part.objective)
            if not good:
                optimizer.zero_grad(set_to_none=True)
                seen = batch._replace(y=part.labels, sample_weight=part.sample_weight)
                raise self._stopped(loss, seen, part.prediction, place)
            optimizer.step()
            total += loss
            parts.append(part)
        running.add_loss(total, len(batch.x))
        if parts:
            # At once: a metric averages the steps of a batch, whatever parts it came in.
            seen = joined(parts)
            counted = Counted(seen.labels, seen.prediction, seen.mask, seen.sample_weight)
            running.add_batch(counted, may_wait=_is_own(batch))

    def _gradients(self, batch: Batch, optimizer: torch.optim.Optimizer) -> Iterator[Part]:
        """Return the parts of the batch's gradient; those of a stream's chunk follow the last."""
        algorithm, task = self._compiled.gradient, self._task(batch, optimizer)
        if batch.begins is None:
            return algorithm.gradients(task)
        if self._trail is None:
            self._trail = algorithm.open()
        self._trail.forget(batch.begins)
        return algorithm.gradients(task, self._trail)

    def _task(self, batch: Batch, optimizer: torch.optim.Optimizer) -> Task:
        """Return the batch as what the gradient's algorithm works on."""
        return Task(
            self._model,
            self._loss,
            batch.x,
            _labels(batch),
            batch.mask,
            batch.sample_weight,
            check=self._loss.check if self._look_at_each else None,
            clear=lambda: optimizer.zero_grad(set_to_none=True),
            penalty=self._model.regularization if self._has_penalty else lambda: None,
        )

    def look_at(self, objective: Tensor) -> tuple[float, bool]:
        """Return the loss, and whether it and every gradient are finite."""
        gradients = [weight.grad for weight in self._weights if weight.grad is not None]
        loss = objective.item()
        return loss, math.isfinite(loss) and finite(gradients)

    @torch.no_grad()
    def evaluate(self, batch: Batch, running: Running) -> None:
        """Add this batch's loss and metrics to the running values."""
        objective, prediction, mask = self._forward(batch)
        running.add_loss(objective.item(), len(batch.x))
        counted = Counted(_labels(batch), prediction, mask, batch.sample_weight)
        running.add_batch(counted, may_wait=_is_own(batch))

    def _forward(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the objective, the prediction and its mask."""
        with activity.activity_penalties() as of_activities:
            if batch.begins is None:
                prediction, mask = self._model.forward_with_mask(batch.x, batch.mask)
            else:
                self._carried.forget(batch.begins)
                with self._carried.piece():
                    prediction, mask = self._model.forward_with_mask(batch.x, batch.mask)
        labels = _labels(batch)
        if self._look_at_each:
            self._loss.check(labels, prediction, mask)
        penalty = self._model.regularization() if self._has_penalty else None
        objective = losses.objective(
            self._loss,
            labels,
            prediction,
            mask=mask,
            sample_weight=batch.sample_weight,
            penalty=activity.summed(penalty, of_activities),
        )
        return objective, prediction, mask

    def _stopped(self, loss: float, batch: Batch, prediction: Tensor, place: str) -> NonFiniteError:
        """Say which step failed and which sample is the first bad one."""
        kept = (
            "The weights are those from before this step. Lower the learning rate or bound the "
            "gradient (clipnorm=1.0 in the optimizer)."
        )
        if math.isfinite(loss):
            return NonFiniteError(
                f"The gradient is no longer finite at {place} (the loss is {loss:.6g}). {kept}"
            )
        bad = self._first_bad(batch, prediction)
        who = "" if bad is None else f"; the first bad sample is {_named(batch, bad)}"
        return NonFiniteError(f"The loss became {loss} at {place}{who}. {kept}")

    @torch.no_grad()
    def _first_bad(self, batch: Batch, prediction: Tensor) -> int | None:
        """Return the place in the batch of the first sample whose prediction or loss is bad."""
        parts = prediction.parts if isinstance(prediction, Several) else (prediction,)
        wrong = ~torch.stack([torch.isfinite(p).flatten(1).all(dim=1) for p in parts]).all(dim=0)
        if not wrong.any():
            per_step = self._loss.per_step(_labels(batch), prediction)
            if per_step.dim() == 0:
                return None
            wrong = ~torch.isfinite(per_step).reshape(len(per_step), -1).all(dim=1)
        return int(wrong.nonzero()[0]) if wrong.any() else None


def _labels(batch: Batch) -> Tensor:
    """Return the labels, which every batch of training and evaluation has."""
    assert batch.y is not None
    return batch.y


def _is_own(batch: Batch) -> bool:
    """Whether the batch's tensors stay as they are: a loader may fill its own again."""
    return batch.rows is not None


def _named(batch: Batch, place: int) -> str:
    """Return how the user knows a sample of the batch."""
    if batch.rows is None:
        return f"number {place} of the batch"
    return f"x[{batch.rows[place]}] (number {place} of the batch)"
