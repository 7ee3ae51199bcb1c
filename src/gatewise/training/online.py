"""Learning from one time step after the other, without a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from gatewise import losses
from gatewise.errors import InputError, NonFiniteError, UnsupportedError
from gatewise.gradients import Carried, Task, Trail
from gatewise.gradients.layout import layers_of, recurrent_layers, returns_sequences
from gatewise.layers import Dropout
from gatewise.training.batches import like
from gatewise.training.compiled import Compiled, compiled_of
from gatewise.training.sources import as_tensor
from gatewise.training.step import Stepper
from gatewise.training.trainable import Trainable


class Learner:
    """One series, and a model that learns while it lasts: the states and what else is carried.

    Raises `UnsupportedError` for an algorithm or a model that cannot learn at every step, and
    `InputError` for a model that is not compiled for it.
    """

    def __init__(self, model: Trainable, x: Any) -> None:
        self.compiled: Compiled = compiled_of(model, "learn_one")
        self._model = model
        self._algorithm = algorithm = self.compiled.gradient
        self._trail: Trail = algorithm.open()
        if algorithm.stride != 1:
            raise InputError(
                f"learn_one learns at every time step, and {algorithm!r} every {algorithm.stride} "
                "steps. Compile with 1 in its place, or give fit a gatewise.data.Stream."
            )
        first = _tensor(x, "x")[None, None]
        if not model.built:
            model.build(model.shape_of_data(first))
        algorithm.supports(model)
        _refuse_what_outlasts_a_step(model)
        # What a later step must look like: a word's id, or as many features.
        self._step_shape = () if model.takes_ids else tuple(model.input_shape[2:])
        self._per_step = returns_sequences(model)
        self._drops = any(isinstance(layer, Dropout) for layer in layers_of(model))
        self._optimizer = self.compiled.bind(model)
        self._stepper = Stepper(model, "learn_one")
        self._stepper.start()
        self._penalty = model.regularization
        self._steps = 0

    def learn(self, x: Any, y: Any) -> float | None:
        """Move on by the step x, learn from its label y, and return the loss; None without y."""
        self._steps += 1
        task = self._task(self._input(x), y)
        if self._drops:
            self._model.train()
        try:
            loss = None
            for part in self._algorithm.gradients(task, self._trail):
                loss, finite = self._stepper.look_at(part.objective)
                if not finite:
                    self._optimizer.zero_grad(set_to_none=True)
                    raise NonFiniteError(
                        f"The loss ({loss:.6g}) or its gradient is not finite at step "
                        f"{self._steps} of learn_one. The weights are those from before this step. "
                        "Lower the learning rate or bound the gradient (clipnorm=1.0 in the "
                        "optimizer)."
                    )
                self._optimizer.step()
            return loss
        finally:
            if self._drops:
                self._model.eval()

    @torch.no_grad()
    def predict(self, x: Any) -> np.ndarray:
        """Return what the model says to the step x after all the steps so far; it does not move."""
        carried = Carried()
        carried.end = self._trail.states
        with carried.piece():
            prediction, _ = self._model.forward_with_mask(self._input(x))
        return (prediction[0, 0] if self._per_step else prediction[0]).cpu().numpy()

    def _input(self, x: Any) -> Tensor:
        """Return a step as a series of its own (1, 1, …)."""
        step = self._model.cast_input(_tensor(x, "x"))
        if tuple(step.shape) != self._step_shape:
            wanted = f"the {self._step_shape[0]} features" if self._step_shape else "the id"
            raise InputError(
                f"learn_one takes {wanted} of one time step, of shape {self._step_shape}, but got "
                f"{tuple(step.shape)}. Feed a series step by step, x[t]; for many at once use fit."
            )
        return step.to(self._model.device)[None, None]

    def _task(self, x: Tensor, y: Any) -> Task:
        if y is None:
            labels = x  # not looked at
        else:
            labels = like(_tensor(y, "y"), self._model.dtype).to(x.device)
            labels = labels[None, None] if self._per_step else labels[None]
        loss = self.compiled.loss
        assert isinstance(loss, losses.Loss)
        return Task(
            self._model,
            loss,
            x,
            labels,
            check=loss.check,
            clear=lambda: self._optimizer.zero_grad(set_to_none=True),
            penalty=self._penalty,
            labelled=y is not None,
        )


def _tensor(value: Any, name: str) -> Tensor:
    """Return a step or a label as a tensor: as `as_tensor`, but quick for the usual array."""
    if type(value) is np.ndarray and value.dtype.kind == "f" and value.flags.carray:
        return torch.from_numpy(value)
    return as_tensor(value, name)


def _refuse_what_outlasts_a_step(model: Trainable) -> None:
    """Refuse layers that keep something of their own from step to step."""
    if model.stateful:
        raise InputError(
            f"{model.name} has a stateful layer, but learn_one carries the states itself. Make its "
            "layers with stateful=False."
        )
    for layer in recurrent_layers(model):
        if layer.dropout or layer.recurrent_dropout or layer.weight_dropout:
            raise UnsupportedError(
                f"The dropout of '{layer.name}' is drawn once for a whole series, and a series of "
                "learn_one has no end. Use Dropout layers."
            )
