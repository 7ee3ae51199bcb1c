"""Run Keras's own tests of its recurrent layers on `gatewise.layers`, and write what came out.

    python tests/conformance/run_on_layers.py outcomes.json

The tests and the assertions of `run_layer_test` are Keras's; what they name (`layers.LSTM`,
`ops.matmul`, `models.Model` ...) stands here for what gatewise or torch call the same. Nothing
here computes what a layer should.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import keras_tests  # first: it chooses Keras's backend

# isort: split

import keras.src
import torch
from keras.src.layers.rnn import dropout_rnn_cell
from keras.src.testing import test_case

import gatewise
from gatewise import layers, losses, models
from gatewise.layers.noise import NoiseSource
from gatewise.layers.registered import describe, from_description

OPS = SimpleNamespace(
    matmul=torch.matmul,
    ones_like=torch.ones_like,
    sum=torch.sum,
    cast=lambda x, dtype: torch.as_tensor(x).to(_dtype(dtype)),
    transpose=lambda x: x.permute(*reversed(range(x.ndim))),
    random=SimpleNamespace(uniform=lambda shape: torch.rand(shape)),
)


def main(target: Path) -> None:
    _map_names()
    target.write_text(json.dumps(keras_tests.run(_register_classes_of)))


def _map_names() -> None:
    keras.src.layers = layers
    keras.src.initializers = layers.initializers
    keras.src.ops = test_case.ops = OPS
    keras.src.backend.random.SeedGenerator = NoiseSource
    dropout_rnn_cell.DropoutRNNCell = layers.DropoutRNNCell
    keras.src.models.Sequential = models.Sequential
    keras.src.models.Functional = models.Functional
    test_case.Model = gatewise.Model
    test_case.Loss = losses.Loss
    test_case.KerasTensor = _symbol
    test_case.get_seed_generators = _seed_generators
    keras.src.saving.serialize_keras_object = describe
    keras.src.saving.deserialize_keras_object = from_description
    keras.src.saving.custom_object_scope = _scope
    # torch's parameters and the seeds, under the name that Keras has for them.
    layers.Layer.torch_params = property(
        lambda layer: [*layer.parameters(), *(noise.calls for noise in _seed_generators(layer))]
    )


def _symbol(shape: Any, dtype: str, sparse: bool, ragged: bool) -> layers.Input:
    assert not sparse and not ragged
    return layers.Input(shape[1:], batch_size=shape[0], dtype=dtype)


def _seed_generators(layer: torch.nn.Module) -> list[NoiseSource]:
    return [module for module in layer.modules() if isinstance(module, NoiseSource)]


@contextlib.contextmanager
def _scope(classes: dict[str, Any] | None) -> Iterator[None]:
    """Keras's scope of classes of one's own; those of the tests are registered already."""
    yield


def _register_classes_of(modules: list[Any]) -> None:
    for module in modules:
        for value in list(vars(module).values()):
            own = isinstance(value, type) and value.__module__ == module.__name__
            if own and issubclass(value, layers.Layer):
                layers.register(value)


def _dtype(given: Any) -> torch.dtype:
    return given if isinstance(given, torch.dtype) else getattr(torch, given)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
