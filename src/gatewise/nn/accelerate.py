"""The one line for a torch program: its recurrent layers on gatewise's kernels, checked."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from torch import nn

from gatewise.errors import FallbackWarning, InputError
from gatewise.nn.acceleration import Acceleration, Left, Swapped
from gatewise.nn.agreement import (
    TOLERANCES,
    Difference,
    DisagreementError,
    compare_layers,
    largest_difference,
    model_tensors,
)
from gatewise.nn.arguments import check_kernel
from gatewise.nn.base import RecurrentBase
from gatewise.nn.exchange import COUNTERPARTS, is_recurrent, rebuild, refusal

_reports: WeakKeyDictionary[nn.Module, Acceleration] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Place:
    """A module in a model, under every name that leads to it."""

    module: nn.Module
    names: tuple[str, ...]


def accelerate(
    model: nn.Module, *, probe: Any = None, tolerance: float | None = None, kernel: str = "auto"
) -> nn.Module:
    """Swap a model's ``torch.nn.LSTM``, ``GRU`` and ``RNN`` for gatewise's; return the model.

    The Parameter objects stay the same, so optimizers, ``state_dict``, weight tying and shared
    layers go on as before. Before anything changes, each new layer is compared with the old one on
    random sequences, padded and packed: outputs, final states and all gradients. With a ``probe``
    (the model's input; a tuple of its arguments, or a mapping of its keywords) the whole model is
    compared too, in eval mode. A layer stays as it is where a swap would lose something (hooks,
    parametrizations, subclasses) or win nothing: :func:`acceleration_report` says what and why.

    ``tolerance`` is the largest relative error that passes: 1e-4 in float32 and 1e-10 in float64
    unless given. ``kernel`` other than "auto" swaps wherever that kernel serves, even if slower.

    Raises ``DisagreementError`` beyond the tolerance, and leaves the model as it was. Warns if
    there was nothing to swap. If ``model`` is itself such a layer, use the module that is returned.

    >>> import torch
    >>> model = nn.Sequential(nn.Linear(2, 3), nn.LSTM(3, 4))
    >>> model = accelerate(model, probe=torch.ones(5, 1, 2), kernel="reference")
    >>> model[1]
    LSTM(3, 4, kernel='reference')
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"accelerate expected a torch.nn.Module but got a {type(model).__name__}.")
    if tolerance is not None and not tolerance > 0:
        raise InputError(f"accelerate expected tolerance above 0 but got {tolerance!r}.")
    check_kernel(kernel)
    swaps: dict[nn.Module, RecurrentBase] = {}
    swapped: list[Swapped] = []
    left: list[Left] = []
    for place in _recurrent_places(model):
        entry = _judge(place, kernel, tolerance)
        if isinstance(entry, Left):
            left.append(entry)
        else:
            report, swaps[place.module] = entry
            swapped.append(report)
    accelerated, difference = _swap_checked(model, swaps, probe, tolerance)
    _reports[accelerated] = Acceleration(tuple(swapped), tuple(left), difference)
    if not swaps:
        _warn_unchanged(model, left)
    return accelerated


def acceleration_report(model: nn.Module) -> Acceleration:
    """Return what :func:`accelerate` swapped in this model, what it left and why.

    Raises ``InputError`` for a model that did not come from ``accelerate``.

    >>> model = accelerate(nn.Sequential(nn.GRUCell(2, 3), nn.GRU(3, 3)), kernel="reference")
    >>> [(entry.names, entry.kernel) for entry in acceleration_report(model).swapped]
    [(('1',), 'reference')]
    """
    if model not in _reports:
        raise InputError(
            f"There is no acceleration report for this {type(model).__name__}: it did not come "
            "from accelerate in this process. Ask for the module that accelerate returned."
        )
    return _reports[model]


def restore(model: nn.Module) -> nn.Module:
    """Swap gatewise's layers back for torch.nn's, around the same Parameter objects.

    >>> restore(accelerate(nn.LSTM(2, 3), kernel="reference"))
    LSTM(2, 3)
    """
    torch_classes: dict[type[nn.Module], type[nn.Module]] = {
        ours: theirs for theirs, ours in COUNTERPARTS.items()
    }
    swaps = {
        module: rebuild(module, torch_classes[type(module)], kernel=None)
        for module in model.modules()
        if type(module) in torch_classes
    }
    return _swap(model, swaps)


def _recurrent_places(model: nn.Module) -> list[_Place]:
    """Return each recurrent module once, with all its names."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        if is_recurrent(module):
            names.setdefault(module, []).append(name)
    return [_Place(module, tuple(paths)) for module, paths in names.items()]


def _judge(
    place: _Place, kernel: str, tolerance: float | None
) -> Left | tuple[Swapped, RecurrentBase]:
    """Return a module's replacement, found equal, or why there is none."""
    module = place.module
    layer = f"{type(module).__name__}({module.extra_repr()})"
    reason = refusal(module)
    if reason is not None:
        return Left(place.names, layer, reason)
    replacement = rebuild(module, COUNTERPARTS[type(module)], kernel)
    assert isinstance(replacement, RecurrentBase)
    choice = replacement.choice()
    if kernel == "auto" and choice.kernel in ("reference", "cudnn"):
        reason = f"gatewise would be no faster here: kernel {choice.kernel} ({choice.reason})"
        return Left(place.names, layer, reason)
    difference = compare_layers(module, replacement)
    allowed = tolerance or TOLERANCES[next(module.parameters()).dtype]
    if not difference.error <= allowed:
        raise DisagreementError(
            f"accelerate left the model as it was: gatewise's {layer} for "
            f"{place.names[0] or 'the model'!r} differs from torch's by {difference}, where "
            f"{allowed:.0e} passes. Please report this."
        )
    report = Swapped(place.names, layer, choice.kernel, choice.reason, difference, allowed)
    return report, replacement


def _swap_checked(
    model: nn.Module, swaps: dict[nn.Module, RecurrentBase], probe: Any, tolerance: float | None
) -> tuple[nn.Module, Difference | None]:
    """Swap; with a probe, compare the whole model before and after, and undo on disagreement."""
    if probe is None or not swaps:
        return _swap(model, swaps), None
    expected = model_tensors(model, probe)
    accelerated = _swap(model, swaps)
    try:
        difference = largest_difference(expected, model_tensors(accelerated, probe))
        allowed = tolerance or max(TOLERANCES[next(layer.parameters()).dtype] for layer in swaps)
        if not difference.error <= allowed:
            raise DisagreementError(
                f"accelerate left the model as it was: on the probe it differs by {difference}, "
                f"where {allowed:.0e} passes. Its layers agree one by one on random sequences; if "
                "the model is sensitive to rounding, give tolerance=."
            )
    except BaseException:
        _swap(accelerated, {ours: theirs for theirs, ours in swaps.items()})
        raise
    return accelerated, difference


def _swap(model: nn.Module, swaps: dict[Any, Any]) -> nn.Module:
    """Put each replacement in every place of its module, and return the model."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if child in swaps:
                parent._modules[name] = swaps[child]
    return swaps.get(model, model)


def _warn_unchanged(model: nn.Module, left: list[Left]) -> None:
    if all(entry.reason.startswith("already") for entry in left) and left:
        return
    found = "; ".join(f"{entry.names[0] or 'the model'}: {entry.reason}" for entry in left)
    warnings.warn(
        f"accelerate swapped nothing in this {type(model).__name__}: "
        + (found or "it has no torch.nn.LSTM, GRU or RNN"),
        FallbackWarning,
        stacklevel=3,
    )
