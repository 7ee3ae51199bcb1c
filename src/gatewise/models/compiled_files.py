"""What a model was compiled with, as a file holds it: names and arguments, one or one an output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from gatewise import gradients, losses, metrics, optimizers
from gatewise.errors import InputError, UnsupportedError
from gatewise.models.model import Model
from gatewise.training import Compiled


def describe_compiled(model: Model) -> dict[str, Any]:
    """Return what `compile_as` reads, as JSON values; code is refused."""
    compiled = model.compiled
    assert compiled is not None
    try:
        return {
            "optimizer": optimizers.serialize(compiled.optimizer_specification),
            "gradient": gradients.serialize(compiled.gradient),
            "precision": compiled.precision,
            **(_several(compiled) if len(model.output_names) > 1 else _one(compiled)),
        }
    except UnsupportedError as error:
        raise UnsupportedError(
            f"{error} To save the rest: model.save(path, include_optimizer=False)."
        ) from error


def compile_as(model: Model, stored: Mapping[str, Any]) -> None:
    """Compile the model as a file says."""
    several = len(model.output_names) > 1
    model.compile(
        optimizer=optimizers.get(_named(stored["optimizer"])),
        loss=_read(stored["loss"], _loss) if several else _loss(stored["loss"]),
        loss_weights=stored.get("loss_weights"),
        # Files of 0.1.0 hold none: their models were trained by exact backpropagation.
        gradient=gradients.get(_named(stored["gradient"]) if "gradient" in stored else None),
        precision=stored.get("precision", "float32"),  # older files hold none
        metrics=_read(stored["metrics"], _metric),
        weighted_metrics=_read(stored["weighted_metrics"], _metric),
    )


def _one(compiled: Compiled) -> dict[str, Any]:
    return {
        "loss": None if compiled.loss is None else losses.serialize(compiled.loss),
        "metrics": [metrics.serialize(one) for one in compiled.metrics_given],
        "weighted_metrics": [metrics.serialize(one) for one in compiled.weighted_metrics_given],
    }


def _several(compiled: Compiled) -> dict[str, Any]:
    return {
        "loss": _written(compiled.loss_given, lambda one: losses.serialize(losses.get(one))),
        "loss_weights": compiled.loss_weights,
        "metrics": _written(compiled.metrics_given[0], metrics.serialize),
        "weighted_metrics": _written(compiled.weighted_metrics_given[0], metrics.serialize),
    }


def _written(given: Any, write: Callable[[Any], Any]) -> Any:
    """Return lists, and dictionaries by output, with each entry written."""
    if given is None:
        return None
    if isinstance(given, Mapping):
        return {"by_output": {name: _written(one, write) for name, one in given.items()}}
    if isinstance(given, (list, tuple)):
        return [_written(one, write) for one in given]
    return write(given)


def _read(stored: Any, read: Callable[[Any], Any]) -> Any:
    if isinstance(stored, list):
        return [_read(one, read) for one in stored]
    if isinstance(stored, dict) and stored.keys() == {"by_output"}:
        return {name: _read(one, read) for name, one in stored["by_output"].items()}
    return None if stored is None else read(stored)


def _loss(stored: Any) -> Any:
    return None if stored is None else losses.get(_named(stored))


def _metric(stored: Any) -> Any:
    """Return a metric's name, or the metric that a file describes."""
    return stored if isinstance(stored, str) else metrics.get(_named(stored))


def _named(stored: Any) -> dict[str, Any]:
    """Return a description of the form that the registries read, and nothing else."""
    if not isinstance(stored, dict) or stored.keys() != {"class_name", "config"}:
        raise InputError(f"{stored!r} names no loss, optimizer, metric or gradient.")
    return stored
