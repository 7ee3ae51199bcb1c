"""How far back the gradient reaches, and so how far back it pays to go.

Aicher, Foti and Fox, "Adaptively truncating backpropagation through time to control gradient bias",
arXiv 1905.07473.

    φ_k = mean over the batch of ‖∂ℓ_s/∂s_{s-k}‖          the gradient at lag k
    β   = the decay of φ a step, fitted to the later half of the lags that were measured
    lost(K) = (Σ_{k≥K} φ_k) / (Σ_k φ_k)                    behind the last lag: φ_k = φ_τ β^{k-τ}

A truncation after K steps sees the lags 0 to K - 1 and loses the rest. Where β ≥ 1 the gradient
does not fade, and no truncation is safe.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import Literal
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from gatewise.errors import TruncationWarning
from gatewise.gradients.carrying import Carried, States
from gatewise.gradients.layout import recurrent_layers
from gatewise.gradients.passage import WayBack, passage
from gatewise.gradients.task import Task
from gatewise.kernels import Pass

LONGEST = 256
"""The most steps that are measured, and the largest k2 that "auto" takes."""
EVERY = 100
"""How many batches pass between two measurements."""
ADVISED = 0.1
"""The share of the gradient whose loss is worth a warning."""


def measure_lags(task: Task, steps: int, state: Sequence[list[Tensor]] = ()) -> list[float]:
    """Return φ_0, φ_1, … for the last loss of the batch, over at most so many steps.

    The states of all layers count together. `.grad` stays as it is. `state`, if given, is what the
    layers' states are before the task's first step.
    """
    ends = range(task.steps, 0, -1)
    end = next((end for end in ends if task.has_loss(end - 1, end)), task.steps)
    start = max(0, end - steps)
    norms: list[Tensor] = []

    def watched(place: int, given: Pass) -> tuple[Tensor, States, States]:
        outputs, final, _saved = passage(given, WayBack(watch=norms.append))
        return outputs, final, final

    carried = Carried(watched)
    carried.end = list(state)
    with torch.random.fork_rng(devices=[]):
        with torch.no_grad():
            for first in range(0, start, steps):
                with carried.piece():
                    task.forward(first, min(first + steps, start))
        with torch.enable_grad(), carried.piece():
            prediction, mask = task.forward(start, end)
        objective = task.part(end - 1, end, prediction, mask).objective
        weights = [weight for _, weight in task.model.named_parameters() if weight.requires_grad]
        if weights:
            torch.autograd.grad(objective, weights, allow_unused=True)
    if not norms:
        return [0.0] * (end - start)
    sizes = torch.cat(norms, dim=-1).norm(dim=-1).mean(0)  # (steps,)
    return sizes.flip(0).tolist()


def decay(lags: Sequence[float]) -> float:
    """Return β, by a straight line through log φ over the later half of the lags.

    >>> round(decay([0.8**k for k in range(20)]), 6)
    0.8
    """
    later = [(k, math.log(size)) for k, size in enumerate(lags) if size > 0]
    later = later[len(later) // 2 :]
    if len(later) < 2:
        return 0.0
    mean_k = sum(k for k, _ in later) / len(later)
    mean = sum(size for _, size in later) / len(later)
    slope = sum((k - mean_k) * (size - mean) for k, size in later)
    return math.exp(slope / sum((k - mean_k) ** 2 for k, _ in later))


def lost(lags: Sequence[float], steps: int, *, whole: bool = False) -> float:
    """Return the share of the gradient that lies behind the last `steps` steps.

    `whole` says that the lags reach back to the beginning: there is nothing behind them.

    >>> round(lost([0.5**k for k in range(20)], 3), 4)
    0.125
    """
    rate = 0.0 if whole else decay(lags)
    if rate >= 1:
        return 1.0
    tail = lags[-1] * rate / (1 - rate)
    behind = sum(lags[steps:]) + tail * rate ** max(0, steps - len(lags))
    total = sum(lags) + tail
    return behind / total if total else 0.0


def suggested(lags: Sequence[float], tolerance: float, *, whole: bool = False) -> int:
    """Return the least number of steps that loses less than `tolerance`, or as many as measured.

    >>> suggested([0.5**k for k in range(20)], 0.1)
    4
    """
    for steps in range(1, len(lags)):
        if lost(lags, steps, whole=whole) < tolerance:
            return steps
    return len(lags)


def reaching(lags: Sequence[float], tolerance: float, *, whole: bool = False) -> int | None:
    """Return as `suggested`, but by the decay where it lies behind what was measured.

    None says that the gradient does not fade, so that no number of steps would do.

    >>> reaching([0.9**k for k in range(10)], 0.1), reaching([1.0] * 10, 0.1)
    (22, None)
    """
    steps = suggested(lags, tolerance, whole=whole)
    if lost(lags, steps, whole=whole) < tolerance:
        return steps
    rate = decay(lags)
    if rate >= 1:
        return None
    tail = lags[-1] * rate / (1 - rate)
    return len(lags) + math.ceil(math.log(tolerance * (sum(lags) + tail) / tail, rate))


class Watch:
    """Looks at the lags of each model now and then, and remembers what it found."""

    def __init__(self) -> None:
        self._batches: WeakKeyDictionary[object, int] = WeakKeyDictionary()
        self._spans: WeakKeyDictionary[object, int] = WeakKeyDictionary()

    def span(
        self,
        task: Task,
        k1: int,
        k2: int | Literal["auto"] | None,
        tolerance: float,
        state: Sequence[list[Tensor]] = (),
    ) -> int:
        """Return how far to go back in this batch, and warn where that is too short.

        `state` says that the batch goes on from there: it is a chunk of a stream.
        """
        model = task.model
        number = self._batches.get(model, 0)
        self._batches[model] = number + 1
        if k2 == "auto":
            if number % EVERY == 0:
                steps = min(task.steps, LONGEST)
                lags = measure_lags(task, steps, state)
                whole = steps == task.steps and not state
                found = suggested(lags, tolerance, whole=whole)
                self._spans[model] = max(k1, found)
            return self._spans[model]
        assert k2 is not None
        # The first batches of an untrained model say little.
        if number % EVERY == EVERY // 2 and (k2 < task.steps or state) and _steerable(task):
            _advise(task, k1, k2, state)
        return k2


def _advise(task: Task, k1: int, k2: int, state: Sequence[list[Tensor]]) -> None:
    """Warn where the truncation loses much."""
    steps = min(task.steps, max(2 * k2, 8), LONGEST)
    lags, whole = measure_lags(task, steps, state), steps == task.steps and not state
    share = lost(lags, k2, whole=whole)
    if share > ADVISED:
        better = reaching(lags, ADVISED, whole=whole)
        cure = (
            "It does not fade, so no k2 would do: use SnAp1(), EProp() or RTRL()."
            if better is None
            else f"Use k2={max(better, k2 + 1)} or more."
        )
        warnings.warn(
            f"TBPTT(k1={k1}, k2={k2}) loses about {share:.0%} of the gradient of "
            f"'{task.model.name}', which lies more than {k2} steps back. {cure}",
            TruncationWarning,
            stacklevel=2,
        )


def _steerable(task: Task) -> bool:
    return all(layer.specification.fusable for layer in recurrent_layers(task.model))
