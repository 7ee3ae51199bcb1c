"""Looking inside while the model trains: measures every few steps, and a warning in words.

A healthy step moves a weight by about a thousandth of its size (Karpathy, Stanford's CS231n notes,
"Ratio of weights:updates"); gates that never leave their ends pass no gradient.
"""

from __future__ import annotations

import json
import math
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from gatewise.errors import InputError, UnsupportedError
from gatewise.inspect.activity import GateActivity, SetActivity, activity_of
from gatewise.inspect.flow import GradientFlow, SetFlow, flow_of
from gatewise.inspect.passes import SetPass, set_passes
from gatewise.inspect.walk import Place, measurable_places
from gatewise.kernels import Record, recording
from gatewise.training.callbacks.callback import Callback, Logs

PAIRS = 8
"""How many (sample, step) pairs a measured step follows back through time."""

LARGE_STEP = 0.2
"""A step that moves a weight matrix by this part of its norm is too large."""

LARGE_INPUT = 10.0
"""A feature whose root mean square is above this is not scaled."""

MANY_DEAD = 0.1
"""The part of a layer's units that may be dead before a warning."""

MANY_STUCK = 0.5
"""The part of a layer's units whose gate may be stuck before a warning."""


class DiagnosisWarning(UserWarning):
    """Something that `Diagnose` saw and that will keep the model from learning."""


