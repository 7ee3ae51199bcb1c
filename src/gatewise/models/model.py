"""The base of every gatewise model: an `nn.Module` that knows its input shape and Keras's verbs.

What it does stands in files of its own, as functions that take the model: `compiling.py`,
`verbs.py` (`fit`, `evaluate`, `predict`), `on_batch.py`, `parameters.py`, `saving.py`; `summary`
shows what `gatewise.inspect` measures.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import Embedding, Layer
from gatewise.layers.by_call import adopt_build, run_call, shape_by_running
from gatewise.layers.modes import in_mode
from gatewise.layers.registry import snake_case
from gatewise.layers.regularizers import Penalty
from gatewise.layers.symbol import call_on_symbols, is_symbolic
from gatewise.models import on_batch, parameters, quantizing, verbs
from gatewise.models.compiling import compile_model
from gatewise.models.online import Online
from gatewise.training import Compiled, History, Several

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
        self.regularizers: dict[str, Penalty] = {}
        self._built_for: Any = None
        self._own_built = False
        self.labels: list[str] | None = None
        self.preprocessing: Any = None
        self.compiled: Compiled | None = None
        self.history: History | None = None
        self.stop_training = False
        self.resume_epoch: int | None = None
        self.training = False

    def __init_subclass__(cls, **keywords: Any) -> None:
        """Take the `build` of a model of the user's own for what makes its own weights."""
        super().__init_subclass__(**keywords)
        adopt_build(cls)

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

    @built.setter
    def built(self, value: bool) -> None:
        """Change nothing: a `build` of Keras's manner sets it at its end."""

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape (with the batch axis)."""
        if self._built_for is None and not self._own_built:
            self.build_own_once(input_shape)
            shape_by_running(self, input_shape, self.takes_ids)
            self._built_for = tuple(input_shape)

    def build_own(self, input_shape: Any) -> None:
        """Create weights beside those of the layers: the `build` of a model of your own."""

    def build_own_once(self, input_shape: Any) -> None:
        """Call `build_own` unless it was; `super().build(...)` inside it does nothing."""
        if not self._own_built:
            self._own_built = True
            self.build_own(input_shape)

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
        with in_mode(self, training):
            return self.forward_with_mask(x, mask)[0]

    @property
    def dtype(self) -> torch.dtype:
        """The type of the weights (of the weights to come, before the model is built)."""
        floating = (p.dtype for p in self._weights() if p.is_floating_point())
        return next(floating, torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """The device of the weights (of the weights to come, before the model is built)."""
        return next((p.device for p in self._weights()), torch.device("cpu"))

    def _weights(self) -> Iterator[Tensor]:
        """Yield the weights, and then what the weights of unbuilt layers are to be like."""
        yield from self.parameters()
        for layer in self.modules():
            if isinstance(layer, Layer) and layer.weights_to_come is not None:
                yield layer.weights_to_come

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
        penalties = [layer.regularization() for layer in dict.fromkeys(self.layers)]
        penalties += [
            regularizer(getattr(self, name))
            for name, regularizer in self.regularizers.items()
            if getattr(self, name).requires_grad
        ]
        found = [penalty for penalty in penalties if penalty is not None]
        return torch.stack(found).sum() if len(found) > 1 else (found or [None])[0]

    # Training.

    compile = compile_model  # pyright: ignore[reportAssignmentType]
    fit = verbs.fit
    evaluate = verbs.evaluate
    predict = verbs.predict
    train_on_batch = on_batch.train_on_batch
    test_on_batch = on_batch.evaluate_on_batch
    predict_on_batch = on_batch.predict_on_batch

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

    # Weights.

    add_weight = parameters.add_weight
    count_params = parameters.count_params
    get_weights = parameters.get_weights
    set_weights = parameters.set_weights
    _require_built = parameters.require_built

    @property
    def weights(self) -> list[nn.Parameter]:
        """Every parameter once, in the order of the layers."""
        return list(self.parameters())

    @property
    def trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training changes."""
        return [parameter for parameter in self.parameters() if parameter.requires_grad]

    @property
    def non_trainable_weights(self) -> list[nn.Parameter]:
        """The parameters that training leaves as they are, or that are no matter of gradients."""
        return [parameter for parameter in self.parameters() if not parameter.requires_grad]

    @property
    def trainable_variables(self) -> list[nn.Parameter]:
        """As `trainable_weights`."""
        return self.trainable_weights

    @property
    def non_trainable_variables(self) -> list[Tensor]:
        """The weights that do not train, and what else layers keep, such as states."""
        return [*self.non_trainable_weights, *self.buffers()]

    @property
    def variables(self) -> list[Tensor]:
        """The weights, and what else layers keep."""
        return [*self.parameters(), *self.buffers()]

    @property
    def trainable(self) -> bool:
        """Whether any layer trains; setting it freezes or unfreezes every layer."""
        return any(layer.trainable for layer in self.layers)

    @trainable.setter
    def trainable(self, value: bool) -> None:
        for layer in self.layers:
            layer.trainable = value

    quantize = quantizing.quantize

    # Showing and saving.

    def summary(
        self,
        line_length: int | None = None,
        print_fn: Callable[[str], object] = print,
        *,
        gates: bool = False,
    ) -> None:
        """Print the layers, their output shapes and their parameter counts, and a mask's way.

        `gates=True` adds, for every recurrent layer, each gate's W, U and b with the formula
        behind the count, and the kernel chosen with its reason. `print_fn` receives the text.
        """
        print_fn(self._summary_text(gates=gates, line_length=line_length))

    def _summary_text(self, *, gates: bool, line_length: int | None = None) -> str:
        from gatewise.inspect import measure_parameters, render_gates, render_summary
        from gatewise.models.mask_path import mask_path, render_mask_path

        ledger = measure_parameters(self)
        text = render_summary(ledger, line_length)
        steps = mask_path(self)
        text = f"{text}\n{render_mask_path(steps)}" if steps else text
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
