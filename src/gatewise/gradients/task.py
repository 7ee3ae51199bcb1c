"""One batch to differentiate: what is run, which loss is asked for, and what a part of it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from gatewise import losses
from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients.layout import makes_masks, returns_sequences, takes_pieces_of_target
from gatewise.kernels import Pass, steering
from gatewise.layers import activity


class Differentiable(Protocol):
    """A model as the algorithms see it; `gatewise.models.Model` is one."""

    name: str
    training: bool

    @property
    def layers(self) -> Sequence[Any]: ...
    def forward_with_mask(
        self, x: Tensor, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]: ...
    def regularization(self) -> Tensor | None: ...
    def modules(self) -> Iterator[nn.Module]: ...
    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]: ...


class Part(NamedTuple):
    """A share of the batch's objective, and what it was computed from."""

    objective: Tensor  # a scalar; the shares add up to the objective of the batch
    labels: Tensor
    prediction: Tensor
    mask: Tensor | None
    sample_weight: Tensor | None


def joined(parts: Sequence[Part]) -> Part:
    """Return consecutive parts as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    weight = first.sample_weight
    if weight is not None and weight.dim() > 1:
        weight = torch.cat([_given(part.sample_weight) for part in parts], dim=1)
    return Part(
        torch.stack([part.objective for part in parts]).sum(),
        torch.cat([part.labels for part in parts], dim=1),
        torch.cat([part.prediction for part in parts], dim=1),
        None if first.mask is None else torch.cat([_given(part.mask) for part in parts], dim=1),
        weight,
    )


def _given(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return tensor


@dataclass(frozen=True)
class Task:
    """A batch, a model and a loss.

    `check` looks at labels before they are used; `clear` is called before each gradient (`fit`
    forgets the last one, where gradients are to be summed nothing happens), `penalty` is the sum of
    the model's weight penalties. What is not `labelled` moves the states on and has no loss.
    """

    model: Differentiable
    loss: losses.Loss
    x: Tensor  # (B, T, …), or several of them: the source and the target that a decoder hears
    y: Tensor
    mask: Tensor | None = None  # (B, T), True at real steps
    sample_weight: Tensor | None = None
    check: Callable[[Tensor, Tensor, Tensor | None], None] | None = None
    clear: Callable[[], None] = field(default=lambda: None)
    penalty: Callable[[], Tensor | None] = field(default=lambda: None)
    labelled: bool = True

    @property
    def steps(self) -> int:
        """The number of time steps, T; of an encoder and decoder, the decoder's."""
        return getattr(self.x, "parts", (self.x,))[-1].shape[1]

    @cached_property
    def per_step(self) -> bool:
        """Whether there is a prediction, and so a loss, at every time step."""
        return returns_sequences(self.model)

    def whole(self) -> Part:
        """Run the whole batch and return its objective, to be differentiated."""
        with activity.activity_penalties() as of_activities:
            prediction, mask = self.model.forward_with_mask(self.x, self.mask)
        if self.check is not None:
            self.check(self.y, prediction, mask)
        objective = losses.objective(
            self.loss,
            self.y,
            prediction,
            mask=mask,
            sample_weight=self.sample_weight,
            penalty=activity.summed(self.penalty(), of_activities),
        )
        return Part(objective, self.y, prediction, mask, self.sample_weight)

    def chunks(self, size: int) -> Iterator[tuple[int, int]]:
        """Yield the first step of each chunk of at most `size` steps, and the one after it."""
        for start in range(0, self.steps, size):
            yield start, min(start + size, self.steps)

    def forward(self, start: int, stop: int) -> tuple[Tensor, Tensor | None]:
        """Return the model's output for these time steps, and its mask."""
        regularized = activity.regularized_activities(self.model)
        if regularized:
            raise UnsupportedError(
                f"'{regularized[0]}' has an activity_regularizer, a penalty on whole series, and "
                "this gradient takes them in pieces. Use gradient=BPTT(), or leave it out."
            )
        if takes_pieces_of_target(self.model):
            return self.model.forward_piece(self.x, start, stop)  # pyright: ignore[reportAttributeAccessIssue]
        mask = None if self.mask is None else self.mask[:, start:stop]
        return self.model.forward_with_mask(self.x[:, start:stop], mask)

    def has_loss(self, start: int, stop: int) -> bool:
        """Whether any loss falls on these time steps."""
        if not self.labelled:
            return False
        if not self.per_step:
            return stop == self.steps
        return self._counts is None or bool(self._counts[:, start:stop].any())

    def part(self, start: int, stop: int, prediction: Tensor, mask: Tensor | None) -> Part:
        """Return the share of the objective whose losses fall on these time steps.

        `prediction` may begin earlier than `start`: its last steps count.
        """
        if not self.per_step:
            y, weight, share = self.y, self.sample_weight, 1.0
        else:
            count = stop - start
            prediction = prediction[:, -count:]
            mask = None if mask is None else mask[:, -count:]
            y, weight = self.y[:, start:stop], self.sample_weight
            weight = weight[:, start:stop] if weight is not None and weight.dim() > 1 else weight
            self._refuse_one_number(y, prediction)
            share = self._share(start, stop)
        if self.check is not None:
            self.check(y, prediction, mask)
        total = losses.objective(self.loss, y, prediction, mask=mask, sample_weight=weight)
        # A summed loss adds up as it is; a mean counts as much as there are steps in the part.
        objective = total if self.loss.reduction == "sum" else total * share
        penalty = self.penalty()
        if penalty is not None:
            objective = objective + penalty * share
        return Part(objective, y, prediction, mask, weight)

    def backward(self, part: Part) -> Part:
        """Fill `.grad` with the gradient of the part; return the part without its graph."""
        if not part.objective.requires_grad:
            raise InputError(
                f"Every weight of {self.model.name} is frozen, so there is nothing to train. "
                "Set trainable = True on a layer."
            )
        self.clear()
        part.objective.backward()
        return part._replace(objective=part.objective.detach(), prediction=part.prediction.detach())

    def ending_together(self) -> Task:
        """Return the task with the padding of each series moved to its front.

        The one loss at the end then falls on a real step of every series, however short; and since
        masked steps carry the state unchanged, the numbers stay what they are.
        """
        real = self.real
        if self.per_step or real is None:
            return self
        behind = real.flip(1).int().argmax(1, keepdim=True)  # masked steps after the last real one
        order = (torch.arange(self.steps, device=real.device) - behind) % self.steps  # (B, T)
        rows = torch.arange(len(order), device=real.device).unsqueeze(1)
        return replace(self, x=self.x[rows, order], mask=real[rows, order])

    @cached_property
    def real(self) -> Tensor | None:
        """The mask (B, T) that reaches the recurrent layers, or None where every step is real."""
        if not makes_masks(self.model):
            return self.mask
        found: list[Tensor | None] = []

        def skip(given: Pass) -> tuple[Tensor, tuple[Tensor, ...]]:
            found.append(given.mask)
            hidden = given.weights[1].shape[0]
            return given.x.new_zeros(*given.x.shape[:2], hidden), tuple(given.state)

        with torch.no_grad(), steering(skip):
            self.forward(0, self.steps)
        return found[0]

    @cached_property
    def _counts(self) -> Tensor | None:
        """Where a step's loss counts at all (B, T), or None where each does."""
        counts, weight = self._weights, self.sample_weight
        if weight is None:
            return counts
        some = weight.reshape(len(weight), -1).expand(len(weight), self.steps) != 0
        return some if counts is None else some & (counts != 0)

    @cached_property
    def _weights(self) -> Tensor | None:
        """How much each step's loss counts in the mean (B, T), or None where all count alike."""
        mask, weight = self.real, self.sample_weight
        ignored = getattr(self.loss, "ignore_class", None)
        if ignored is not None:
            labels = self.y.squeeze(-1) if self.y.dim() > 2 else self.y
            mask = (labels != ignored) if mask is None else mask & (labels != ignored)
        if self.loss.reduction != "mean_with_sample_weight":
            return mask
        if weight is not None:
            weight = weight.reshape(len(weight), -1).expand(len(weight), self.steps)
            return weight if mask is None else weight * mask
        return mask

    def _share(self, start: int, stop: int) -> Tensor | float:
        weights = self._weights
        if weights is None:
            return (stop - start) / self.steps
        total = weights.sum()
        return weights[:, start:stop].sum() / (total + (total == 0))

    def _refuse_one_number(self, y: Tensor, prediction: Tensor) -> None:
        with torch.no_grad():
            found = self.loss.per_step(y, prediction)
        if found.shape[:2] != prediction.shape[:2]:
            raise UnsupportedError(
                f"The loss {self.loss.name!r} needs the whole sequence: it gives "
                f"{tuple(found.shape)} for predictions {tuple(prediction.shape)}, and this "
                "gradient needs a loss at each time step. Return one for each step (torch: "
                'reduction="none"), or use gradient=BPTT().'
            )
