"""Do the time steps share one set of weights? The answer as numbers on a model and its data.

If they do, the gradient of that one set is the sum of what each time step contributes. Both sides
are measured: the contributions from what the kernels saved, the gradient as autograd leaves it in
`.grad`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.cells import WeightSet
from gatewise.inspect.contributions import Contributions, step_contributions
from gatewise.inspect.passes import require_one_pass_a_set
from gatewise.inspect.probe import penalty_of, run_probe
from gatewise.inspect.showing import Shown
from gatewise.inspect.walk import (
    Place,
    find_set,
    full_name,
    measurable_places,
    train_recurrent_weights,
)
from gatewise.inspect.weights import SYMBOLS, derivative_sets, read_sets, source_parameters
from gatewise.kernels import Record

_TOLERANCES = {"float32": 1e-5, "float64": 1e-12}


@dataclass(frozen=True, eq=False)
class Use(Shown):
    """One call of a layer in the forward pass, and what each of its time steps contributed.

    ``norms[weight][gate]`` is (T,): the L2 norm of time step t's contribution to the gradient of
    that gate's W ("kernel"), U ("recurrent_kernel") or b ("bias"). ``totals`` (T,) is the norm
    over the whole set. ``contributions[weight]`` is (T, …) in Keras's layout, or None unless kept.
    ``masked_steps`` counts the steps that are padding in every sequence of the batch.
    """

    norms: dict[str, dict[str, np.ndarray]]
    totals: np.ndarray
    masked_steps: int
    contributions: dict[str, np.ndarray] | None = None

    @property
    def steps(self) -> int:
        """T, the number of time steps."""
        return len(self.totals)

    @property
    def contributing_steps(self) -> np.ndarray:
        """The steps t that contribute anything but zero, in order."""
        return np.flatnonzero(self.totals)


@dataclass(frozen=True, eq=False)
class SetSharing(Shown):
    """One set of weights, with all its uses.

    ``relative_errors[weight]`` is ‖Σ_t contribution_t - gradient‖ / ‖gradient‖, the sum running
    over every time step of every use; ``rounding_errors[weight]`` is the same difference relative
    to the sum of the norms of all that is added up, sample by sample and step by step: it stays
    small where contributions cancel each other out and a tiny gradient is left.
    ``gradients[weight]`` is the gradient that training uses, in Keras's layout; ``penalty_share``
    the norm of the part that regularizers put into it, relative to it. ``storage_shared_with``
    names other sets that hold some of the very same parameters.
    """

    layer: str
    label: str
    kind: str
    cell: str
    gates: tuple[str, ...]
    trainable: bool
    uses: tuple[Use, ...]
    gradients: dict[str, np.ndarray]
    relative_errors: dict[str, float]
    rounding_errors: dict[str, float]
    penalty_share: float
    storage_shared_with: tuple[str, ...]
    reverse: bool = False
    """Whether the last time step is processed first."""

    @property
    def name(self) -> str:
        """The layer's name, with the set's label where a layer has several."""
        return full_name(self.layer, self.label)

    @property
    def relative_error(self) -> float:
        """The largest of the weights' relative errors."""
        return max(self.relative_errors.values())

    @property
    def rounding_error(self) -> float:
        """The largest of the weights' rounding errors."""
        return max(self.rounding_errors.values())


