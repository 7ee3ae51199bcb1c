"""Gradients without training: for a look at them, for a loop of one's own, for comparison."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.errors import InputError
from gatewise.gradients import registry
from gatewise.gradients.contract import GradientAlgorithm
from gatewise.gradients.layout import refuse_quantized
from gatewise.gradients.task import Task


def backward(
    model: Any,
    x: Any,
    y: Any,
    *,
    mask: Any = None,
    sample_weight: Any = None,
    gradient: str | GradientAlgorithm | None = None,
) -> Tensor:
    """Return the objective of a compiled model on one batch and add its gradient to `.grad`.

    `gradient` is the algorithm; left out, the one that the model was compiled with. The weights are
    held, so the algorithm's parts add up. As with torch's own `backward`, what `.grad` holds
    already is added to; dropout follows the model's mode (`model.train()`).

    Raises `InputError` for a model without a loss or weights, `UnsupportedError` where the
    algorithm cannot serve.

    >>> import gatewise
    >>> from gatewise.gradients import RTRL, backward
    >>> from gatewise.layers import LSTM, Dense
    >>> gatewise.utils.set_random_seed(0)
    >>> model = gatewise.Sequential([LSTM(3, input_shape=(None, 2)), Dense(1)])
    >>> model.compile(loss="mse")
    >>> x, y = torch.randn(4, 6, 2), torch.randn(4, 1)
    >>> grads = []
    >>> for gradient in ("bptt", RTRL()):
    ...     loss = backward(model, x, y, gradient=gradient)
    ...     grads.append(model.layers[0].kernel.grad.clone())
    ...     model.zero_grad()
    >>> torch.allclose(*grads, atol=1e-6)
    True
    """
    refuse_quantized(model, "backward")
    if model.compiled is None or model.compiled.loss is None:
        raise InputError(
            f"{model.name} has no loss to differentiate. Call model.compile(loss='mse') first."
        )
    algorithm = model.compiled.gradient if gradient is None else registry.get(gradient)
    if model.several_inputs:
        x = model.received(x).to(model.device)
    else:
        x = model.cast_input(_tensor(x, model.device))
    if not model.built:
        model.build(model.shape_of_data(x))
    algorithm.supports(model)
    y = _tensor(y, model.device)
    task = Task(
        model,
        model.compiled.loss,
        x,
        y.to(model.dtype) if y.is_floating_point() else y,
        None if mask is None else _tensor(mask, model.device).bool(),
        None if sample_weight is None else _tensor(sample_weight, model.device),
        check=model.compiled.loss.check,
        penalty=model.regularization,
    )
    total = torch.zeros((), device=model.device, dtype=model.dtype)
    for part in algorithm.gradients(task):
        total = total + part.objective
    return total


def _tensor(value: Any, device: torch.device) -> Tensor:
    found = value if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))
    return found.to(device)
