"""Looking inside while the model trains: measures every few steps, and a warning in words."""

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
from gatewise.training.callbacks.findings import (
    Finding,
    of_flow,
    of_input,
    of_overflow,
    of_step,
    of_units,
)
from gatewise.training.callbacks.tensorboard import writer_class

PAIRS = 8
"""How many (sample, step) pairs a measured step follows back through time."""


class DiagnosisWarning(UserWarning):
    """Something that `Diagnose` saw and that will keep the model from learning."""


class Diagnose(Callback):
    """Measures gradient flow, gates and step sizes every ``every`` steps; warns once of trouble.

    It looks at the training step itself, on the batch at hand: the gates and cotangents that the
    kernels saved, and the weights before and after. The model trains as it would without it. What
    it sees goes, averaged over an epoch, into the `History` of `fit` (``"lstm/half_life"``,
    ``"lstm/growth"``, ``"lstm/memory"``, ``"lstm/dead_units"``, ``"weights/update_ratio"``; NaN for
    an epoch without a measured step), to ``path`` as one JSON object a line (appended), to
    TensorBoard under ``log_dir``/diagnose (needs the extra `gatewise[tensorboard]`), and into
    `records`; `flow` and `activity` are the last measures in full. A `DiagnosisWarning` names, once
    for each layer, an exploding or vanishing gradient, dead or stuck units, an input that is not
    scaled, and, once, a learning rate too large for the weights and a NaN in the making.

    A measured step costs, beyond itself, one scan back over the batch, one over at most 8 rows, one
    read of the saved gates and a copy of the trained weights; other steps cost nothing. On CUDA the
    measured step runs the equation step by step, since cuDNN does not show its gates.

    Raises `InputError` if ``every`` is below 1, the model holds no recurrent layer, or TensorBoard
    is asked for and not installed.

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
        self,
        every: int = 100,
        path: str | os.PathLike[str] | None = None,
        warn: bool = True,
        log_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        super().__init__()
        if every < 1:
            raise InputError(f"every must be at least 1 but got {every}.")
        self.every = every
        self.path = None if path is None else Path(path)
        self.warn = warn
        self.log_dir = None if log_dir is None else os.path.join(os.fspath(log_dir), "diagnose")
        self._writer: Any = None
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
        if self.log_dir is not None:
            self._writer = writer_class()(self.log_dir)

    def on_train_end(self, logs: Logs | None = None) -> None:
        """Close the file of TensorBoard."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None

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
            *of_flow(flows, watch.trained),
            *of_units(activities),
            *of_input(passes),
            *of_step(ratios),
            *of_overflow(passes, activities, watch.weights),
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
        self._write(record)
        for kind, name, words in found:
            if self.warn and (kind, name) not in self._warned:
                self._warned.add((kind, name))
                warnings.warn(f"Step {self._step + 1}: {words}", DiagnosisWarning, stacklevel=2)

    def _write(self, record: dict[str, Any]) -> None:
        self.records.append(record)
        flat = _flat(record)
        self._of_epoch.append(flat)
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(_finite(record), ensure_ascii=False, allow_nan=False) + "\n")
        if self._writer is not None:
            for name, value in flat.items():
                self._writer.add_scalar(name, value, self._step)
            for name, ratio in record["update_ratios"].items():
                self._writer.add_scalar(f"update_ratio/{name}", ratio, self._step)
            for words in record["warnings"]:
                self._writer.add_text("warnings", words, self._step)
            self._writer.flush()


class _Watch:
    """Records what the recurrent layers do in one training step.

    Each layer opens its own recording and closes it, also after an error, so nothing is left open
    if the step fails.
    """

    def __init__(self, model: nn.Module) -> None:
        self.places: list[Place] = measurable_places(model)
        self.calls: list[list[list[Record]]] = [[] for _ in self.places]
        self.hidden: list[Finding] = []
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
