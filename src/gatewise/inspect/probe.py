"""One forward and backward pass on a copy of the model, with what the kernels saved.

The user's model is never run: its weights, gradients, mode and random state stay bit for bit as
they were. The copy runs in inference mode, so dropout is off and the numbers repeat exactly.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewise import losses
from gatewise.data.padding import pad
from gatewise.errors import InputError, NonFiniteError
from gatewise.inspect.opening import open_layers, require_openable
from gatewise.inspect.walk import Place, measurable_places
from gatewise.kernels import Record, recording
from gatewise.layers import activity


@dataclass(frozen=True)
class Probe:
    """A copy of the model after one backward pass.

    `calls[k]` belongs to `places[k]`: one list of records (one a weight set) for each call of that
    module in the forward pass. `loss` is NaN where there was only a forward pass.
    """

    model: nn.Module
    places: list[Place]
    calls: list[list[list[Record]]]
    loss: float
    batch: int
    optimizer: Any = None


def run_probe(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    mask: Any = None,
    sample_weight: Any = None,
    loss: Any = None,
    optimizer: Any = None,
    prepare: Callable[[nn.Module], None] | None = None,
) -> Probe:
    """Copy the model (and its optimizer), run the training objective forward and backward once."""
    require_openable(model)
    chosen_loss = _loss_of(model, loss)
    twin, twin_optimizer = copy.deepcopy((model, optimizer))
    twin = open_layers(twin).eval()
    twin.zero_grad(set_to_none=True)
    if prepare is not None:
        prepare(twin)
    places = measurable_places(twin)
    reference = next(twin.parameters())
    inputs, mask = _inputs(twin, x, mask, reference)
    labels = _tensor(pad(y)[0] if _is_ragged(y) else y, reference, "y")
    sample_weight = None if sample_weight is None else _tensor(sample_weight, reference, "weight")
    with _same_random_state(reference.device), torch.enable_grad():
        with (
            recording() as records,
            _calls(places, records) as calls,
            activity.activity_penalties() as of_activities,
        ):
            prediction, mask = _predict(twin, inputs, mask)
        _require_tensor(twin, prediction)
        chosen_loss.check(labels, prediction, mask)
        objective = losses.objective(
            chosen_loss,
            labels,
            prediction,
            mask=mask,
            sample_weight=sample_weight,
            penalty=activity.summed(penalty_of(twin), of_activities),
        )
        _require_finite(objective)
        if objective.requires_grad:
            objective.backward()
    found = [[call.records() for call in own] for own in calls]
    return Probe(twin, places, found, objective.item(), len(labels), twin_optimizer)


@torch.no_grad()
def run_forward(model: nn.Module, x: Any, mask: Any = None) -> Probe:
    """Copy the model and run it forward once: what its gates do needs neither labels nor a loss."""
    require_openable(model)
    twin = open_layers(copy.deepcopy(model)).eval()
    places = measurable_places(twin)
    with recording() as records, _calls(places, records) as calls:
        predict_on(twin, x, mask)
    found = [[call.records() for call in own] for own in calls]
    batch = max((len(r.x) for own in found for call in own for r in call), default=0)
    return Probe(twin, places, found, math.nan, batch)


@torch.no_grad()
def predict_on(twin: nn.Module, x: Any, mask: Any) -> int:
    """Run a copied model forward on data as they were given; return the size of the batch."""
    if mask is not None and not hasattr(twin, "forward_with_mask"):
        raise InputError(
            f"{type(twin).__name__} is called as model(x), so its layers would not see mask=. "
            "Pass everything that its forward takes as a tuple, e.g. x=(x, mask)."
        )
    reference = next(twin.parameters(), torch.zeros(()))
    inputs, mask = _inputs(twin, x, mask, reference)
    with _same_random_state(reference.device):
        _predict(twin, inputs, mask)
    first = inputs[0]
    return int(first.batch_sizes[0]) if isinstance(first, PackedSequence) else len(first)


def _inputs(model: nn.Module, x: Any, mask: Any, reference: Tensor) -> tuple[tuple[Any, ...], Any]:
    """Return the model's inputs and the mask as tensors; series of different lengths are padded."""
    if getattr(model, "several_inputs", False):
        # As `fit` takes them: a list in the model's order, or a dictionary by name.
        x = tuple(cast(Any, model).parts_of(x))
        mask = tuple(mask) if isinstance(mask, list) else mask
    elif _is_ragged(x):
        x, mask = pad(x)
    if isinstance(x, PackedSequence):
        return (cast(Any, x).to(device=reference.device, dtype=reference.dtype),), mask
    parts = x if isinstance(x, tuple) else (x,)
    inputs = tuple(_tensor(part, reference, "x") for part in parts)
    if isinstance(mask, tuple):  # one an input
        return inputs, tuple(_mask(part, reference) for part in mask)
    return inputs, _mask(mask, reference)


def _mask(mask: Any, reference: Tensor) -> Tensor | None:
    return None if mask is None else _tensor(mask, reference, "mask").bool()


