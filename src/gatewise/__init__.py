"""Fast, explainable LSTMs for PyTorch and Keras.

Three doors lead in: Keras's manners (`gatewise.models`, `gatewise.layers`), PyTorch's signatures
(`gatewise.nn`, `gatewise.accelerate`), and measures that show what a model learns with
(`gatewise.inspect`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from gatewise import (
    activations,
    callbacks,
    data,
    gradients,
    initializers,
    layers,
    losses,
    metrics,
    models,
    nn,
    optimizers,
    preprocessing,
    regularizers,
    saving,
    seq2seq,
    utils,
)
from gatewise.errors import missing
from gatewise.layers import Input
from gatewise.models import Model, Sequential, load_model
from gatewise.nn import accelerate
from gatewise.version import __version__

if TYPE_CHECKING:
    from gatewise import inspect

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "accelerate",
    "activations",
    "callbacks",
    "data",
    "gradients",
    "initializers",
    "inspect",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "nn",
    "optimizers",
    "preprocessing",
    "regularizers",
    "saving",
    "seq2seq",
    "utils",
]

_INSTEAD = {
    "Functional": "Use Model(inputs, outputs), or gatewise.models.Functional.",
    "KerasTensor": "What a layer called on an Input returns is a gatewise.layers.Symbol.",
    "Layer": "It is gatewise.layers.Layer.",
    "backend": "Use torch: every tensor here is one of its own.",
    "constraints": "compile(optimizer=...) can clip gradients: clipnorm, clipvalue.",
    "datasets": "Data for trying things out is in gatewise.data.datasets.",
    "mixed_precision": "Use torch.autocast, or model.to(torch.bfloat16).",
    "ops": "Use torch: every tensor here is one of its own.",
    "random": "Use torch, and gatewise.utils.set_random_seed.",
}


def __getattr__(name: str) -> Any:
    """Import the inspector when it is first asked for; of other names, say what is nearest."""
    if name == "inspect":
        return import_module("gatewise.inspect")
    raise missing("gatewise", name, __all__, _INSTEAD)
