"""The real Keras, on torch and in float64, as the oracle of the layers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

# An error of a few units in the last place of numbers near 1, through some twenty steps.
TOLERANCE = {"rtol": 1e-10, "atol": 1e-12}


@pytest.fixture
def float64(keras_in_float64: None) -> Iterator[None]:
    """Everything in float64 on both sides."""
    ours = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(ours)


@pytest.fixture(scope="session")
def assert_as_keras() -> Callable[..., None]:
    """A function that asserts equal outputs, states and gradients of a layer and Keras's."""
    return _assert_as_keras


def _assert_as_keras(
    ours: Any,
    theirs: Any,
    x: np.ndarray,
    *,
    mask: np.ndarray | None = None,
    state_sizes: tuple[int, ...] = (),
    seed: int = 0,
    tolerance: dict[str, float] = TOLERANCE,
) -> None:
    numbers = np.random.default_rng(seed)
    ours.build(x.shape)
    theirs.build(x.shape)
    weights = [numbers.normal(size=weight.shape) * 0.7 for weight in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    states = [numbers.normal(size=(x.shape[0], size)) for size in state_sizes]
    cotangents: list[np.ndarray] = []
    our_results = _run(ours, list(ours.parameters()), x, mask, states, cotangents, numbers)
    parameters = [variable.value for variable in theirs.weights]
    their_results = _run(theirs, parameters, x, mask, states, cotangents, numbers)
    for (name, our), (_, their) in zip(our_results, their_results, strict=True):
        assert our.shape == their.shape, name
        np.testing.assert_allclose(our, their, err_msg=name, **tolerance)


def _run(
    layer: Any,
    parameters: list[Tensor],
    x: np.ndarray,
    mask: np.ndarray | None,
    states: list[np.ndarray],
    cotangents: list[np.ndarray],
    numbers: np.random.Generator,
) -> list[tuple[str, np.ndarray]]:
    """Return the outputs, then the gradients of x, the states and the weights, each with a name."""
    floating = np.issubdtype(x.dtype, np.floating)
    given = torch.tensor(x, requires_grad=floating)
    initial = [torch.tensor(state, requires_grad=True) for state in states]
    arguments: dict[str, Any] = {"initial_state": initial} if states else {}
    if mask is not None:
        arguments["mask"] = torch.tensor(mask)
    result = layer(given, **arguments)
    outputs = list(result) if isinstance(result, tuple | list) else [result]
    if not cotangents:
        cotangents.extend(numbers.normal(size=tuple(output.shape)) for output in outputs)
    loss = sum(
        (output * torch.tensor(cotangent)).sum()
        for output, cotangent in zip(outputs, cotangents, strict=True)
    )
    sources = [*([given] if floating else []), *initial, *parameters]
    gradients = torch.autograd.grad(loss, sources, allow_unused=True)
    named = [(f"output {i}", output.detach().numpy()) for i, output in enumerate(outputs)]
    for i, (source, gradient) in enumerate(zip(sources, gradients, strict=True)):
        gradient = torch.zeros_like(source) if gradient is None else gradient
        named.append((f"gradient {i} {tuple(source.shape)}", gradient.detach().numpy()))
    return named
