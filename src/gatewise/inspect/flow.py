"""How the gradient flows back through time: its size at every step, and against lag.

    ‖dL/dh_t‖ over t        φ_k = mean over s of ‖∂L_s/∂h_{s-k}‖ over the lag k

L_s is what the loss sends into the layer at step s. Where φ_k falls by half every few steps, the
older steps hardly train the weights (Hochreiter 1991; Bengio, Simard and Frasconi, "Learning
long-term dependencies with gradient descent is difficult", 1994); where it grows, a step of the
optimizer may throw the weights out of reach (Pascanu, Mikolov and Bengio, arXiv 1211.5063). How far
back truncated backpropagation must go follows from φ_k (Aicher, Foti and Fox, arXiv 1905.07473).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.errors import InputError
from gatewise.inspect.passes import SetPass, set_passes, use_name
from gatewise.inspect.probe import run_probe
from gatewise.inspect.showing import Shown
from gatewise.inspect.state_norms import Injection, injected, state_norms
from gatewise.inspect.walk import find_set, train_recurrent_weights

PAIRS = 32
"""How many (sample, step) pairs the curve against lag is averaged over, at most."""

SOURCES = 8
"""At how many steps s of a sample L_s is followed, at most."""

VANISHED = 1e-3
"""A gradient smaller than this part of what entered the layer counts as vanished."""

EXPLODED = 10.0
"""A gradient this many times larger than what entered the layer counts as exploding."""

TRUNCATION_LOSS = 0.1
"""The part of the sum over all lags that the suggested truncation may leave out."""


@dataclass(frozen=True, eq=False)
class StateFlow(Shown):
    """The gradient of one state, "h" or "c".

    ``by_step`` (T,) is ‖dL/dh_t‖ over the batch, h_t being the state after step t, at its own
    index; samples whose step t is padding do not count, and a step that is padding everywhere is
    NaN. ``by_sample`` (B, T) is the same for each sample. ``by_lag[k]`` is the mean of
    ‖∂L_s/∂h_{s-k}‖ over the followed pairs, k counting real steps.
    """

    by_step: np.ndarray
    by_sample: np.ndarray
    by_lag: np.ndarray


@dataclass(frozen=True, eq=False)
class SetFlow(Shown):
    """The gradient's way back through one use of a weight set.

    ``states`` holds the flow of "h" (and "c"); ``by_lag[k]`` is that of the whole state,
    √(h² + c²). ``left[k]`` relates it to what entered, over the pairs that reach back to lag k, so
    that short series do not blur it; everything below is read from it. ``pairs`` counts the
    (sample, step) pairs followed; ``steps`` is T.
    """

    layer: str
    label: str
    kind: str
    cell: str
    use: int
    uses: int
    steps: int
    pairs: int
    states: dict[str, StateFlow]
    by_lag: np.ndarray
    left: np.ndarray

    @property
    def name(self) -> str:
        """The layer's name, with the set's label and the use where there are several."""
        return use_name(self.layer, self.label, self.use, self.uses)

    @property
    def decay(self) -> float:
        """The factor by which the gradient changes a step, by least squares on its logarithm."""
        return _decay(self.left)

    @property
    def half_life(self) -> float:
        """After how many steps back half of the gradient is left; infinite if it does not fall."""
        return math.log(2) / -math.log(self.decay) if 0 < self.decay < 1 else math.inf

    @property
    def growth(self) -> float:
        """The largest gradient at any lag, relative to what entered the layer."""
        return float(self.left.max(initial=0.0))

    @property
    def reach(self) -> int:
        """How many steps the gradient goes back before it has vanished."""
        kept = np.flatnonzero(self.left >= VANISHED)
        return int(kept[-1]) + 1 if len(kept) else 0

    @property
    def suggested_k2(self) -> int:
        """The least number of steps back that keeps 90 % of the sum over all lags."""
        total = self.left.sum()
        if not total:
            return 0
        kept = np.cumsum(self.left) >= (1 - TRUNCATION_LOSS) * total
        return int(np.argmax(kept)) + 1 if np.isfinite(total) else len(self.left)

    @property
    def verdict(self) -> str:
        """One of "fine", "vanishing", "exploding", "no gradient", "one step"."""
        if not self.by_lag.any():
            return "no gradient"
        if not np.isfinite(self.left).all() or self.growth > EXPLODED:
            return "exploding"
        if len(self.by_lag) == 1:
            return "one step"
        return "vanishing" if self.reach < len(self.by_lag) else "fine"

    @property
    def cure(self) -> str:
        """What to do about the verdict, in words; empty where nothing needs to be done."""
        if self.verdict == "exploding":
            return (
                "Bound the gradient (clipnorm=1.0 in the optimizer) and lower the learning rate; "
                "start U orthogonal (recurrent_initializer='orthogonal'), and scale the input."
            )
        if self.verdict == "vanishing":
            return self._cure_of_vanishing()
        if self.verdict == "no gradient":
            return "measure_training says why no gradient reaches this layer."
        return ""

    def _cure_of_vanishing(self) -> str:
        cheap = (
            f"If the task needs no older steps, truncating at k2 = {self.suggested_k2} costs little"
        )
        if self.cell == "simple_rnn":
            return f"An LSTM or GRU keeps gradients longer. {cheap}."
        if self.cell == "gru":
            return (
                "To reach further, raise the bias of z (a z near 1 keeps h), or shorten the "
                f"series. {cheap}."
            )
        return (
            "To reach further, raise the bias of f (unit_forget_bias=True starts it at 1; log of "
            f"the time span to bridge reaches that far), or shorten the series. {cheap}."
        )


@dataclass(frozen=True, eq=False)
class GradientFlow(Shown):
    """How the gradient flows back through every recurrent weight set of a model."""

    sets: tuple[SetFlow, ...]
    loss: float
    batch: int

    def __getitem__(self, name: str) -> SetFlow:
        return find_set(self.sets, name)


def measure_gradient_flow(
    model: nn.Module,
    x: Any,
    y: Any,
    *,
    mask: Any = None,
    sample_weight: Any = None,
    loss: Any = None,
    pairs: int = PAIRS,
) -> GradientFlow:
    """Measure ‖dL/dh_t‖ and ‖dL/dc_t‖ over the steps t, and how they fall or grow with lag.

    The objective is the one that training uses, run once forward and backward on a copy of the
    model in inference mode (no dropout); the model itself is left bit for bit as it was. A frozen
    layer is measured as if it were trained. ``x`` (B, T, I) or ids (B, T), ``y`` and ``mask`` (B,
    T; True at real steps) are arrays or tensors. A Keras-style model brings its loss from
    `compile`; any other module is called as ``model(x)`` (``model(*x)`` for a tuple), needs
    ``loss``, and ``mask`` then concerns the loss alone. Against lag, at most ``pairs`` pairs of a
    sample and a step s are followed, evenly over the batch and over the steps of the second half
    at which the loss enters the layer; lags that fewer than half of the pairs reach are left out.
    The cost beyond the pass itself is one scan back over the batch and one over ``pairs`` rows.

    Raises:
        UnsupportedError: a torch.nn recurrent layer with hooks or in a subclass of its own.
        InputError: no recurrent layer, a model not built, no loss, a prediction that is no tensor,
        or ``pairs`` below 1. NonFiniteError: the loss on this batch is NaN or infinite.

    >>> import torch
    >>> from gatewise import nn
    >>> class Last(torch.nn.Module):
    ...     def __init__(self):
    ...         super().__init__()
    ...         self.lstm = nn.LSTM(3, 4, batch_first=True)
    ...     def forward(self, x):
    ...         return self.lstm(x)[0][:, -1]
    >>> flow = measure_gradient_flow(Last(), torch.ones(2, 5, 3), torch.zeros(2, 4), loss="mse")
    >>> flow.sets[0].states["c"].by_step.shape, flow.sets[0].by_lag.shape
    ((5,), (5,))
    """
    if pairs < 1:
        raise InputError(f"pairs must be at least 1 but got {pairs}.")
    probe = run_probe(
        model,
        x,
        y,
        mask=mask,
        sample_weight=sample_weight,
        loss=loss,
        prepare=train_recurrent_weights,
    )
    passes = set_passes(probe.places, probe.calls)
    return GradientFlow(tuple(flow_of(one, pairs) for one in passes), probe.loss, probe.batch)


def flow_of(one: SetPass, pairs: int) -> SetFlow:
    """Return the flow through one recorded pass whose way back has run."""
    record, real = one.record, one.real
    injection = injected(record)
    names = record.specification.states
    batch, steps = real.shape
    if injection is None:
        norms = record.x.new_zeros(batch, steps, len(names)).double()
        followed, lags = 0, np.zeros((len(names) + 2, 0))
    else:
        norms = state_norms(record, injection).double()
        sources = _sources(record.specification.reverse, injection, pairs)
        followed, lags = len(sources), _against_lag(one, injection, sources)
    norms = torch.where(real.unsqueeze(-1), norms, math.nan)
    return SetFlow(
        layer=one.place.name,
        label=one.weights.label,
        kind=type(one.place.module).__name__,
        cell=record.specification.cell,
        use=one.use,
        uses=one.uses,
        steps=steps,
        pairs=followed,
        states={
            name: StateFlow(
                _over_batch(norms[..., position], real),
                norms[..., position].cpu().numpy(),
                lags[position],
            )
            for position, name in enumerate(names)
        },
        by_lag=lags[-2],
        left=lags[-1],
    )


def _over_batch(norms: Tensor, real: Tensor) -> np.ndarray:
    """Return the norm over the samples whose step is real, (T,); NaN where there is none."""
    total = norms.nan_to_num(0.0).square().sum(dim=0).sqrt()
    return torch.where(real.any(dim=0), total, math.nan).cpu().numpy()


def _sources(reverse: bool, injection: Injection, pairs: int) -> Tensor:
    """Return the pairs (sample, processed position s) to follow, (N, 2)."""
    entering = injection.outputs.norm(dim=-1) > 0  # (B, T)
    if reverse:
        entering = entering.flip(1)
    for grad in injection.final_state:
        entering[:, -1] |= grad.norm(dim=-1) > 0
    active = torch.nonzero(entering.any(dim=0)).flatten()
    if not len(active):
        return torch.zeros(0, 2, dtype=torch.long, device=entering.device)
    late = _evenly(active[active >= int(active[-1]) // 2], min(SOURCES, pairs))
    samples = torch.nonzero(entering[:, late].any(dim=1)).flatten()
    samples = _evenly(samples, max(1, pairs // len(late)))
    chosen = torch.nonzero(entering[samples][:, late])
    return torch.stack((samples[chosen[:, 0]], late[chosen[:, 1]]), dim=1)


def _evenly(items: Tensor, number: int) -> Tensor:
    """Return at most ``number`` of the items, the last one among them."""
    if len(items) <= number:
        return items
    places = torch.linspace(len(items) - 1, 0, number, device=items.device).round().long()
    return items[places.flip(0)]


def _against_lag(one: SetPass, injection: Injection, sources: Tensor) -> np.ndarray:
    """Return by lag, (S + 2, K): the mean norm of each state, of all together, and what is left."""
    record = one.record
    samples, positions = sources.unbind(1)
    steps = one.real.shape[1]
    reverse = record.specification.reverse
    times = steps - 1 - positions if reverse else positions
    each = torch.arange(len(sources), device=sources.device)
    outputs = torch.zeros_like(injection.outputs[:1]).repeat(len(sources), 1, 1)
    outputs[each, times] = injection.outputs[samples, times]
    last = (positions == steps - 1).unsqueeze(-1)
    final = [torch.where(last, grad[samples], 0) for grad in injection.final_state]
    norms = state_norms(record, Injection(samples, outputs, final)).double()  # (N, T, S)
    norms = torch.cat((norms, norms.norm(dim=-1, keepdim=True)), dim=-1)
    real = one.real[samples]
    if reverse:
        norms, real = norms.flip(1), real.flip(1)
    passed = real.long().cumsum(dim=1)  # real steps up to and with each position
    lag = passed[each, positions].unsqueeze(1) - passed  # (N, T)
    counted = real & (lag >= 0)
    start = (norms[..., -1] * (counted & (lag == 0))).sum(dim=1, keepdim=True)
    norms = torch.cat((norms, start.unsqueeze(1).expand(-1, steps, -1)), dim=-1)
    total = norms.new_zeros(steps, norms.shape[-1]).index_add(0, lag[counted], norms[counted])
    count = torch.bincount(lag[counted], minlength=steps)
    kept = int((2 * count >= len(sources)).long().cumprod(dim=0).sum()) if len(sources) else 0
    means = total[:kept] / count[:kept].unsqueeze(-1)
    left = torch.where(means[:, -2] > 0, means[:, -2] / means[:, -1], 0)
    return torch.cat((means[:, :-1], left.unsqueeze(-1)), dim=-1).t().cpu().numpy()


def _decay(left: np.ndarray) -> float:
    lags = np.flatnonzero(left > 0)
    if len(lags) < 2 or not np.isfinite(left).all():
        return math.nan if len(lags) < 2 else math.inf
    slope = np.polyfit(lags, np.log(left[lags]), 1)[0]
    return float(np.exp(slope))
