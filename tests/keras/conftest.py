"""Two runs of one Keras program, on its own loops and on the kernels, and what came of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest
import torch

from gatewise import keras as bridge

OURS = {
    keras.layers.LSTM: bridge.LSTM,
    keras.layers.GRU: bridge.GRU,
    keras.layers.SimpleRNN: bridge.SimpleRNN,
}


@pytest.fixture
def enabled() -> Iterator[None]:
    """Keras with the bridge on, for one test."""
    bridge.enable()
    yield
    bridge.disable()


@pytest.fixture
def both_results() -> Any:
    """A function that runs a layer of Keras's and its twin of ours on the same numbers."""
    return _both_results


def _both_results(
    kind: type[keras.Layer],
    config: dict[str, Any],
    shape: tuple[int, int, int],
    *,
    mask: np.ndarray | None = None,
    with_state: bool = False,
    training: bool = False,
    seed: int = 0,
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], Any]:
    """Return outputs, states and gradients by name: Keras's, ours, and our layer."""
    theirs, ours = kind(**config), OURS[kind](**config)
    wanted = _results(theirs, shape, mask, with_state, training, seed)
    return wanted, _results(ours, shape, mask, with_state, training, seed), ours


def _results(
    layer: Any,
    shape: tuple[int, int, int],
    mask: np.ndarray | None,
    with_state: bool,
    training: bool,
    seed: int,
) -> dict[str, np.ndarray]:
    numbers = np.random.default_rng(seed)
    layer.build(shape)
    shapes = [weight.shape for weight in layer.weights]
    layer.set_weights([numbers.normal(size=size) * size[0] ** -0.5 for size in shapes])
    dtype = getattr(torch, layer.compute_dtype)

    def tensor(*size: int) -> torch.Tensor:
        return torch.tensor(numbers.normal(size=size), dtype=dtype, requires_grad=True)

    x = tensor(*shape)
    states = [tensor(shape[0], layer.units) for _ in layer.state_size] if with_state else None
    given = None if mask is None else torch.tensor(mask)
    results = layer(x, mask=given, initial_state=states, training=training)
    results = list(results) if isinstance(results, list | tuple) else [results]
    loss = sum((part * torch.tensor(numbers.normal(size=part.shape))).sum() for part in results)
    sources = {weight.name: weight.value for weight in layer.trainable_weights} | {"x": x}
    sources |= {f"state {i}": state for i, state in enumerate(states or [])}
    assert isinstance(loss, torch.Tensor)
    gradients = torch.autograd.grad(loss, list(sources.values()), allow_unused=True)
    found = {f"output {i}": part for i, part in enumerate(results)}
    for (name, source), gradient in zip(sources.items(), gradients, strict=True):
        found[f"gradient of {name}"] = torch.zeros_like(source) if gradient is None else gradient
    return {name: value.detach().numpy() for name, value in found.items()}