def penalty_of(model: nn.Module) -> Tensor | None:
    """Return the sum of the model's weight penalties, or None where there is none."""
    if hasattr(model, "regularization"):
        return cast(Any, model).regularization()
    terms = (penalty_of(module) for module in model.children())
    found = [term for term in terms if term is not None]
    return torch.stack(found).sum() if found else None


def _loss_of(model: nn.Module, loss: Any) -> losses.Loss:
    if loss is not None:
        return losses.get(loss)
    compiled = getattr(model, "compiled", None)
    if compiled is None or compiled.loss is None:
        raise InputError(
            f"{type(model).__name__} has no loss, and what trains a weight depends on the loss. "
            "Call model.compile(loss=..., optimizer=...) first, or pass loss='mse' (any name, "
            "function or Loss)."
        )
    return losses.get(compiled.loss)


def _predict(model: nn.Module, inputs: tuple[Any, ...], mask: Any) -> tuple[Any, Tensor | None]:
    """Call the model and return its prediction with the mask that belongs to it."""
    forward_with_mask = getattr(model, "forward_with_mask", None)
    if forward_with_mask is not None:
        prediction, mask = forward_with_mask(inputs[0] if len(inputs) == 1 else inputs, mask)
    else:
        prediction = model(*inputs)
    return prediction, mask


def _require_tensor(model: nn.Module, prediction: Any) -> None:
    if not isinstance(prediction, Tensor):
        raise InputError(
            f"{type(model).__name__} returned a {type(prediction).__name__}, and a loss needs one "
            "tensor. Wrap the model in a module whose forward returns the prediction alone, e.g. "
            "`return self.lstm(x)[0]`."
        )


@dataclass(frozen=True)
class _Call:
    """The records that one call of a module made, and where each sample stands in them."""

    made: list[Record]
    order: Tensor | None

    def records(self) -> list[Record]:
        """Return them with the samples in the caller's order: packed data stand by length."""
        if self.order is None:
            return self.made
        return [reordered(record, self.order) for record in self.made]


def reordered(record: Record, order: Tensor) -> Record:
    """Return a record with its samples in another order."""

    def rows(part: Tensor | None) -> Tensor | None:
        return part if part is None or part.dim() == 1 else part.index_select(0, order)

    return replace(
        record,
        x=record.x.index_select(0, order),
        noise=record.noise.rows(order),
        state=[part.index_select(0, order) for part in record.state],
        grad_final_state=[rows(part) for part in record.grad_final_state],
        **{name: rows(getattr(record, name)) for name in _BY_SAMPLE},
    )


_BY_SAMPLE = (
    "mask",
    "outputs",
    "gates",
    "saved",
    "gate_cotangents",
    "cotangents",
    "grad_outputs",
)


@contextmanager
def _calls(places: list[Place], records: list[Record]) -> Iterator[list[list[_Call]]]:
    """Sort the records by the module and the call that made them."""
    calls: list[list[_Call]] = [[] for _ in places]
    starts: list[int] = []
    handles = []
    for place, own in zip(places, calls, strict=True):

        def before(module: nn.Module, arguments: Any) -> None:
            starts.append(len(records))

        def after(module: nn.Module, arguments: Any, output: Any, own: list = own) -> None:
            packed = next((part for part in arguments if isinstance(part, PackedSequence)), None)
            order = None if packed is None else packed.unsorted_indices
            own.append(_Call(records[starts.pop() :], order))

        handles.append(place.module.register_forward_pre_hook(before))
        handles.append(place.module.register_forward_hook(after))
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _same_random_state(device: torch.device) -> Iterator[None]:
    """Give the global random state back as it was found."""
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        yield


def _is_ragged(data: Any) -> bool:
    """Return whether data are a list of series, or of lists of ids, of different lengths."""
    if not isinstance(data, list):
        return False
    return len({len(one) for one in data if hasattr(one, "shape") or _is_ids(one)}) > 1


def _is_ids(one: Any) -> bool:
    return isinstance(one, list) and all(isinstance(item, int) for item in one)


def _tensor(value: Any, reference: Tensor, name: str) -> Tensor:
    """Return data as a tensor on the model's device, real numbers in the model's precision."""
    try:
        array = value if isinstance(value, Tensor) else np.array(value)
        if isinstance(array, np.ndarray) and array.dtype.kind == "u":
            array = array.astype(np.int64)
        tensor = torch.as_tensor(array)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{name} is a {type(value).__name__} that is no rectangular array of numbers. "
            "Accepted: a tensor or an array; pad sequences of different lengths first and pass "
            "mask= (B, T), True at the real steps."
        ) from error
    dtype = reference.dtype if tensor.is_floating_point() else tensor.dtype
    return tensor.detach().to(device=reference.device, dtype=dtype)


def _require_finite(objective: Tensor) -> None:
    if not torch.isfinite(objective):
        raise NonFiniteError(
            f"The loss on this batch is {objective.item()}, so no gradient means anything. "
            "Look for NaN or infinity in x and y, and for weights that have blown up."
        )
