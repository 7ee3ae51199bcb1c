"""Fast, explainable LSTMs for PyTorch and Keras.

Three doors lead in: Keras's manners (`gatewise.models`, `gatewise.layers`), PyTorch's signatures
(`gatewise.nn`, `gatewise.accelerate`), and measures that show what a model learns with
(`gatewise.inspect`).
"""

from __future__ import annotations

from gatewise import (
    callbacks,
    data,
    gradients,
    inspect,
    layers,
    losses,
    metrics,
    models,
    nn,
    optimizers,
    seq2seq,
    utils,
)
from gatewise.layers import Input
from gatewise.models import Model, Sequential, load_model
from gatewise.nn import accelerate
from gatewise.version import __version__

__all__ = [
    "Input",
    "Model",
    "Sequential",
    "__version__",
    "accelerate",
    "callbacks",
    "data",
    "gradients",
    "inspect",
    "layers",
    "load_model",
    "losses",
    "metrics",
    "models",
    "nn",
    "optimizers",
    "seq2seq",
    "utils",
]
