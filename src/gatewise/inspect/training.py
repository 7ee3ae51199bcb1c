"""Which weights does backpropagation train? The answer as numbers on a model and its data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from gatewise.cells import split_weight
from gatewise.errors import InputError
from gatewise.inspect.causes import cause_of_zero
from gatewise.inspect.probe import Probe, run_probe
from gatewise.inspect.showing import Shown
from gatewise.inspect.walk import find_set, full_name
from gatewise.inspect.weights import (
    SYMBOLS,
    counted_sets,
    derivative_sets,
    source_parameters,
    value_sets,
)


@dataclass(frozen=True)
class WeightTraining(Shown):
    """What one training step does to a gate's W, U or b, or to a parameter of another layer.

    ``gradient_norm``, ``weight_norm`` and ``step_norm`` are L2 norms; the last is how far one
    optimizer step moves the weight. ``status`` is "trained", "frozen" (the step may not change it)
    or "dead" (its gradient is exactly zero); ``reason`` says why, and is empty for a trained one.
    """

    name: str
    gate: str
    shape: tuple[int, ...]
    gradient_norm: float
    weight_norm: float
    step_norm: float
    status: str
    reason: str

    @property
    def step_ratio(self) -> float:
        """How far the step moves the weight, relative to its size; infinite for zeros."""
        if self.weight_norm:
            return self.step_norm / self.weight_norm
        return float("inf") if self.step_norm else 0.0


@dataclass(frozen=True)
class SetTraining(Shown):
    """One set of recurrent weights, gate by gate; ``steps`` is T of its longest use, or 0."""

    layer: str
    label: str
    kind: str
    cell: str
    steps: int
    uses: int
    weights: tuple[WeightTraining, ...]

    @property
    def name(self) -> str:
        """The layer's name, with the set's label where a layer has several."""
        return full_name(self.layer, self.label)


@dataclass(frozen=True)
class TrainingMeasure(Shown):
    """What one training step does to every weight of a model.

    ``sets`` are the recurrent weights gate by gate, ``others`` all other parameters.
    """

    sets: tuple[SetTraining, ...]
    others: tuple[WeightTraining, ...]
    loss: float
    batch: int
    optimizer: str

    def __getitem__(self, name: str) -> SetTraining:
        return find_set(self.sets, name)


def measure_training(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    mask: Any = None,
    sample_weight: Any = None,
    loss: Any = None,
    optimizer: Any = None,
) -> TrainingMeasure:
    """Measure what one training step does to each gate's W, U and b, and to every other weight.

    One forward and backward pass on the objective that training uses, then one step of the
    optimizer, all on a copy of the model and of the optimizer with its state; both originals are
    left bit for bit as they were. The copy runs in inference mode, so dropout is off and the
    numbers repeat. ``x`` (B, T, I) or ids (B, T), ``y`` and ``mask`` (B, T; True at real steps)
    are arrays or tensors. A Keras-style model brings loss and optimizer from `compile`; any other
    module is called as ``model(x)`` (``model(*x)`` for a tuple), needs ``loss`` and ``optimizer``
    (a torch optimizer that holds the model's parameters, or one of `gatewise.optimizers`), and
    ``mask`` then concerns the loss alone.

    Raises:
        UnsupportedError: a torch.nn recurrent layer with hooks or in a subclass of its own.
        InputError: no recurrent layer, a model not built, no loss or optimizer, an optimizer of
            another model, or a prediction that is no tensor.
        NonFiniteError: the loss on this batch is NaN or infinite.

    >>> import torch
    >>> from gatewise import nn
    >>> class Last(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lstm = nn.LSTM(3, 4, batch_first=True)
    ...     def forward(self, x):
    ...         return self.lstm(x)[0][:, -1]
    >>> model = Last()
    >>> sgd = torch.optim.SGD(model.parameters(), lr=0.1)
    >>> measure = measure_training(
    ...     model, torch.ones(2, 5, 3), torch.zeros(2, 4), loss="mse", optimizer=sgd
    ... )
    >>> {weight.status for weight in measure.sets[0].weights}
    {'trained'}
    """
    _require_optimizer(model, optimizer)
    probe = run_probe(
        model, x, y, mask=mask, sample_weight=sample_weight, loss=loss, optimizer=optimizer
    )
    stepper = _bound_optimizer(probe)
    held = {id(parameter) for group in stepper.param_groups for parameter in group["params"]}
    before = _Snapshot(probe)
    stepper.step()
    after = _Snapshot(probe)
    sets = tuple(
        _set_training(probe, index, position, before, after, held)
        for index in range(len(probe.places))
        for position in range(len(before.sets[index]))
    )
    recurrent = {id(p) for place in probe.places for p in place.module.parameters()}
    others = tuple(
        _other_training(name, parameter, before, after, held)
        for name, parameter in probe.model.named_parameters()
        if id(parameter) not in recurrent
    )
    return TrainingMeasure(sets, others, probe.loss, probe.batch, _optimizer_name(stepper))


class _Snapshot:
    """The numbers and gradients of a model's weights at one moment."""

    def __init__(self, probe: Probe) -> None:
        modules = [place.module for place in probe.places]
        self.sets = [value_sets(module) for module in modules]
        self.gradients = [derivative_sets(module, _gradient) for module in modules]
        named = dict(probe.model.named_parameters())
        self.parameters = {name: p.detach().clone() for name, p in named.items()}
        self.parameter_gradients = {
            name: None if p.grad is None else p.grad.clone() for name, p in named.items()
        }


def _gradient(parameter: nn.Parameter) -> Tensor | None:
    return parameter.grad


def _require_optimizer(model: nn.Module, optimizer: Any) -> None:
    """Refuse what cannot take a step on this model, with the cure."""
    cure = "Pass optimizer=torch.optim.RMSprop(model.parameters()), or one of gatewise.optimizers."
    if optimizer is None:
        if getattr(model, "compiled", None) is None:
            raise InputError(
                f"{type(model).__name__} has no optimizer, so no step can be taken. Call "
                f"model.compile(loss=..., optimizer=...) first. {cure}"
            )
    elif isinstance(optimizer, torch.optim.Optimizer):
        held = {id(p) for group in optimizer.param_groups for p in group["params"]}
        if held.isdisjoint(id(parameter) for parameter in model.parameters()):
            raise InputError(
                f"The {type(optimizer).__name__} given holds no parameter of this "
                f"{type(model).__name__}. {cure}"
            )
    elif not hasattr(optimizer, "bind"):
        raise InputError(f"{optimizer!r} is not an optimizer that can take a step. {cure}")


def _bound_optimizer(probe: Probe) -> torch.optim.Optimizer:
    """Return the copied model's optimizer: a copy of the one given, or of the compiled one."""
    given = probe.optimizer
    if isinstance(given, torch.optim.Optimizer):
        return given
    if given is not None:
        return given.bind(probe.model.named_parameters())
    return cast(Any, probe.model).compiled.bind(probe.model)


def _optimizer_name(optimizer: torch.optim.Optimizer) -> str:
    """Return the name of the formula: gatewise's optimizers carry it as their specification."""
    return type(getattr(optimizer, "specification", optimizer)).__name__


def _set_training(
    probe: Probe, index: int, position: int, before: _Snapshot, after: _Snapshot, held: set[int]
) -> SetTraining:
    place, calls = probe.places[index], probe.calls[index]
    one = counted_sets(place.module)[position]
    records = [call[position] for call in calls if position < len(call)]
    weights = []
    for name, parameters in source_parameters(place.module, one).items():
        if name not in SYMBOLS:
            continue
        frozen = _why_frozen(parameters, held)
        parts = (moment[index][position][name] for moment in (before.sets, after.sets))
        old, new = (split_weight(name, part, one.specification) for part in parts)
        whole = before.gradients[index][position][name]
        gradients = split_weight(name, whole, one.specification)
        for gate in gradients:
            dead = "" if gradients[gate].any() else cause_of_zero(records, bool(calls), name, gate)
            weights.append(_weight(name, gate, gradients[gate], old[gate], new[gate], frozen, dead))
    return SetTraining(
        layer=place.name,
        label=one.label,
        kind=type(place.module).__name__,
        cell=one.specification.cell,
        steps=max((record.x.shape[1] for record in records), default=0),
        uses=len(calls),
        weights=tuple(weights),
    )


def _other_training(
    name: str, parameter: nn.Parameter, before: _Snapshot, after: _Snapshot, held: set[int]
) -> WeightTraining:
    gradient = before.parameter_gradients[name]
    dead = ""
    if gradient is None:
        dead = "the loss does not depend on it"
        gradient = torch.zeros_like(parameter)
    elif not gradient.any():
        dead = "no sample of this batch needs it to change"
    frozen = _why_frozen([parameter], held)
    return _weight(
        name, "", gradient, before.parameters[name], after.parameters[name], frozen, dead
    )


def _weight(
    name: str, gate: str, gradient: Tensor, old: Tensor, new: Tensor, frozen: str, dead: str
) -> WeightTraining:
    """Return the measure of one weight; ``frozen`` and ``dead`` are why it is so, or empty."""
    gradient_norm = 0.0 if frozen else _norm(gradient)
    step_norm = _norm(new.double() - old.double())
    if gradient_norm and not step_norm:
        frozen = "the step is too small to change it (is the learning rate 0?)"
    return WeightTraining(
        name=name,
        gate=gate,
        shape=tuple(old.shape),
        gradient_norm=gradient_norm,
        weight_norm=_norm(old),
        step_norm=step_norm,
        status="frozen" if frozen else "dead" if dead else "trained",
        reason=frozen or dead,
    )


def _why_frozen(parameters: list[nn.Parameter], held: set[int]) -> str:
    if not any(parameter.requires_grad for parameter in parameters):
        return "requires_grad is False (the layer has trainable=False)"
    if not any(id(parameter) in held for parameter in parameters if parameter.requires_grad):
        return "the optimizer does not hold it"
    return ""


def _norm(tensor: Tensor) -> float:
    return tensor.double().norm().item()
