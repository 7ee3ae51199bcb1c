"""From what a user writes as `optimizer=` to something that binds to parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import torch
from torch import Tensor

from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.optimizers.adam import Adam, Adamax, AdamW, Nadam
from gatewise.optimizers.adaptive import Adadelta, Adagrad
from gatewise.optimizers.base import Optimizer
from gatewise.optimizers.bound import Parameters
from gatewise.optimizers.rmsprop import RMSprop
from gatewise.optimizers.sgd import SGD

OPTIMIZERS: dict[str, type[Optimizer]] = {
    optimizer.__name__.lower(): optimizer
    for optimizer in (SGD, RMSprop, Adam, AdamW, Adamax, Nadam, Adagrad, Adadelta)
}


class TorchOptimizer:
    """An optimizer of torch's own, or a function from parameters to one, taken as it is.

    >>> weight = torch.nn.Parameter(torch.ones(1))
    >>> type(TorchOptimizer(torch.optim.Adam).bind([weight])).__name__
    'Adam'
    """

    def __init__(
        self, source: torch.optim.Optimizer | Callable[[list[Tensor]], torch.optim.Optimizer]
    ) -> None:
        self.source = source
        self.name = getattr(source, "__name__", type(source).__name__).lower()

    def bind(self, parameters: Parameters) -> torch.optim.Optimizer:
        """Return the given optimizer, or the one that the function makes of the parameters."""
        tensors = _tensors(parameters)
        if isinstance(self.source, torch.optim.Optimizer):
            _check_belongs(self.source, tensors)
            return self.source
        made = self.source(tensors)
        if not isinstance(made, torch.optim.Optimizer):
            raise InputError(
                f"The optimizer function {self.name!r} expected to return a torch.optim.Optimizer "
                f"but returned {type(made).__name__}. Example: "
                "lambda parameters: torch.optim.Adam(parameters, lr=1e-3)."
            )
        return made

    def get_config(self) -> dict[str, Any]:
        """Refuse: an object of torch's cannot be written to a file as data."""
        raise UnsupportedError(
            f"The optimizer {self.name!r} is torch's own and is not written to model files. Save "
            "without the optimizer, or use one of gatewise.optimizers."
        )


def get(
    identifier: str | Mapping[str, Any] | Optimizer | TorchOptimizer | Any,
) -> Optimizer | TorchOptimizer:
    """Return what `identifier` names, ready to `bind` to parameters.

    A name in any case ("adam", with Keras's defaults), an `Optimizer`, what `serialize` wrote, a
    `torch.optim.Optimizer` that already holds the model's parameters, or a function of the
    parameters that makes one.

    >>> get("rmsprop")
    RMSprop(learning_rate=0.001, rho=0.9, momentum=0.0, epsilon=1e-07, centered=False, \
weight_decay=None, clipnorm=None, clipvalue=None, global_clipnorm=None, name=None)
    """
    if isinstance(identifier, (Optimizer, TorchOptimizer)):
        return identifier
    if isinstance(identifier, str):
        return _find(identifier)()
    if isinstance(identifier, Mapping):
        return _find(identifier["class_name"]).from_config(identifier["config"])
    if isinstance(identifier, type) and issubclass(identifier, Optimizer):
        name = identifier.__name__
        raise InputError(f"The optimizer is the class {name}; give an object: {name}().")
    if isinstance(identifier, torch.optim.Optimizer) or callable(identifier):
        return TorchOptimizer(cast(Any, identifier))
    raise InputError(
        f"The optimizer expected a name, an optimizer of gatewise or torch, or a function of the "
        f"parameters, but got {identifier!r} of type {type(identifier).__name__}."
    )


def serialize(optimizer: Optimizer | TorchOptimizer) -> dict[str, Any]:
    """Return the class name and arguments of an optimizer, as plain data for `get`.

    >>> get(serialize(SGD(0.5, momentum=0.9))) == SGD(0.5, momentum=0.9)
    True
    """
    return {"class_name": type(optimizer).__name__, "config": optimizer.get_config()}


def _find(name: str) -> type[Optimizer]:
    found = OPTIMIZERS.get(name.lower())
    if found is None:
        raise unknown_name("optimizer", name, OPTIMIZERS)
    return found


def _tensors(parameters: Parameters) -> list[Any]:
    return [item[1] if isinstance(item, tuple) else item for item in parameters]


def _check_belongs(optimizer: torch.optim.Optimizer, parameters: list[Any]) -> None:
    known = {id(p) for p in parameters}
    held = [p for group in optimizer.param_groups for p in group["params"]]
    foreign = [p for p in held if id(p) not in known]
    if foreign:
        raise InputError(
            f"The optimizer {type(optimizer).__name__} holds {len(foreign)} of {len(held)} tensors "
            f"that are not this model's (the first has shape {tuple(foreign[0].shape)}). Make it "
            "from model.parameters() after the model is built."
        )
