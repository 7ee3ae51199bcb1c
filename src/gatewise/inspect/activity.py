"""What the gates do on a model's data: how open they are, what stays shut, how long c remembers.

The shares of steps at which a gate is nearly shut (below 0.1) or wide open (above 0.9) are those of
Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks" (arXiv
1506.02078). A unit whose forget gate is f on average keeps its memory for about 1/(1 - f) steps.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.cells import (
    KEEPERS,
    Specification,
    Weights,
    lstm,
    split_gates,
    units_of,
)
from gatewise.errors import InputError
from gatewise.inspect.passes import SetPass, set_passes, use_name
from gatewise.inspect.probe import run_forward
from gatewise.inspect.showing import Shown
from gatewise.inspect.walk import find_set

ENDS = {"sigmoid": (0.1, 0.9), "hard_sigmoid": (0.1, 0.9), "tanh": (-0.9, 0.9)}
"""Below and above which values an activation counts as saturated; others have no ends."""

BINS = 20
"""How many bars the histogram of a signal has."""

DEAD = 1e-3
"""A unit whose h stays within this of zero at every real step is dead."""

STUCK = 0.95
"""A gate that is saturated at one end at this share of the steps is stuck there."""

PIECE_BYTES = 32 * 2**20
"""How much memory the reduction of one piece of time may take, at most."""


@dataclass(frozen=True, eq=False)
class Signal(Shown):
    """One gate or state of a weight set, over all units, real steps and samples.

    ``mean``, ``deviation``, ``largest`` (of the absolute value) are (H,), one number a unit.
    ``below`` and ``above`` (H,) are the shares of the steps at which it lies below ``ends[0]`` or
    above ``ends[1]``; None where its activation has no ends. ``histogram`` counts all values in
    bins with ``edges``. ``values`` (T, units), or (B, T, units) for all samples, is what was asked
    for: NaN at padding, where no gate is computed; a state is carried there.
    """

    name: str
    mean: np.ndarray
    deviation: np.ndarray
    largest: np.ndarray
    ends: tuple[float, float] | None
    below: np.ndarray | None
    above: np.ndarray | None
    histogram: np.ndarray
    edges: np.ndarray
    values: np.ndarray

    @property
    def below_share(self) -> float:
        """The share of all values below the lower end; NaN where there are no ends."""
        return math.nan if self.below is None else float(self.below.mean())

    @property
    def above_share(self) -> float:
        """The share of all values above the upper end; NaN where there are no ends."""
        return math.nan if self.above is None else float(self.above.mean())

    @property
    def stuck_units(self) -> np.ndarray:
        """The units that sit at one end nearly all the time."""
        if self.below is None or self.above is None:
            return np.zeros(0, dtype=np.int64)
        return np.flatnonzero((self.below >= STUCK) | (self.above >= STUCK))


@dataclass(frozen=True, eq=False)
class SetActivity(Shown):
    """What the gates and states of one use of a weight set did.

    ``signals`` holds i, f, g, o, h, c of an LSTM; z, r, candidate, h of a GRU; h of a simple RNN.
    ``memory`` (H,) is 1/(1 - mean f) of each unit in steps (z for a GRU), None for a cell without
    such a gate. ``dead_units`` are those whose h never leaves zero. ``units`` are the units and
    ``sample`` the sample (None: all) whose ``values`` are kept, ``real`` (T,) or (B, T) its mask;
    ``real_steps`` counts the (sample, step) pairs measured.
    """

    layer: str
    label: str
    kind: str
    cell: str
    use: int
    uses: int
    steps: int
    real_steps: int
    signals: dict[str, Signal]
    memory: np.ndarray | None
    dead_units: np.ndarray
    units: np.ndarray
    sample: int | None
    real: np.ndarray

    @property
    def name(self) -> str:
        """The layer's name, with the set's label and the use where there are several."""
        return use_name(self.layer, self.label, self.use, self.uses)

    @property
    def size(self) -> int:
        """H, the number of units."""
        return len(self.signals["h"].mean)

    @property
    def stuck_units(self) -> dict[str, np.ndarray]:
        """The units stuck at one end, by gate; the states are left out."""
        return {
            name: signal.stuck_units
            for name, signal in self.signals.items()
            if signal.ends == ENDS["sigmoid"]
        }


@dataclass(frozen=True, eq=False)
class GateActivity(Shown):
    """What the gates of every recurrent weight set of a model do on a batch."""

    sets: tuple[SetActivity, ...]
    batch: int

    @property
    def arrays(self) -> dict[str, dict[str, np.ndarray]]:
        """The values over time by weight set and signal, for the units and sample asked for."""
        return {
            one.name: {name: signal.values for name, signal in one.signals.items()}
            for one in self.sets
        }

    def __getitem__(self, name: str) -> SetActivity:
        return find_set(self.sets, name)


def measure_gates(
    model: nn.Module,
    x: Any,
    *,
    mask: Any = None,
    units: Sequence[int] | None = None,
    sample: int | None = 0,
) -> GateActivity:
    """Measure what every gate and state does over time: the distribution, and chosen units.

    One forward pass on a copy of the model in inference mode; neither labels nor a loss are needed,
    and the model itself is left bit for bit as it was. Statistics run over all units, samples and
    real steps; the values over time are kept for ``units`` (None: all of every layer) of one
    ``sample`` (None: all samples). ``x`` (B, T, I) or ids (B, T) and ``mask`` (B, T; True at real
    steps) are arrays or tensors; a tuple is called as ``model(*x)``. A model with several inputs
    (such as `Seq2Seq`) takes them as `fit` does: a list or a dictionary, and then a mask an input.

    Raises:
        UnsupportedError: a torch.nn recurrent layer with hooks or in a subclass of its own.
        InputError: no recurrent layer, a model not built, a sample or unit that is not there, or a
        ``mask`` for a module that takes none.

    >>> import torch
    >>> from gatewise import nn
    >>> measure = measure_gates(nn.LSTM(3, 4, batch_first=True), torch.ones(2, 5, 3))
    >>> sorted(measure.arrays["lstm (layer 0)"])
    ['c', 'f', 'g', 'h', 'i', 'o']
    >>> measure.arrays["lstm (layer 0)"]["f"].shape, measure.sets[0].memory.shape
    ((5, 4), (4,))
    """
    probe = run_forward(model, x, mask)
    if sample is not None and not -probe.batch <= sample < probe.batch:
        raise InputError(
            f"sample={sample} is not in a batch of {probe.batch}. Give 0 to {probe.batch - 1}, or "
            "None for all."
        )
    passes = set_passes(probe.places, probe.calls)
    return GateActivity(
        tuple(activity_of(one, units=units, sample=sample) for one in passes), probe.batch
    )


def activity_of(
    one: SetPass, *, units: Sequence[int] | None = None, sample: int | None = 0
) -> SetActivity:
    """Return what the gates and states of one recorded pass did."""
    record, real = one.record, one.real
    # Units are those of the gates and of c; a projected h has other, fewer numbers.
    size = units_of(record.weights, record.specification)
    chosen = _chosen(units, size, one)
    signals = {
        name: _signal(name, tensor, real, ends, kept, chosen, sample)
        for name, tensor, ends, kept in _tensors(one)
    }
    keeper = KEEPERS.get(record.specification.cell)
    with np.errstate(divide="ignore"):
        memory = None if keeper is None else 1 / np.maximum(1 - signals[keeper].mean, 0.0)
    return SetActivity(
        layer=one.place.name,
        label=one.weights.label,
        kind=type(one.place.module).__name__,
        cell=record.specification.cell,
        use=one.use,
        uses=one.uses,
        steps=real.shape[1],
        real_steps=int(real.sum()),
        signals=signals,
        memory=memory,
        dead_units=np.flatnonzero(signals["h"].largest < DEAD),
        units=chosen.cpu().numpy(),
        sample=sample,
        real=(real if sample is None else real[sample]).cpu().numpy(),
    )


def _chosen(units: Sequence[int] | None, size: int, one: SetPass) -> Tensor:
    device = one.record.x.device
    if units is None:
        return torch.arange(size, device=device)
    for unit in units:
        if not 0 <= unit < size:
            raise InputError(
                f"units={list(units)} holds {unit}, but '{one.place.name}' has {size} units. Give "
                f"numbers from 0 to {size - 1}."
            )
    return torch.tensor(list(units), dtype=torch.long, device=device)


_Ends = tuple[float, float] | None


def _tensors(one: SetPass) -> Iterator[tuple[str, Tensor, _Ends, bool]]:
    """Yield name, values (B, T, H), ends, and whether padding carries the value (a state does)."""
    record, specification = one.record, one.record.specification
    assert record.outputs is not None and record.gates is not None and record.saved is not None
    squashed = _ends(specification.activation)
    for gate, values in split_gates(record.gates, specification.cell).items():
        candidate = gate in ("g", "h")
        if specification.cell == "simple_rnn":
            continue  # its one candidate is h itself
        name = "candidate" if gate == "h" else gate
        ends = squashed if candidate else _ends(specification.recurrent_activation)
        yield name, values, ends, False
    hidden = record.outputs
    if specification.projection:
        # Of a unit's own: what it gives to the projection, which mixes the units.
        hidden = lstm.shown(
            record.gates, record.saved, Weights.of(record.weights, specification), specification
        )
    yield "h", hidden, squashed, not specification.projection
    if "c" in specification.states:
        memory = record.saved[..., : units_of(record.weights, specification)]
        yield "c", memory, _ends_of_memory(specification), True


def _ends(activation: Any) -> _Ends:
    return ENDS.get(activation) if isinstance(activation, str) else None


def _ends_of_memory(specification: Specification) -> _Ends:
    """Return where tanh(c) is at its ends: c itself has none."""
    if specification.activation != "tanh":
        return None
    low, high = ENDS["tanh"]
    return math.atanh(low), math.atanh(high)


@torch.no_grad()
def _signal(
    name: str,
    values: Tensor,
    real: Tensor,
    ends: _Ends,
    carried: bool,
    units: Tensor,
    sample: int | None,
) -> Signal:
    values = values.detach()
    count = max(1, int(real.sum()))
    size = values.shape[-1]
    sums = torch.zeros(4, size, dtype=torch.float64, device=values.device)
    largest = torch.zeros(size, dtype=torch.float64, device=values.device)
    edges = _edges(values, real, ends)
    histogram = torch.zeros(BINS, dtype=torch.int64)
    low, high = edges[0].item(), edges[-1].item()
    for piece in _pieces(values, real):  # (n, H), real steps only
        sums[0] += piece.sum(dim=0, dtype=torch.float64)
        if ends is not None:
            sums[2] += (piece < ends[0]).sum(dim=0)
            sums[3] += (piece > ends[1]).sum(dim=0)
        largest = torch.maximum(largest, piece.abs().amax(dim=0).double())
        histogram += torch.histc(piece, BINS, low, high).cpu().long()
    mean = sums[0] / count
    for piece in _pieces(values, real):
        sums[1] += (piece - mean.to(piece.dtype)).square().sum(dim=0, dtype=torch.float64)
    deviation, below, above = (sums[1] / count).sqrt(), sums[2] / count, sums[3] / count
    kept = values.index_select(-1, units)
    shown = real.unsqueeze(-1)
    kept, shown = (kept, shown) if sample is None else (kept[sample], shown[sample])
    return Signal(
        name=name,
        mean=mean.cpu().numpy(),
        deviation=deviation.cpu().numpy(),
        largest=largest.cpu().numpy(),
        ends=ends,
        below=None if ends is None else below.cpu().numpy(),
        above=None if ends is None else above.cpu().numpy(),
        histogram=histogram.numpy(),
        edges=edges.numpy(),
        values=(kept.clone() if carried else torch.where(shown, kept, math.nan)).cpu().numpy(),
    )


def _edges(values: Tensor, real: Tensor, ends: _Ends) -> Tensor:
    """Return the edges of the histogram: the activation's range, or what the values span."""
    if ends == ENDS["sigmoid"]:
        low, high = 0.0, 1.0
    elif ends == ENDS["tanh"]:
        low, high = -1.0, 1.0
    else:
        extremes = [torch.aminmax(piece) for piece in _pieces(values, real)]
        low = min((float(one.min) for one in extremes), default=0.0)
        high = max((float(one.max) for one in extremes), default=1.0)
        high = high if high > low else low + 1.0
    return torch.linspace(low, high, BINS + 1, dtype=torch.float64)


def _pieces(values: Tensor, real: Tensor) -> Iterable[Tensor]:
    """Yield the values at real steps, (n, H), one piece of time at a time."""
    step_bytes = values.shape[0] * values.shape[-1] * values.element_size()
    length = max(1, PIECE_BYTES // step_bytes)
    for start in range(0, values.shape[1], length):
        now = slice(start, start + length)
        if real[:, now].any():
            yield values[:, now][real[:, now]]
