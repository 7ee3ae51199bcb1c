"""The states that a recurrent layer goes on from: those it is given, and those it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from torch import Tensor

from gatewise.errors import InputError
from gatewise.layers.layer import as_tensor, sizes

if TYPE_CHECKING:
    from gatewise.layers.recurrent import Recurrent


def received_state(
    layer: str, state: Any, x: Tensor, names: Sequence[str], widths: Sequence[int]
) -> list[Tensor]:
    """Return an initial state, one tensor or several, as a tensor (B, width) for each name."""
    parts = list(state) if isinstance(state, list | tuple) else [state]
    shapes = [(x.shape[0], width) for width in widths]
    expected = ", ".join(
        f"{name} {sizes(shape)}" for name, shape in zip(names, shapes, strict=True)
    )
    if len(parts) != len(names):
        raise InputError(
            f"{layer} expected initial_state with {expected} but got {len(parts)} tensors."
        )
    tensors = [as_tensor(part, like=x).to(x.dtype) for part in parts]
    for name, tensor, shape in zip(names, tensors, shapes, strict=True):
        if tensor.shape != shape:
            raise InputError(
                f"{layer} expected initial_state with {expected} but {name} has the shape "
                f"{sizes(tuple(tensor.shape))}."
            )
    return tensors


def kept_state(layer: Recurrent, x: Tensor) -> list[Tensor] | None:
    """Return the state that a stateful layer kept of the last batch, if it has seen one."""
    kept = [getattr(layer, f"kept_{name}") for name in layer.specification.states]
    if kept[0] is None:
        return None
    if len(kept[0]) != len(x):
        raise InputError(
            f"{layer.name} is stateful and holds the state of {len(kept[0])} series, but the "
            f"batch has {len(x)}: series i of a batch goes on where series i of the last one "
            "ended. Call reset_state() on the layer or the model to begin anew, and give fit "
            "batches of one size."
        )
    return [state.to(x.dtype) for state in kept]


def keep(layer: Recurrent, states: Sequence[Tensor | None]) -> None:
    """Have a stateful layer keep a state, or none, for the next batch."""
    for name, state in zip(layer.specification.states, states, strict=True):
        setattr(layer, f"kept_{name}", None if state is None else state.detach())
