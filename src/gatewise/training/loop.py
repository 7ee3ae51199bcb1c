"""Training, evaluation and prediction over many batches."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise.data import Stream
from gatewise.errors import InputError, NonFiniteError
from gatewise.training.batches import Batches, Repeated, Series
from gatewise.training.callbacks.backup import BackupAndRestore
from gatewise.training.callbacks.callback import Callback, Calls
from gatewise.training.callbacks.listed import as_list
from gatewise.training.callbacks.progress import ProgressBar, progress_for
from gatewise.training.compiled import compiled_of
from gatewise.training.history import History
from gatewise.training.running import Running
from gatewise.training.several import Several
from gatewise.training.snapshot import Snapshot
from gatewise.training.sources import Data, limited, sized, source_of, split, weighed
from gatewise.training.step import Stepper
from gatewise.training.streams import require_online
from gatewise.training.trainable import Trainable


@dataclass(frozen=True)
class Plan:
    """How long to train, and in which batches."""

    batch_size: int | None
    epochs: int
    initial_epoch: int
    steps_per_epoch: int | None
    shuffle: bool
    verbose: int | str


@dataclass(frozen=True)
class Validation:
    """On what to validate, and when."""

    split: float
    data: Any
    steps: int | None
    batch_size: int | None
    frequency: int | Sequence[int]

    def due(self, epoch: int) -> bool:
        """Return whether this epoch (from 0) ends with a validation."""
        if isinstance(self.frequency, int):
            return (epoch + 1) % self.frequency == 0
        return epoch + 1 in self.frequency


def fit(
    model: Trainable,
    data: Data,
    plan: Plan,
    validation: Validation,
    callbacks: Callback | Sequence[Callback] | None,
) -> History:
    """Train `model`; see `gatewise.models.Model.fit`."""
    batches, held_out, stepper = _prepare(model, data, plan, validation)
    history = History()
    # A backup comes last: it keeps what the other callbacks have done.
    given = sorted(as_list(callbacks), key=lambda one: isinstance(one, BackupAndRestore))
    watched = any(isinstance(callback, ProgressBar) for callback in given)
    listeners = [*given, history, *([] if watched else progress_for(plan.verbose))]
    known = {
        "verbose": plan.verbose,
        "epochs": plan.epochs,
        "steps": batches.steps,
        "validates": held_out is not None,
        "callbacks": given,
        "repeats": isinstance(batches, Repeated),
    }
    calls = Calls(listeners, model, known)
    model.history = history
    model.stop_training = False
    with _terminal(listeners):
        try:
            _run(model, stepper, batches, held_out, plan, validation, calls)
        finally:
            model.eval()  # also after an error or Ctrl-C
    return history


def _prepare(
    model: Trainable, data: Data, plan: Plan, validation: Validation
) -> tuple[Batches, Batches | None, Stepper]:
    """Return the training batches, the validation batches and what takes the steps."""
    compiled = compiled_of(model, "fit")
    assert compiled.loss is not None
    compiled.gradient.supports(model)
    if isinstance(data.x, Stream):
        require_online(model, data.x)
    if model.stateful and plan.shuffle:
        raise InputError(
            f"{model.name} has a stateful layer: series i of a batch goes on where series i of the "
            "batch before ended, so the samples must stay in order. Call fit(..., shuffle=False)."
        )
    source = source_of(
        model,
        data,
        labels=True,
        batch_size=plan.batch_size,
        shuffle=plan.shuffle,
    )
    source.check_finite()
    source, held_out = split(source, validation.split if validation.data is None else 0.0)
    source = sized(source, plan.batch_size, plan.steps_per_epoch)
    if held_out is not None:
        held_out = sized(held_out, validation.batch_size, validation.steps)
    if validation.data is not None:
        held_out = source_of(
            model,
            _validation_data(validation.data),
            labels=True,
            batch_size=validation.batch_size,
            steps=validation.steps,
        )
    stepper = Stepper(model, "fit")
    stepper.check_labels(source, *([] if held_out is None else [held_out]))
    batches = limited(weighed(source, data, _is_sparse(compiled.loss)), plan.steps_per_epoch)
    return batches, None if held_out is None else limited(held_out, validation.steps), stepper


def evaluate(
    model: Trainable,
    data: Data,
    batch_size: int | None,
    steps: int | None,
    verbose: int | str,
    callbacks: Callback | Sequence[Callback] | None,
) -> dict[str, float]:
    """Return the loss and the metrics by name."""
    stepper = Stepper(model, "evaluate")
    source = source_of(model, data, labels=True, batch_size=batch_size, steps=steps)
    stepper.check_labels(source)
    batches = limited(source, steps)
    listeners = [*as_list(callbacks), *progress_for(verbose)]
    with _terminal(listeners):
        return _evaluate(model, batches, stepper, Calls(listeners, model, _alone(batches, verbose)))


def predict(
    model: Trainable,
    data: Data,
    batch_size: int | None,
    steps: int | None,
    verbose: int | str,
    callbacks: Callback | Sequence[Callback] | None,
) -> np.ndarray | list[np.ndarray]:
    """Return the outputs in the order of the data."""
    source = source_of(model, data, labels=False, batch_size=batch_size, steps=steps)
    batches = limited(source, steps)
    listeners = [*as_list(callbacks), *progress_for(verbose)]
    outputs: list[Any] = []
    rows: list[int] = []
    with _terminal(listeners):
        calls = Calls(listeners, model, _alone(batches, verbose))
        for batch_rows, output in _outputs(model, batches, calls):
            rows.extend(batch_rows or ())
            outputs.append(output)
    if not outputs:
        raise InputError("The data gave no batch. Pass at least one sample.")
    if isinstance(outputs[0], Several):
        columns = zip(*(output.parts for output in outputs), strict=True)
        return model.arranged([torch.cat(column).numpy() for column in columns])
    if isinstance(source, Series):
        return _in_order(outputs, rows, [len(source.x[row]) for row in rows])
    return torch.cat(outputs).numpy()


def train_on_batch(model: Trainable, data: Data) -> dict[str, float]:
    """Take one optimizer step; return the loss and the metrics of the batch."""
    stepper = Stepper(model, "train_on_batch")
    source = source_of(model, data, labels=True, steps=1)
    source.check_finite()
    compiled = compiled_of(model, "train_on_batch")
    assert compiled.loss is not None
    compiled.gradient.supports(model)
    batch = next(iter(weighed(source, data, _is_sparse(compiled.loss)))).to(model.device)
    running = stepper.start()
    model.train()
    try:
        stepper.train(batch, running, "this batch")
    finally:
        model.eval()
    return dict(running)


def test_on_batch(model: Trainable, data: Data) -> dict[str, float]:
    """Return the loss and the metrics of one batch."""
    stepper = Stepper(model, "test_on_batch")
    return _evaluate(
        model, source_of(model, data, labels=True, steps=1), stepper, Calls([], model, {})
    )


def predict_on_batch(model: Trainable, data: Data) -> np.ndarray | list[np.ndarray]:
    """Return the outputs of one batch."""
    return predict(model, data, None, 1, 0, None)


def _run(
    model: Trainable,
    stepper: Stepper,
    batches: Batches,
    held_out: Batches | None,
    plan: Plan,
    validation: Validation,
    calls: Calls,
) -> None:
    """Run the epochs."""
    snapshot = Snapshot(model)
    logs: dict[str, float] = {}
    model.resume_epoch = None
    calls.call("on_train_begin")
    begin = plan.initial_epoch if model.resume_epoch is None else model.resume_epoch
    for epoch in range(begin, plan.epochs):
        if model.stop_training:
            break
        calls.call("on_epoch_begin", epoch)
        snapshot.take()
        model.train()
        try:
            logs = dict(_epoch(model, batches, stepper, calls, epoch))
        except NonFiniteError as error:
            if any(handle(error) for handle in calls.of("on_non_finite")):
                snapshot.restore_if_lost()
                break
            if snapshot.restore_if_lost():
                raise NonFiniteError(
                    f"{error} A weight itself had overflowed, so the weights are those from the "
                    f"beginning of epoch {epoch + 1}."
                ) from error
            raise
        model.eval()
        if held_out is not None and validation.due(epoch):
            values = _evaluate(model, held_out, stepper, calls)
            logs |= {f"val_{name}": value for name, value in values.items()}
        calls.call("on_epoch_end", epoch, logs)
        if model.stop_training:
            break
    calls.call("on_train_end", logs)


def _epoch(
    model: Trainable, batches: Batches, stepper: Stepper, calls: Calls, epoch: int
) -> Running:
    """Take every step of one epoch."""
    begins, ends = calls.of("on_train_batch_begin"), calls.of("on_train_batch_end")
    device, running = model.device, stepper.start()
    step = -1
    for step, batch in enumerate(batches):
        for method in begins:
            method(step)
        stepper.train(batch.to(device), running, f"step {step + 1} of epoch {epoch + 1}")
        for method in ends:
            method(step, running)
        if model.stop_training:
            break
    if step < 0:
        raise InputError(
            f"The data gave no batch in epoch {epoch + 1}. Pass at least one sample; a generator "
            "can be read only once, a Dataset or DataLoader in every epoch."
        )
    return running


def _evaluate(
    model: Trainable, batches: Batches, stepper: Stepper, calls: Calls
) -> dict[str, float]:
    """Return the loss and the metrics over all batches, in inference mode."""
    begins, ends = calls.of("on_test_batch_begin"), calls.of("on_test_batch_end")
    calls.call("on_test_begin")
    mode, device, running = model.training, model.device, stepper.start()
    model.eval()
    try:
        for step, batch in enumerate(batches):
            for method in begins:
                method(step)
            stepper.evaluate(batch.to(device), running)
            for method in ends:
                method(step, running)
    finally:
        model.train(mode)
    results = dict(running)
    if math.isnan(results["loss"]) and not running.samples:
        raise InputError("The data gave no batch. Pass at least one sample.")
    calls.call("on_test_end", results)
    return results


@torch.no_grad()
def _outputs(
    model: Trainable, batches: Batches, calls: Calls
) -> Iterator[tuple[Sequence[int] | None, Any]]:
    """Yield the rows and the outputs of each batch, in inference mode."""
    begins, ends = calls.of("on_predict_batch_begin"), calls.of("on_predict_batch_end")
    calls.call("on_predict_begin")
    mode = model.training
    model.eval()
    try:
        for step, batch in enumerate(batches):
            for method in begins:
                method(step)
            batch = batch.to(model.device)
            output = model.forward_with_mask(batch.x, batch.mask)[0].cpu()
            yield batch.rows, _for_numpy(output)
            for method in ends:
                method(step)
    finally:
        model.train(mode)
    calls.call("on_predict_end")


def _for_numpy(output: Any) -> Any:
    """Return the output in a type that NumPy has, which bfloat16 is not."""
    if isinstance(output, Several):
        return output.map(_for_numpy)
    return output.float() if output.dtype == torch.bfloat16 else output


@contextmanager
def _terminal(callbacks: Sequence[Callback]) -> Iterator[None]:
    """Leave the terminal without a bar, also after an error."""
    try:
        yield
    finally:
        for callback in callbacks:
            if isinstance(callback, ProgressBar):
                callback.close()


def _alone(batches: Batches, verbose: int | str) -> dict[str, Any]:
    """Return what callbacks know of an evaluation or prediction of its own."""
    return {"verbose": verbose, "epochs": 1, "steps": batches.steps, "validates": False}


def _validation_data(given: Any) -> Data:
    """Return `validation_data` as x, y and sample weight; a Dataset or DataLoader stands alone."""
    if isinstance(given, (tuple, list)):
        if not 2 <= len(given) <= 3:
            raise InputError(
                f"validation_data is (x, y) or (x, y, sample_weight), but has {len(given)} items."
            )
        return Data(*given)
    return Data(given)


def _is_sparse(loss: Any) -> bool:
    """Return whether the loss takes classes as whole numbers."""
    return "sparse" in loss.name


def _in_order(
    outputs: list[Tensor], rows: list[int], lengths: list[int]
) -> np.ndarray | list[np.ndarray]:
    """Return the outputs of ragged series in the caller's order, each of its own length."""
    single = [one.numpy() for batch in outputs for one in batch]
    if outputs[0].ndim >= 3:
        single = [one[:length] for one, length in zip(single, lengths, strict=True)]
    ordered = [single[place] for place in np.argsort(rows, kind="stable")]
    return ordered if outputs[0].ndim >= 3 else np.stack(ordered)