class Diagnose(Callback):
    """Measures gradient flow, gates and step sizes every ``every`` steps; warns once of trouble.

    It looks at the training step itself, on the batch at hand: the gates and cotangents that the
    kernels saved, and the weights before and after. The model trains as it would without it. What
    it sees goes, averaged over an epoch, into the `History` of `fit` (``"lstm/half_life"``,
    ``"lstm/growth"``, ``"lstm/memory"``, ``"lstm/dead_units"``, ``"weights/update_ratio"``; NaN for
    an epoch without a measured step), to ``path`` as one JSON object a line (appended), and into
    `records`; `flow` and `activity` are the last measures in full. A `DiagnosisWarning` names, once
    for each layer, an exploding or vanishing gradient, dead or stuck units, an input that is not
    scaled, and a learning rate too large for the weights.

    A measured step costs, beyond itself, one scan back over the batch, one over at most 8 rows, one
    read of the saved gates and a copy of the trained weights; other steps cost nothing. On CUDA the
    measured step runs the equation step by step, since cuDNN does not show its gates.

    Raises `InputError` if ``every`` is below 1 or the model holds no recurrent layer.

    >>> import numpy as np
    >>> from gatewise.layers import LSTM
    >>> from gatewise.models import Sequential
    >>> model = Sequential([LSTM(4, input_shape=(None, 2))])
    >>> model.compile(loss="mse", optimizer="sgd")
    >>> x, y = np.ones((8, 5, 2), "float32"), np.zeros((8, 4), "float32")
    >>> history = model.fit(x, y, epochs=2, verbose=0, callbacks=[Diagnose(every=1)])
    >>> sorted(history.history)[:3]
    ['loss', 'lstm/dead_units', 'lstm/growth']
    """

    def __init__(
        self, every: int = 100, path: str | os.PathLike[str] | None = None, warn: bool = True
    ) -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"every must be at least 1 but got {every}.")
        self.every = every
        self.path = None if path is None else Path(path)
        self.warn = warn
        self._begin()

    def _begin(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.flow: GradientFlow | None = None
        self.activity: GateActivity | None = None
        self._step = self._epoch = 0
        self._watch: _Watch | None = None
        self._of_epoch: list[dict[str, float]] = []
        self._warned: set[tuple[str, str]] = set()

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Forget an earlier run, and refuse a model without recurrent layers."""
        if self._watch is not None:
            self._watch.end()
        self._begin()
        measurable_places(self.model)

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Note which epoch it is."""
        self._epoch, self._of_epoch = epoch, []

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Begin to watch, if this step is to be measured."""
        if self._step % self.every == 0:
            self._watch = _Watch(self.model)

    def on_train_batch_end(self, batch: int, logs: Logs | None = None) -> None:
        """Measure a step that was watched."""
        if self._watch is not None:
            watch, self._watch = self._watch, None
            watch.end()
            self._measure(watch)
        self._step += 1

    def on_epoch_end(self, epoch: int, logs: Logs | None = None) -> None:
        """Write the epoch's means to the history of the run."""
        history = self.model.history.history
        # Names that a measured step gave in any epoch, so that every list has a value an epoch.
        for name in dict.fromkeys(name for record in self.records for name in _flat(record)):
            values = history.setdefault(name, [math.nan] * len(self.model.history.epoch))
            seen = [one[name] for one in self._of_epoch if name in one]
            values.append(sum(seen) / len(seen) if seen else math.nan)

    @torch.no_grad()
    def _measure(self, watch: _Watch) -> None:
        passes = watch.passes()
        flows = tuple(flow_of(one, PAIRS) for one in passes)
        activities = tuple(activity_of(one, units=()) for one in passes)
        batch = len(passes[0].record.x) if passes else 0
        self.flow = GradientFlow(flows, math.nan, batch)
        self.activity = GateActivity(activities, batch)
        ratios = watch.update_ratios()
        found = [
            *_of_flow(flows, watch.trained),
            *_of_units(activities),
            *_of_input(passes),
            *_of_step(ratios),
            *watch.hidden,
        ]
        record: dict[str, Any] = {
            "step": self._step,
            "epoch": self._epoch,
            "sets": {
                flow.name: _numbers(flow, activity)
                for flow, activity in zip(flows, activities, strict=True)
            },
            "update_ratios": ratios,
            "warnings": [words for _, _, words in found],
        }
        self.records.append(record)
        self._of_epoch.append(_flat(record))
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n")
        for kind, name, words in found:
            if self.warn and (kind, name) not in self._warned:
                self._warned.add((kind, name))
                warnings.warn(f"Step {self._step + 1}: {words}", DiagnosisWarning, stacklevel=2)


class _Watch:
    """Records what the recurrent layers do in one training step.

    Each layer opens its own recording and closes it, also after an error, so nothing is left open
    if the step fails.
    """

    def __init__(self, model: nn.Module) -> None:
        self.places: list[Place] = measurable_places(model)
        self.calls: list[list[list[Record]]] = [[] for _ in self.places]
        self.hidden: list[_Finding] = []
        self.weights = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.trained = {
            place.name
            for place in self.places
            if any(parameter.requires_grad for parameter in place.module.parameters())
        }
        self.before = {name: p.detach().clone() for name, p in self.weights.items()}
        self._handles = [
            handle
            for place, calls in zip(self.places, self.calls, strict=True)
            for handle in _hooks(place.module, calls)
        ]

    def end(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()

    def passes(self) -> list[SetPass]:
        """Return what was recorded, by weight set; nothing of what did not run in the open."""
        found = []
        for place, calls in zip(self.places, self.calls, strict=True):
            try:
                found += set_passes([place], [[call for call in calls if call]])
            except UnsupportedError as error:
                self.hidden.append(("hidden", place.name, str(error)))
        return found

    def update_ratios(self) -> dict[str, float]:
        """Return ‖step‖ / ‖weight‖ of each trained weight matrix."""
        ratios = {}
        for name, before in self.before.items():
            size = before.norm().item()
            # Biases start at zero, where no ratio means anything.
            if before.dim() >= 2 and size and "bias" not in name.rpartition(".")[2]:
                ratios[name] = (self.weights[name].detach() - before).norm().item() / size
        return ratios


def _hooks(module: nn.Module, calls: list[list[Record]]) -> Iterator[Any]:
    open_recordings: list[Any] = []

    def before(module: nn.Module, arguments: Any) -> None:
        if not module.training:
            return  # The step that was to be watched has failed, and this is another call.
        context = recording()
        open_recordings.append((context, context.__enter__()))

    def after(module: nn.Module, arguments: Any, output: Any) -> None:
        if not open_recordings:
            return
        context, records = open_recordings.pop()
        context.__exit__(None, None, None)
        for record in records:
            # The optimizer will change the weights in place before they are looked at.
            record.weights = [weight.detach().clone() for weight in record.weights]
        calls.append(records)

    yield module.register_forward_pre_hook(before)
    yield module.register_forward_hook(after, always_call=True)


def _numbers(flow: SetFlow, activity: SetActivity) -> dict[str, Any]:
    memory = activity.memory
    gates = {
        name: [signal.below_share, signal.above_share]
        for name, signal in activity.signals.items()
        if signal.ends is not None
    }
    return {
        "verdict": flow.verdict,
        "growth": flow.growth,
        "half_life": flow.half_life,
        "reach": flow.reach,
        "suggested_k2": flow.suggested_k2,
        "steps": flow.steps,
        "memory": None if memory is None else float(torch.from_numpy(memory).median()),
        "dead_units": len(activity.dead_units),
        "saturation": gates,
    }


def _flat(record: dict[str, Any]) -> dict[str, float]:
    """Return what goes into the history, by name."""
    flat = {
        f"{name}/{what}": float(numbers[what])
        for name, numbers in record["sets"].items()
        for what in ("growth", "half_life", "memory", "dead_units")
        if numbers[what] is not None
    }
    if record["update_ratios"]:
        flat["weights/update_ratio"] = max(record["update_ratios"].values())
    return flat


def _finite(value: Any) -> Any:
    """Return the same with null for NaN and infinity, which JSON does not have."""
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in value.items()}
    if isinstance(value, list):
        return [_finite(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


_Finding = tuple[str, str, str]  # kind, where, words


def _of_flow(flows: tuple[SetFlow, ...], trained: set[str]) -> Iterator[_Finding]:
    for flow in flows:
        if flow.verdict == "exploding":
            words = f"grows to {flow.growth:.3g} times what entered it"
        elif flow.verdict == "vanishing":
            words = f"is below a thousandth after {flow.reach} of {len(flow.by_lag)} steps"
        else:
            continue
        if flow.layer in trained:
            yield (
                flow.verdict,
                flow.name,
                f"the gradient in {flow.name} is {flow.verdict}: going back it {words}. "
                f"{flow.cure}",
            )


def _of_units(activities: tuple[SetActivity, ...]) -> Iterator[_Finding]:
    for activity in activities:
        dead = len(activity.dead_units)
        if activity.real_steps and dead > MANY_DEAD * activity.size:
            yield (
                "dead",
                activity.name,
                f"{dead} of {activity.size} units of {activity.name} are dead: their h never "
                "leaves 0. Lower the learning rate, scale the input, or use tanh in place of relu.",
            )
        stuck = {
            gate: len(units)
            for gate, units in activity.stuck_units.items()
            if activity.real_steps and len(units) > MANY_STUCK * activity.size
        }
        if stuck:
            which = ", ".join(f"{count} at {gate}" for gate, count in stuck.items())
            yield (
                "saturated",
                activity.name,
                f"gates of {activity.name} hardly ever leave one end, where no gradient passes "
                f"({which}, of {activity.size} units). Scale the input, lower the learning rate, "
                "or start from smaller weights.",
            )


def _of_input(passes: list[SetPass]) -> Iterator[_Finding]:
    for one in passes:
        # What needs a gradient was computed by a layer; only data can be scaled.
        if one.record.x.requires_grad or not one.real.any():
            continue
        sizes = one.record.x[one.real].double().square().mean(dim=0).sqrt()  # (I,)
        worst = int(sizes.argmax())
        if sizes[worst] > LARGE_INPUT:
            yield (
                "input",
                one.place.name,
                f"the input of {one.place.name} is not scaled: feature {worst} has values around "
                f"{sizes[worst].item():.3g}. Use gatewise.data.StandardScaler.fit(x) on the "
                "training series.",
            )


def _of_step(ratios: dict[str, float]) -> Iterator[_Finding]:
    large: list[str] = [name for name, ratio in ratios.items() if ratio > LARGE_STEP]
    if large:
        worst = max(large, key=lambda name: ratios[name])
        yield (
            "step",
            "",
            f"the learning rate is too large: one step moved {worst} by {ratios[worst]:.0%} of its "
            "size, where about 0.1% is healthy. Divide the learning rate by 10 or more.",
        )
