"""Optimizers with Keras's names, defaults and formulas, which bind to parameters as torch's do."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.optimizers import schedules
from gatewise.optimizers.adam import Adam, Adamax, AdamW, Nadam
from gatewise.optimizers.adaptive import Adadelta, Adagrad
from gatewise.optimizers.base import Optimizer
from gatewise.optimizers.bound import BoundOptimizer
from gatewise.optimizers.registry import OPTIMIZERS, TorchOptimizer, get, serialize
from gatewise.optimizers.rmsprop import RMSprop
from gatewise.optimizers.sgd import SGD

__all__ = [
    "OPTIMIZERS",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "BoundOptimizer",
    "Nadam",
    "Optimizer",
    "RMSprop",
    "TorchOptimizer",
    "get",
    "schedules",
    "serialize",
]


def __getattr__(name: str) -> Any:
    """Say which optimizer is nearest to one that does not exist here."""
    instead = {"Lion": "Use any of torch's own: compile(optimizer=torch.optim.X)."}
    raise missing(
        "gatewise.optimizers", name, [one for one in __all__ if one != "OPTIMIZERS"], instead
    )
