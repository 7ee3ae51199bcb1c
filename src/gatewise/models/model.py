"""The base of every gatewise model: an `nn.Module` that knows its input shape and Keras's verbs.

The verbs are thin: `fit`, `evaluate` and `predict` hand over to `gatewise.training`, `summary` to
`gatewise.inspect`, `save` to `gatewise.models.saving`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gatewise import training
from gatewise.errors import InputError, UnsupportedError
from gatewise.gradients import GradientAlgorithm
from gatewise.layers import Embedding, Layer
from gatewise.layers.by_call import run_call, shape_by_running
from gatewise.layers.registry import snake_case
from gatewise.layers.symbol import call_on_symbols, is_symbolic
from gatewise.models.online import Online
from gatewise.training import Callback, Compiled, History, Several

Shape = tuple[int | None, ...]


class Model(Online, nn.Module):
    """A module with an input shape, layers, and Keras's verbs; the base of `Sequential`.

    `Model(inputs, outputs)` is a model drawn as a graph, see `Functional`. A model of your own is a
    subclass with layers as attributes and a `call(self, inputs)`, which may also take `mask` and
    `training`; its weights are made by `build` or by the first data. Models start in
    inference mode, as calling a Keras model does; `fit`
    switches to training mode and back. Everything of `torch` works on a model: `state_dict`,
    `torch.compile`, `torch.export`, DDP, hooks.
    """

    def __new__(cls, *arguments: Any, **keywords: Any) -> Any:
        """Return a `Functional` for `Model(inputs, outputs)`."""
        if cls is Model and (arguments or keywords.keys() & {"inputs", "outputs"}):
            from gatewise.models.functional import Functional

            return object.__new__(Functional)
        return super().__new__(cls)

    def __init__(self, *, name: str | None = None) -> None:
        super().__init__()
        self.name = name or snake_case(type(self).__name__)
        self.calls: list[Any] = []
        self._built_for: Any = None
        self.labels: list[str] | None = None
        self.preprocessing: Any = None
        self.compiled: Compiled | None = None
        self.history: History | None = None
        self.stop_training = False
        self.resume_epoch: int | None = None
        self.training = False

    is_chain: ClassVar[bool] = False
    """Whether `layers` are applied one after the other and nothing else is."""

    # What a model of the user's own gets from its `call`; Sequential and Functional have their own.

    @property
    def layers(self) -> list[Layer | Model]:
        """The layers in the order in which they are applied, or were made attributes."""
        return [one for one in self.children() if isinstance(one, (Layer, Model))]

    @property
    def input_shape(self) -> Any:
        """The input's shape with its batch axis, such as `(None, None, 100)`; None if unknown."""
        return self._built_for

    @property
    def output_shape(self) -> Any:
        """The output's shape with its batch axis, such as `(None, 1)`; None if unknown."""
        return None if self._built_for is None else self.compute_output_shape(self._built_for)

    @property
    def built(self) -> bool:
        """Whether every layer has its weights."""
        return self._built_for is not None

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape (with the batch axis)."""
        if self._built_for is None:
            shape_by_running(self, input_shape, self.takes_ids)
            self._built_for = tuple(input_shape)

    def compute_output_shape(self, input_shape: Any) -> Any:
        """Return the output's shape for inputs of this shape (with the batch axis)."""
        return shape_by_running(self, input_shape, self.takes_ids)

    def get_config(self) -> dict[str, Any]:
        """Return the model's layers and shape as JSON values."""
        raise UnsupportedError(
            f"{type(self).__name__} is code, so no configuration can hold it. Draw the model, "
            "Model(inputs, outputs), to have it in a file; save_weights(path) keeps the weights."
        )

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Return the output: what a model of your own defines, as in Keras."""
        raise NotImplementedError(f"{type(self).__name__} needs a method call(self, inputs).")

    def forward_with_mask(self, x: Any, mask: Any = None) -> tuple[Any, Any]:
        """Return the output and the mask that belongs to it (None: every step is real)."""
        return run_call(self, x, mask)

    # Drawing.

    def __call__(self, *arguments: Any, **keywords: Any) -> Any:
        if is_symbolic(arguments, keywords):
            return call_on_symbols(self, arguments, keywords)
        return super().__call__(*arguments, **keywords)

    @property
    def inputs(self) -> list[Any]:
        """The symbols that the model begins with."""
        raise UnsupportedError(
            f"{self.name} is a {type(self).__name__}, which is not drawn as a graph. Only "
            "Sequential and Model(inputs, outputs) are."
        )

    @property
    def outputs(self) -> list[Any]:
        """The symbols that the model ends with."""
        return self.inputs

    @property
    def input(self) -> Any:
        """The symbol that the model begins with; a list for several."""
        return self.inputs[0] if len(self.inputs) == 1 else self.inputs

    @property
    def output(self) -> Any:
        """The symbol that the model ends with; a list for several."""
        return self.outputs[0] if len(self.outputs) == 1 else self.outputs

    def get_layer(self, name: str | None = None, index: int | None = None) -> Layer | Model:
        """Return the layer of that name, or at that place."""
        layers = self.layers
        if (name is None) == (index is None):
            raise InputError("get_layer takes a name or an index: get_layer('lstm').")
        if index is not None:
            if not -len(layers) <= index < len(layers):
                raise InputError(f"{self.name} has {len(layers)} layers, none at {index}.")
            return layers[index]
        names = self.layer_names
        if name not in names:
            raise InputError(f"No layer '{name}' in {self.name}: {', '.join(names)}.")
        return layers[names.index(name)]

    @property
    def layer_names(self) -> list[str]:
        """The name of each of `layers` in this model."""
        known = {id(module): name for name, module in self._modules.items()}
        return [known.get(id(layer), layer.name) for layer in self.layers]

    @property
    def output_names(self) -> list[str]:
        """The names of the outputs, of which most models have one."""
        return ["output"]

    @property
    def stateful(self) -> bool:
        """Whether any layer carries its state from one batch to the next."""
        return any(getattr(module, "stateful", False) is True for module in self.children())

    def reset_state(self) -> None:
        """Let stateful layers begin anew, and `learn_one` a new series."""
        self._learner = None
        for layer in self.children():
            reset = getattr(layer, "reset_state", None)
            if reset is not None:
                reset()

    reset_states = reset_state

    @property
    def several_inputs(self) -> bool:
        """Whether data comes as a list or dictionary, one array an input."""
        return False

    def parts_of(self, x: Any) -> list[Any]:
        """Return the inputs in the model's order, from a list or a dictionary."""
        raise InputError(
            f"{self.name} has one input: an array, a tensor, a list of series (T_i, I), a Dataset "
            f"or a DataLoader, but x is a {type(x).__name__}."
        )

    def arranged(self, parts: Sequence[Any]) -> Any:
        """Return several outputs as the model returns them."""
        return list(parts)

    # Calling.

    def forward(
        self, x: Tensor | np.ndarray, mask: Tensor | None = None, *, training: bool | None = None
    ) -> Tensor:
        """Return the model's output for `x`; `mask` (B, T) is True where a step is real.

        `training=True` runs dropout for this one call, as in Keras; left out, the module's own
        mode (`model.train()`, `model.eval()`) decides.
        """
        if not isinstance(x, (Tensor, Several)):
            x = self.cast_input(torch.as_tensor(np.asarray(x)))
        if training is None or training == self.training:
            return self.forward_with_mask(x, mask)[0]
        modes = [(module, module.training) for module in self.modules()]
        self.train(training)
        try:
            return self.forward_with_mask(x, mask)[0]
        finally:
            for module, mode in modes:
                module.training = mode

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights (of the weights to come, before the model is built)."""
        floating = (p.dtype for p in self.parameters() if p.is_floating_point())
        return next(floating, torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next((p.device for p in self.parameters()), torch.device("cpu"))

    def cast_input(self, x: Any) -> Any:
        """Return `x` in the model's type; token ids for an embedding stay integers."""
        if not x.is_floating_point() and self.takes_ids:
            return x
        return x.to(self.dtype)

    @property
    def takes_ids(self) -> bool:
        """Whether the model's input is token ids, not numbers."""
        first = next(iter(self.layers), None)
        return first.takes_ids if isinstance(first, Model) else isinstance(first, Embedding)

    def shape_of_data(self, x: Tensor) -> Shape:
        """Return the input shape that data like `x` asks for: batch and time are left open."""
        if x.ndim >= 3 or self.takes_ids:
            return (None, None, *x.shape[2:])
        return (None, *x.shape[1:])

    def regularization(self) -> Tensor | None:
        """Return the sum of the layers' weight penalties, or None if there is none."""
        total: Tensor | None = None
        for layer in dict.fromkeys(self.layers):
            penalty = layer.regularization()
            if penalty is not None:
                total = penalty if total is None else total + penalty
        return total

    # Training.

    def compile(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        optimizer: Any = "rmsprop",
        loss: Any = None,
        loss_weights: Any = None,
        metrics: Sequence[Any] | str | None = None,
        weighted_metrics: Sequence[Any] | str | None = None,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
        *,
        gradient: str | GradientAlgorithm | None = None,
    ) -> None:
        """Choose what `fit` minimises, how, and what it reports.

        `optimizer`, `loss` and each metric are a name with Keras's defaults (`"rmsprop"`,
        `"binary_crossentropy"`, `"accuracy"`) or an object of `gatewise.optimizers` (or
        `torch.optim`), `gatewise.losses`, `gatewise.metrics`. `metrics` ignore sample weights,
        `weighted_metrics` use them. `gradient` is how the gradient flows through time: `"bptt"`
        (the default) is exact, `"tbptt"` truncated after 20 steps; `gatewise.gradients` has these
        and others as objects, such as `TBPTT(k1=20, k2=40)`, in a word `"tbptt:20,40"`.
        `run_eagerly` changes nothing: every step runs eagerly. What cannot be honoured
        (`loss_weights`, `steps_per_execution` above 1, `jit_compile=True`) is refused.

        Compiling replaces `nn.Module.compile`; for torch's compiler use `torch.compile(model)`.

        Raises `UnknownNameError` for an unknown name and `UnsupportedError` for what is refused.

        >>> from gatewise.models import Sequential
        >>> from gatewise.layers import Dense
        >>> model = Sequential([Dense(1, input_shape=(3,))])
        >>> model.compile(optimizer="adam", loss="mse")
        >>> model.compiled.loss.name
        'mean_squared_error'
        """
        several = len(self.output_names) > 1
        training.refuse_unsupported(
            None if several else loss_weights, steps_per_execution, jit_compile
        )
        self.compiled = Compiled(
            optimizer,
            loss,
            metrics,
            weighted_metrics,
            outputs=self.output_names,
            loss_weights=loss_weights,
            gradient=gradient,
        )
        if self.built:
            self.compiled.gradient.supports(self)
            self.compiled.bind(self)

    @property
    def optimizer(self) -> torch.optim.Optimizer | None:
        """The optimizer bound to the weights, once the model is compiled and built."""
        return self.compiled.bind(self) if self.compiled is not None and self.built else None

    @property
    def loss(self) -> Any:
        """The compiled loss, or None."""
        return self.compiled.loss if self.compiled is not None else None

    @property
    def metrics(self) -> list[Any]:
        """The compiled metrics, unweighted ones first."""
        return self.compiled.all_metrics if self.compiled is not None else []

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        epochs: int = 1,
        verbose: int | str = "auto",
        callbacks: Callback | Sequence[Callback] | None = None,
        validation_split: float = 0.0,
        validation_data: Any = None,
        shuffle: bool = True,
        class_weight: Mapping[int, float] | None = None,
        sample_weight: Any = None,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        validation_steps: int | None = None,
        validation_batch_size: int | None = None,
        validation_freq: int | Sequence[int] = 1,
        *,
        mask: Any = None,
    ) -> History:
        """Train by backpropagation through time; return the `History` of losses and metrics.

        `x` is an array or tensor `(N, T, I)` (or token ids `(N, T)`), a list of series
        `(T_i, I)` of different lengths (padded, masked and batched by length), or a `Dataset`
        or `DataLoader` whose items are `(x, y)` or `(x, y, sample_weight)`. The other arguments
        mean what they mean in Keras: `batch_size` is 32 unless given, `validation_split` takes
        the last part before shuffling, `class_weight` maps a class to its weight. `mask` (N, T)
        is True where a step of `x` is real; loss and metrics of a sequence output skip the
        other steps.

        The order of the samples is drawn from torch's global generator, so
        `gatewise.utils.set_random_seed` makes a run repeatable. A NaN or infinity in the input,
        the loss or the gradient stops training with a `NonFiniteError` that names the step and
        the first bad sample; the weights are then those from before that step. After Ctrl-C the
        model is whole, in inference mode, and `model.history` holds the epochs that finished.

        >>> import gatewise, numpy
        >>> from gatewise.layers import LSTM, Dense
        >>> gatewise.utils.set_random_seed(0)
        >>> model = gatewise.Sequential([LSTM(4, input_shape=(None, 2)), Dense(1)])
        >>> model.compile(optimizer="adam", loss="mse")
        >>> x = numpy.ones((8, 5, 2), dtype="float32")
        >>> history = model.fit(x, x[:, 0, :1], epochs=2, verbose=0)
        >>> history.epoch, sorted(history.history)
        ([0, 1], ['loss'])
        """
        return training.fit(
            self,
            training.Data(x, y, sample_weight, mask, class_weight),
            training.Plan(
                batch_size=batch_size,
                epochs=epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                shuffle=shuffle,
                verbose=verbose,
            ),
            training.Validation(
                split=validation_split,
                data=validation_data,
                steps=validation_steps,
                batch_size=validation_batch_size or batch_size,
                frequency=validation_freq,
            ),
            callbacks,
        )

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        sample_weight: Any = None,
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        return_dict: bool = False,
        *,
        mask: Any = None,
    ) -> float | list[float] | dict[str, float]:
        """Return the loss, followed by the metrics if there are any, over the given data.

        The arguments are `fit`'s. `return_dict=True` returns them by name.
        """
        data = training.Data(x, y, sample_weight, mask)
        results = training.evaluate(self, data, batch_size, steps, verbose, callbacks)
        if return_dict:
            return results
        values = list(results.values())
        return values if len(values) > 1 else values[0]

    def predict(
        self,
        x: Any,
        batch_size: int | None = None,
        verbose: int | str = "auto",
        steps: int | None = None,
        callbacks: Callback | Sequence[Callback] | None = None,
        *,
        mask: Any = None,
    ) -> Any:
        """Return the outputs for `x` as a NumPy array, in the order of `x`.

        For a list of series of different lengths and a model that returns sequences, the result
        is a list with one array `(T_i, …)` a series.
        """
        data = training.Data(x, mask=mask)
        return training.predict(self, data, batch_size, steps, verbose, callbacks)

    def train_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        class_weight: Mapping[int, float] | None = None,
        return_dict: bool = False,
        *,
        mask: Any = None,
    ) -> float | list[float] | dict[str, float]:
        """Take one optimizer step on this batch; return its loss and metrics."""
        data = training.Data(x, y, sample_weight, mask, class_weight)
        return _flat(training.train_on_batch(self, data), return_dict)

    def test_on_batch(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        return_dict: bool = False,
        *,
        mask: Any = None,
    ) -> float | list[float] | dict[str, float]:
        """Return the loss and metrics of this batch."""
        data = training.Data(x, y, sample_weight, mask)
        return _flat(training.test_on_batch(self, data), return_dict)

    def predict_on_batch(self, x: Any, *, mask: Any = None) -> Any:
        """Return the outputs for this batch as a NumPy array."""
        return training.predict_on_batch(self, training.Data(x, mask=mask))

    # Weights.

    @property
    def weights(self) -> list[nn.Parameter]:
        """Every parameter once, in the order of the layers."""
        return list(self.parameters())

    @property
    def trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def trainable(self) -> bool:
        """Whether any layer trains; setting it freezes or unfreezes every layer."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    def count_params(self) -> int:
        """Return how many numbers the weights hold; a shared layer counts once."""
        self._require_built("count_params()")
        return sum(parameter.numel() for parameter in self.parameters())

    def get_weights(self) -> list[np.ndarray]:
        """Return copies of the weights, in the order of `weights`."""
        return [parameter.detach().cpu().numpy().copy() for parameter in self.parameters()]

    def set_weights(self, weights: Iterable[np.ndarray]) -> None:
        """Set the weights from arrays in the order of `get_weights`.

        Raises `InputError` if the number of arrays or a shape differs; then nothing is changed.
        """
        self._require_built("set_weights()")
        named, arrays = list(self.named_parameters()), [np.asarray(w) for w in weights]
        if len(named) != len(arrays):
            names = ", ".join(name for name, _ in named)
            raise InputError(
                f"set_weights got {len(arrays)} arrays but {self.name} has {len(named)} weights: "
                f"{names}."
            )
        for (name, parameter), array in zip(named, arrays, strict=True):
            if array.shape != tuple(parameter.shape):
                raise InputError(
                    f"{name} has shape {tuple(parameter.shape)} but the array given for it has "
                    f"{array.shape}."
                )
        with torch.no_grad():
            for (_, parameter), array in zip(named, arrays, strict=True):
                parameter.copy_(torch.from_numpy(np.array(array)))

    def _require_built(self, wanted: str) -> None:
        """Refuse `wanted` while there are no weights, with the cure."""
        if not self.built:
            raise InputError(
                f"{wanted} needs the weights, but {self.name} does not know its input shape yet. "
                "Begin the model with Input(shape=(None, features)), give the first layer "
                "input_shape=(None, features), or call model.build((None, None, features))."
            )

    # Showing and saving.

    def summary(
        self,
        line_length: int | None = None,
        print_fn: Callable[[str], object] = print,
        *,
        gates: bool = False,
    ) -> None:
        """Print the layers, their output shapes and their parameter counts.

        `gates=True` adds, for every recurrent layer, each gate's W, U and b with the formula
        behind the count, and the kernel chosen with its reason. `print_fn` receives the text.
        """
        print_fn(self._summary_text(gates=gates, line_length=line_length))

    def _summary_text(self, *, gates: bool, line_length: int | None = None) -> str:
        from gatewise.inspect import measure_parameters, render_gates, render_summary

        ledger = measure_parameters(self)
        text = render_summary(ledger, line_length)
        return f"{text}\n\n{render_gates(ledger)}" if gates else text

    def _repr_html_(self) -> str:
        """Return the summary with its gates for a notebook."""
        from gatewise.inspect import measure_parameters

        return measure_parameters(self)._repr_html_()

    def save(
        self, path: str | os.PathLike[str], overwrite: bool = True, include_optimizer: bool = True
    ) -> None:
        """Write the model to one safetensors file; see `gatewise.models.saving.save_model`."""
        from gatewise.models.saving import save_model

        save_model(self, path, overwrite=overwrite, include_optimizer=include_optimizer)

    def save_weights(self, path: str | os.PathLike[str], overwrite: bool = True) -> None:
        """Write the weights alone, by name, to one safetensors file."""
        from gatewise.models.saving import save_weights

        save_weights(self, path, overwrite=overwrite)

    def load_weights(self, path: str | os.PathLike[str]) -> None:
        """Read the weights from a file of `save_weights` or `save`; names and shapes must fit."""
        from gatewise.models.saving import load_weights

        load_weights(self, path)


def _flat(results: dict[str, float], return_dict: bool) -> float | list[float] | dict[str, float]:
    """Return results as Keras does: a dict, a list, or the loss alone."""
    if return_dict:
        return results
    values = list(results.values())
    return values if len(values) > 1 else values[0]
