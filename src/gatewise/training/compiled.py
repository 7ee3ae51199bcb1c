"""What `compile` chose: the loss, the optimizer, the metrics, the gradient and the precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from gatewise import gradients, losses, metrics, optimizers
from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients.layout import refuse_quantized
from gatewise.training.joint import joint_loss, joint_metrics, output_losses
from gatewise.training.trainable import Trainable

_TRAINING = ("fit", "train_on_batch", "learn_one")


class Compiled:
    """The loss, optimizer, metrics and gradient of a model, resolved from names or objects.

    `optimizer` is bound to the model's weights as soon as there are any: it holds all of them, so
    that freezing or unfreezing a layer takes effect at the next step.
    """

    def __init__(
        self,
        optimizer: Any,
        loss: Any,
        metrics_given: Sequence[Any] | str | None,
        weighted_metrics: Sequence[Any] | str | None,
        *,
        outputs: Sequence[str] = (),
        loss_weights: Any = None,
        gradient: Any = None,
        precision: str = "float32",
    ) -> None:
        self.gradient = gradients.get(gradient)
        self.precision = precision
        self.optimizer_specification = optimizers.get(optimizer)
        self.optimizer: torch.optim.Optimizer | None = None
        self.loss_given, self.loss_weights = loss, loss_weights
        self.loss: losses.Loss | None
        if len(outputs) > 1 and loss is not None:
            self.loss = joint = joint_loss(loss, loss_weights, outputs)
            self.metrics_given, self.weighted_metrics_given = [metrics_given], [weighted_metrics]
            reported = output_losses(joint, outputs)
            self.metrics = joint_metrics(metrics_given, joint, outputs)
            self.weighted_metrics = [*reported, *joint_metrics(weighted_metrics, joint, outputs)]
            self._refuse_twins()
            return
        self.loss = None if loss is None else losses.get(_only(loss))
        self.metrics_given = _listed(_only(metrics_given))
        self.weighted_metrics_given = _listed(weighted_metrics)
        self.metrics = [metrics.get(one, self.loss) for one in self.metrics_given]
        self.weighted_metrics = [metrics.get(one, self.loss) for one in self.weighted_metrics_given]
        self._refuse_twins()

    def _refuse_twins(self) -> None:
        names = [metric.name for metric in self.all_metrics]
        twice = {name for name in names if names.count(name) > 1} | ({"loss"} & set(names))
        if twice:
            raise InputError(
                f"Two values would be reported as '{sorted(twice)[0]}'. Give one metric another "
                "name."
            )

    @property
    def all_metrics(self) -> list[metrics.Metric]:
        """The metrics in the order in which they are reported."""
        return [*self.metrics, *self.weighted_metrics]

    def bind(self, model: Trainable) -> torch.optim.Optimizer:
        """Return the optimizer over the model's weights, made at the first call."""
        if self.optimizer is None:
            self.optimizer = self.optimizer_specification.bind(model.named_parameters())
        return self.optimizer

    def unbind(self) -> None:
        """Forget the bound optimizer and its state: the model has other weights now."""
        self.optimizer = None


def compiled_of(model: Trainable, wanted: str) -> Compiled:
    """Return what the model was compiled with, or raise the error that says how to compile."""
    if wanted in _TRAINING:
        refuse_quantized(model, wanted)
    if model.compiled is None:
        raise InputError(
            f"{model.name} is not compiled, and {wanted} needs a loss and an optimizer. Call "
            'model.compile(optimizer="rmsprop", loss="binary_crossentropy") first.'
        )
    if model.compiled.loss is None:
        raise InputError(
            f"{model.name} was compiled without a loss, which {wanted} needs. "
            'Call model.compile(loss="mse", ...).'
        )
    return model.compiled


def refuse_unsupported(
    loss_weights: object, steps_per_execution: int, jit_compile: bool | str
) -> None:
    """Raise `UnsupportedError` for arguments of `compile` that cannot be honoured."""
    if loss_weights is not None:
        raise UnsupportedError(
            "loss_weights weighs the outputs of a model against each other, and this model has "
            "one. Leave it out; to scale the loss, scale the learning rate."
        )
    if steps_per_execution != 1:
        raise UnsupportedError(
            f"steps_per_execution={steps_per_execution} is not offered: every step runs on its "
            "own. Leave it at 1."
        )
    if jit_compile not in (False, "auto", None):
        raise UnsupportedError(
            "jit_compile=True is not offered: the recurrent kernels are compiled already. Leave "
            "it out, or use torch.compile(model) in a loop of your own."
        )


def _only(given: Any) -> Any:
    """Return the one entry of a dictionary, which is for the one output."""
    return next(iter(given.values())) if isinstance(given, Mapping) and len(given) == 1 else given


def _listed(given: Sequence[Any] | str | None) -> list[Any]:
    """Return the names or objects as a list."""
    if given is None:
        return []
    return [given] if isinstance(given, str) or not isinstance(given, Sequence) else list(given)