@dataclass(frozen=True, eq=False)
class SharingMeasure(Shown):
    """Which weight sets the model has, and how the time steps share each of them."""

    sets: tuple[SetSharing, ...]
    loss: float
    batch: int
    dtype: str

    @property
    def relative_error(self) -> float:
        """The largest relative error between a sum of contributions and its gradient."""
        return max(one.relative_error for one in self.sets)

    @property
    def rounding_error(self) -> float:
        """The largest difference of a sum from its gradient, relative to what was added up."""
        return max(one.rounding_error for one in self.sets)

    @property
    def proved(self) -> bool:
        """Whether the sums equal the gradients to the precision of the numbers added up."""
        return self.rounding_error < _TOLERANCES.get(self.dtype, 1e-5)

    @property
    def separate_pairs(self) -> tuple[tuple[str, str], ...]:
        """The pairs of sets that have no parameter in common: each layer of a stack has its own."""
        return tuple(
            (first.name, second.name)
            for first, second in combinations(self.sets, 2)
            if second.name not in first.storage_shared_with
        )

    @property
    def used_again(self) -> tuple[SetSharing, ...]:
        """The sets that one forward pass uses more than once."""
        return tuple(one for one in self.sets if len(one.uses) > 1)

    def __getitem__(self, name: str) -> SetSharing:
        return find_set(self.sets, name)


def measure_sharing(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    mask: Any = None,
    sample_weight: Any = None,
    loss: Any = None,
    keep: bool = False,
) -> SharingMeasure:
    """Measure what each time step contributes to the gradient of the weights that all steps share.

    The objective is the one that training uses, run once forward and backward on a copy of the
    model in inference mode (no dropout); the model itself is left bit for bit as it was. A frozen
    layer is measured as if it were trained. ``x`` (B, T, I) or ids (B, T), ``y`` and ``mask`` (B,
    T; True at real steps) are arrays or tensors. A Keras-style model brings its loss from
    `compile`; any other module is called as ``model(x)`` (``model(*x)`` for a tuple), needs
    ``loss``, and ``mask`` then concerns the loss alone. With ``keep`` the contributions themselves
    are kept, T times the size of the weights.

    Raises:
        UnsupportedError: a torch.nn recurrent layer with hooks or in a subclass of its own.
        InputError: no recurrent layer, a model not built, no loss, or a prediction that is no
        tensor. NonFiniteError: the loss on this batch is NaN or infinite.

    >>> import torch
    >>> from gatewise import nn
    >>> class Last(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lstm = nn.LSTM(3, 4, batch_first=True)
    ...     def forward(self, x):
    ...         return self.lstm(x)[0][:, -1]
    >>> measure = measure_sharing(Last(), torch.ones(2, 5, 3), torch.zeros(2, 4), loss="mse")
    >>> measure.sets[0].uses[0].norms["kernel"]["f"].shape
    (5,)
    >>> measure.relative_error < 1e-5
    True
    """
    probe = run_probe(
        model,
        x,
        y,
        mask=mask,
        sample_weight=sample_weight,
        loss=loss,
        prepare=train_recurrent_weights,
    )
    found = [
        one
        for place, calls in zip(probe.places, probe.calls, strict=True)
        for one in _sets_of(place, calls, keep)
    ]
    sets = tuple(_set_sharing(one, found, _was_trainable(model, one)) for one in found)
    dtype = str(next(probe.model.parameters()).dtype).removeprefix("torch.")
    return SharingMeasure(sets, probe.loss, probe.batch, dtype)


@dataclass(frozen=True, eq=False)
class _Found:
    """A set on the copied model, with what was measured there."""

    place: Place
    weights: WeightSet
    parameters: dict[str, list[nn.Parameter]]
    gradients: dict[str, Tensor]
    penalties: dict[str, Tensor]
    records: list[Record]
    uses: list[Contributions]


def _sets_of(place: Place, calls: list[list[Record]], keep: bool) -> list[_Found]:
    sets = read_sets(place.module, lambda parameter: parameter)
    gradients = derivative_sets(place.module, lambda parameter: parameter.grad)
    penalties = _penalty_gradients(place.module)
    require_one_pass_a_set(place, sets, calls)
    found = []
    for position, one in enumerate(sets):
        records = [call[position] for call in calls]
        found.append(
            _Found(
                place,
                one,
                source_parameters(place.module, one),
                gradients[position],
                penalties[position],
                records,
                [step_contributions(record, keep) for record in records],
            )
        )
    return found


