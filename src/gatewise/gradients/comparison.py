"""What each algorithm makes of one batch: how near to the exact gradient, at what cost.

    cosine = g · e / (‖g‖ ‖e‖)          norm ratio = ‖g‖ / ‖e‖

with e the gradient of backpropagation through time and g the algorithm's, over all weights. The
weights are held, and the model is in inference mode, so that dropout does not get in between.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients import registry
from gatewise.gradients.bptt import BPTT
from gatewise.gradients.contract import GradientAlgorithm
from gatewise.gradients.direct import backward
from gatewise.gradients.layout import recurrent_layers
from gatewise.gradients.notation import write
from gatewise.gradients.peak_memory import peak_memory
from gatewise.gradients.rtrl import RTRL

_MOST_WORK = 1e11
"""The multiply-adds up to which RTRL is measured unasked."""
_ENOUGH = 0.3
"""The seconds after which a time is not taken again."""


@dataclass(frozen=True)
class GradientMeasure:
    """One algorithm on the batch; `refused` says why there are no numbers."""

    gradient: str
    cosine: float = math.nan
    norm_ratio: float = math.nan
    seconds: float = math.nan
    peak_bytes: int | None = None
    refused: str | None = None


@dataclass(frozen=True)
class GradientComparison:
    """All algorithms on one batch of a model, the exact one first."""

    model: str
    series: int
    steps: int
    loss: float
    norm: float  # of the exact gradient
    measures: list[GradientMeasure]


def compare_gradients(
    model: Any,
    x: Any,
    y: Any,
    *,
    mask: Any = None,
    gradients: Sequence[str | GradientAlgorithm] | None = None,
) -> GradientComparison:
    """Return how the algorithms' gradients of a compiled model differ from the exact one.

    `gradients` are those to compare; left out, all of them, with windows of a quarter of the batch,
    and RTRL only where it takes no more than a minute or so. `.grad` stays as it is.

    Raises `InputError` where the exact gradient is zero: there is nothing to compare with.

    >>> import gatewise
    >>> from gatewise.layers import LSTM, Dense
    >>> gatewise.utils.set_random_seed(0)
    >>> model = gatewise.Sequential([LSTM(3, input_shape=(None, 2)), Dense(1)])
    >>> model.compile(loss="mse")
    >>> found = compare_gradients(model, torch.randn(4, 8, 2), torch.randn(4, 1))
    >>> [(one.gradient, round(one.cosine, 4)) for one in found.measures if one.cosine > 0.9999]
    [('bptt', 1.0), ('bptt:sqrt', 1.0), ('rtrl:2', 1.0)]
    """
    kept = [(weight, weight.grad) for weight in model.parameters()]
    was_training = model.training
    model.eval()
    try:
        return _compared(model, (x, y, mask), gradients)
    finally:
        model.train(was_training)
        for weight, grad in kept:
            weight.grad = grad


def _compared(
    model: Any, batch: tuple[Any, Any, Any], gradients: Sequence[str | GradientAlgorithm] | None
) -> GradientComparison:
    loss, exact = _gradient(model, batch, BPTT())
    norm = float(exact.norm())
    if not norm > 0:
        raise InputError(
            f"The exact gradient of {model.name} on this batch has the norm {norm}, so there is "
            "nothing to compare. Unfreeze a layer, or take another batch."
        )
    series, steps = batch[0].shape[:2]
    chosen = _usual(steps) if gradients is None else [registry.get(one) for one in gradients]
    measures = []
    for algorithm in [BPTT(), *(one for one in chosen if one != BPTT())]:
        work = _work_of_rtrl(model, series, steps, algorithm)
        if gradients is None and work > _MOST_WORK:
            why = (
                f"It takes about {work:.0e} multiply-adds here, and was left out. Ask for it by "
                "name to wait for it."
            )
            measures.append(GradientMeasure(write(algorithm), refused=why))
            continue
        measures.append(_measure(model, batch, algorithm, exact))
    return GradientComparison(model.name, series, steps, float(loss), norm, measures)


def _usual(steps: int) -> list[GradientAlgorithm]:
    """Return every algorithm, with windows and chunks of a quarter of the series."""
    quarter = max(1, steps // 4)
    names = (
        *("bptt:sqrt", f"tbptt:{quarter}", f"tbptt:{quarter},{2 * quarter}", f"artbp:{quarter}"),
        *(f"rtrl:{quarter}", f"snap1:{quarter}", f"eprop:{quarter}"),
    )
    return [registry.get(name) for name in names]


def _measure(
    model: Any, batch: tuple[Any, Any, Any], algorithm: GradientAlgorithm, exact: Tensor
) -> GradientMeasure:
    try:
        _, found = _gradient(model, batch, algorithm)
    except UnsupportedError as error:
        return GradientMeasure(write(algorithm), refused=str(error))
    times = []
    while sum(times) < _ENOUGH and len(times) < 5:
        _synchronize(model.device)
        began = perf_counter()
        _gradient(model, batch, algorithm)
        _synchronize(model.device)
        times.append(perf_counter() - began)
    peak = peak_memory(lambda: _gradient(model, batch, algorithm), model.device)
    norm = float(found.norm())
    return GradientMeasure(
        write(algorithm),
        float(found @ exact / (norm * exact.norm())) if norm else math.nan,
        norm / float(exact.norm()),
        min(times),
        peak,
    )


def _gradient(
    model: Any, batch: tuple[Any, Any, Any], algorithm: GradientAlgorithm
) -> tuple[Tensor, Tensor]:
    """Return the loss and the gradient of all weights in a row."""
    for weight in model.parameters():
        weight.grad = None
    x, y, mask = batch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # ARTBP draws its cuts: the same ones each time
        loss = backward(model, x, y, mask=mask, gradient=algorithm)
    parts = [
        torch.zeros_like(weight) if weight.grad is None else weight.grad
        for weight in model.parameters()
    ]
    return loss, torch.cat([part.flatten() for part in parts]).double()


def _work_of_rtrl(model: Any, series: int, steps: int, algorithm: GradientAlgorithm) -> float:
    """Return about how many multiply-adds RTRL takes; 0 for others."""
    if not isinstance(algorithm, RTRL):
        return 0.0
    layers = recurrent_layers(model)
    states = sum(sum(layer.state_sizes) for layer in layers)
    weights = sum(weight.numel() for layer in layers for weight in layer.parameters())
    chunks = math.ceil(steps / algorithm.every)
    return float(series * states * weights * (3 * steps + chunks * states))


def _synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