def _penalty_gradients(module: nn.Module) -> list[dict[str, Tensor]]:
    """Return what regularizers add to the gradient of each set of a module."""
    parameters = list(module.parameters())
    with torch.enable_grad():
        penalty = penalty_of(module)
    gradients: dict[int, Tensor | None] = {}
    if penalty is not None and penalty.requires_grad:
        found = torch.autograd.grad(penalty, parameters, allow_unused=True)
        gradients = {id(p): grad for p, grad in zip(parameters, found, strict=True)}
    return derivative_sets(module, lambda parameter: gradients.get(id(parameter)))


def _set_sharing(one: _Found, found: list[_Found], trainable: bool) -> SetSharing:
    names = [name for name in SYMBOLS if name in one.gradients]
    penalty = _norm(one.penalties[name] for name in names)
    gradient = _norm(one.gradients[name] for name in names)
    errors = {name: _errors(name, one, found) for name in names}
    return SetSharing(
        layer=one.place.name,
        label=one.weights.label,
        kind=type(one.place.module).__name__,
        cell=one.weights.specification.cell,
        gates=one.weights.specification.gates,
        trainable=trainable,
        uses=tuple(_use(*pair) for pair in zip(one.records, one.uses, strict=True)),
        gradients={name: one.gradients[name].cpu().numpy() for name in names},
        relative_errors={name: relative for name, (relative, _) in errors.items()},
        rounding_errors={name: rounding for name, (_, rounding) in errors.items()},
        penalty_share=_ratio(penalty, gradient),
        storage_shared_with=tuple(
            _name(other) for other in found if other is not one and _shares_storage(one, other)
        ),
        reverse=one.weights.specification.reverse,
    )


def _use(record: Record, contributions: Contributions) -> Use:
    terms = contributions.terms
    masked = 0 if record.mask is None else int((~record.mask.any(dim=0)).sum())
    return Use(
        norms={
            name: {gate: norm.cpu().numpy() for gate, norm in gates.items()}
            for name, gates in contributions.norms.items()
        },
        totals=contributions.totals.cpu().numpy(),
        masked_steps=masked,
        contributions=None
        if terms is None
        else {name: term.detach().cpu().numpy() for name, term in terms.items()},
    )


def _errors(name: str, one: _Found, found: list[_Found]) -> tuple[float, float]:
    """Compare the gradient with the sum over the steps of every pass that used these parameters.

    Return the difference relative to the gradient, and relative to what was added up.
    """
    total = one.penalties[name].double()
    scale = total.norm().item()
    for other in found:
        if _same(other.parameters.get(name, []), one.parameters[name]):
            for use in other.uses:
                total = total + use.sums[name]
                scale += use.sizes[name]
    gradient = one.gradients[name].double()
    difference, size = (total - gradient).norm().item(), gradient.norm().item()
    return _ratio(difference, size), _ratio(difference, scale)


def _ratio(part: float, whole: float) -> float:
    if whole == 0:
        return 0.0 if part == 0 else math.inf
    return part / whole


def _same(first: list[nn.Parameter], second: list[nn.Parameter]) -> bool:
    return [id(parameter) for parameter in first] == [id(parameter) for parameter in second]


def _shares_storage(one: _Found, other: _Found) -> bool:
    memory = [
        {p.untyped_storage().data_ptr() for group in each.parameters.values() for p in group}
        for each in (one, other)
    ]
    return not memory[0].isdisjoint(memory[1])


def _was_trainable(model: nn.Module, one: _Found) -> bool:
    """Return whether the user's own parameters, of which the set is a copy, are trained."""
    [own] = [
        place
        for place in measurable_places(model, torch_layers=True)
        if place.name == one.place.name
    ]
    parameters = source_parameters(own.module, one.weights).values()
    return all(parameter.requires_grad for group in parameters for parameter in group)


def _norm(tensors: Iterable[Tensor]) -> float:
    return math.sqrt(sum(tensor.double().square().sum().item() for tensor in tensors))


def _name(one: _Found) -> str:
    return full_name(one.place.name, one.weights.label)
