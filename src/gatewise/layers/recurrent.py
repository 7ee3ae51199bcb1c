"""What LSTM, GRU and SimpleRNN share: everything but their equation.

The recurrence itself is one call of ``kernels.recurrent``; here stand Keras's meanings around it:
dropout, masks, initial states, the order and the choice of the outputs.

Gal and Ghahramani, "A theoretically grounded application of dropout in recurrent neural networks",
arXiv 1512.05287: one dropout mask for all time steps.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn, where

from gatewise import activations
from gatewise.cells import NO_NOISE, Noise, Specification, WeightSet, weight_names
from gatewise.errors import InputError, unknown_name
from gatewise.kernels import Choice, Request, choose, recurrent
from gatewise.kernels.autocast import under_autocast
from gatewise.kernels.dispatch import KERNELS
from gatewise.kernels.int8 import Int8Weights, choose_int8, recurrent_int8
from gatewise.kernels.recompute import check as check_recompute
from gatewise.layers import initializers, quantization, regularizers
from gatewise.layers.dense import ActivationLike, known_features, serialized_activation
from gatewise.layers.gate_initializers import of_cell
from gatewise.layers.layer import Layer, RankError, Shape, as_tensor, checked_shape, positive, sizes
from gatewise.layers.noise import NoiseSource, Rates, checked_rate, checked_zoneout
from gatewise.layers.stream import LayerStream

_KERNELS = ("auto", *KERNELS)


class Recurrent(Layer):
    """The base of the recurrent layers; a subclass names its cell and its arguments."""

    cell: ClassVar[str]
    takes_mask = True
    supports_masking = True
    kernel: nn.Parameter
    recurrent_kernel: nn.Parameter
    bias: nn.Parameter | None
    quantization: str | None = None
    """How W and U are held: None as they were trained, "int8" after ``quantize("int8")``."""

    def __init__(
        self,
        units: int,
        *,
        activation: ActivationLike,
        recurrent_activation: ActivationLike = "sigmoid",
        reset_after: bool = True,
        projection: int | None = None,
        layer_norm: bool = False,
        use_bias: bool,
        kernel_initializer: initializers.InitializerLike,
        recurrent_initializer: initializers.InitializerLike,
        bias_initializer: initializers.InitializerLike,
        kernel_regularizer: regularizers.RegularizerLike | None,
        recurrent_regularizer: regularizers.RegularizerLike | None,
        bias_regularizer: regularizers.RegularizerLike | None,
        activity_regularizer: regularizers.RegularizerLike | None,
        dropout: float,
        recurrent_dropout: float,
        weight_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        coupled_gates: bool = False,
        peephole: bool = False,
        cell_clip: float | None = None,
        seed: int | None,
        return_sequences: bool,
        return_state: bool,
        go_backwards: bool,
        stateful: bool,
        zero_output_for_mask: bool,
        input_shape: Sequence[int | None] | None,
        name: str | None,
        trainable: bool,
        use_kernel: str,
        recompute: str | None,
    ) -> None:
        super().__init__(
            input_shape=input_shape,
            name=name,
            trainable=trainable,
            activity_regularizer=activity_regularizer,
        )
        kind = type(self).__name__
        self.units = positive(kind, "units", units)
        self.specification = Specification(
            "cifg" if coupled_gates else self.cell,
            activations.name_of(activation),
            activations.name_of(recurrent_activation),
            reset_after=bool(reset_after),
            reverse=bool(go_backwards),
            peephole=bool(peephole),
            cell_clip=None if cell_clip is None else float(cell_clip),
            projection=projection is not None,
            layer_norm=bool(layer_norm),
        )
        # The width of h, which is that of the outputs.
        self.output_size = self.units
        if projection is not None:
            self.output_size = positive(kind, "projection", projection)
            if self.output_size >= self.units:
                raise InputError(
                    f"{kind} expected projection, the width of h, below units={self.units} but got "
                    f"{projection}. Leave it out, or put a Dense layer behind the LSTM to widen it."
                )
        self.use_bias = bool(use_bias)
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.recurrent_initializer = initializers.get(recurrent_initializer)
        self.bias_initializer = initializers.get(bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        for initializer in (
            self.kernel_initializer,
            self.recurrent_initializer,
            self.bias_initializer,
        ):
            of_cell(initializer, self.specification)  # which refuses a cell that it does not fit
        self.dropout = checked_rate(kind, "dropout", dropout)
        self.recurrent_dropout = checked_rate(kind, "recurrent_dropout", recurrent_dropout)
        self.weight_dropout = checked_rate(kind, "weight_dropout", weight_dropout)
        self.zoneout = checked_zoneout(kind, zoneout, self.specification.states)
        self.noise = NoiseSource(seed)
        self.stateful = bool(stateful)
        for state in self.specification.states if self.stateful else ():
            self.register_buffer(f"kept_{state}", None, persistent=False)
        self.return_sequences = bool(return_sequences)
        self.return_state = bool(return_state)
        self.zero_output_for_mask = bool(zero_output_for_mask)
        if use_kernel not in _KERNELS:
            raise unknown_name("kernel", use_kernel, _KERNELS)
        self.use_kernel = use_kernel
        check_recompute(recompute, self.specification)
        self.recompute = recompute

    @property
    def precision(self) -> str:
        """What the matrix products multiply: "float32" or "bfloat16"; `compile` sets it."""
        return self.specification.precision

    @precision.setter
    def precision(self, precision: str) -> None:
        self.specification = self.specification.at(precision)

    @property
    def rates(self) -> Rates:
        """The rates of the noise that a pass draws."""
        return Rates(self.recurrent_dropout, *self.zoneout)

    @property
    def go_backwards(self) -> bool:
        """Whether the last time step is processed first."""
        return self.specification.reverse

    def create_weights(self, input_shape: Shape) -> None:
        features = known_features(type(self).__name__, input_shape)
        width = len(self.specification.gates) * self.units
        self.add_weight(
            "kernel", (features, width), self.kernel_initializer, self.kernel_regularizer
        )
        self.add_weight(
            "recurrent_kernel",
            (self.output_size, width),
            of_cell(self.recurrent_initializer, self.specification),
            self.recurrent_regularizer,
        )
        if self.use_bias:
            shape = (2, width) if self.specification.two_biases else (width,)
            self.add_weight("bias", shape, self.initial_bias, self.bias_regularizer)
        else:
            self.register_parameter("bias", None)
        self._create_options(width)
        if self.quantization is not None:
            quantization.take_integers(self)

    def _create_options(self, width: int) -> None:
        """Create the specification's extra weights."""
        specification, units = self.specification, self.units
        if specification.peephole:
            self.add_weight("peephole", (len(specification.peepholes), units), "zeros")
        if specification.projection:
            self.add_weight("projection", (units, self.output_size), self.kernel_initializer)
        if specification.layer_norm:
            self.add_weight("input_gain", (width,), "ones")
            self.add_weight("recurrent_gain", (width,), "ones")
        if specification.layer_norm and "c" in specification.states:
            self.add_weight("cell_gain", (units,), "ones")
            self.add_weight("cell_bias", (units,), "zeros")

    def initial_bias(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the first value of the bias."""
        return of_cell(self.bias_initializer, self.specification)(shape, dtype=dtype)

    def check_input_shape(self, shape: Shape) -> None:
        kind = type(self).__name__
        features = self.kernel.shape[0] if self.built else "I"
        if len(shape) != 3:
            raise RankError(
                f"{kind} expected input (B, T, {features}) but got {sizes(shape)}. "
                f"{_rank_cure(shape)}",
                shape=shape,
                layer=self,
            )
        if self.built and shape[2] not in (None, features):
            raise InputError(
                f"{kind} expected input (B, T, {features}) but got {sizes(shape)}: every time step "
                f"must hold the {features} features that the layer was built for."
            )
        if shape[1] == 0:
            raise InputError(
                f"{kind} got series of length 0: input {sizes(shape)}. Every series needs at least "
                "one time step: leave the empty ones out."
            )
        if shape[0] == 0:
            raise InputError(
                f"{kind} got an empty batch: input {sizes(shape)}. Pass at least one series."
            )

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        initial_state: Sequence[Tensor] | Tensor | None = None,
        *,
        time_order: bool = False,
    ) -> Any:
        """Return the last output (B, H), or with ``return_sequences`` all of them (B, T, H).

        With ``return_state`` a tuple: that, and each final state (B, H). ``mask`` (B, T) is True
        at real steps; masked steps carry the state unchanged. ``initial_state`` holds (B, H) for
        each state. Outputs come in the order in which they were processed (with ``go_backwards``
        the last time step's first), or with ``time_order`` each at its own time step.
        """
        x = self.receive(x)
        mask = self._receive_mask(mask, x)
        state = self._receive_state(initial_state, x)
        if state is None and self.stateful:
            state = self._kept_state(x)
        outputs, final_state = self._recurrent(self._drop_inputs(x), state, mask)
        if self.stateful:
            self._keep(final_state)
        if self.return_sequences:
            result = self._shown_outputs(outputs, mask, state)
            if self.go_backwards and not time_order:
                result = result.flip(1)
        else:
            # Taken from the state: outputs[:, -1] would send a zero-filled (B, T, H) backwards.
            result = self._shown_last(final_state[0], mask, state)
        return (result, *final_state) if self.return_state else result

    def _recurrent(
        self, x: Tensor, state: list[Tensor] | None, mask: Tensor | None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        noise = self._draw(x)
        if self.quantization is not None:
            return recurrent_int8(
                x,
                self._drop_integers(),
                state,
                specification=self.specification,
                mask=mask,
                noise=noise,
                kernel=self.use_kernel,
            )
        return recurrent(
            x,
            self._drop_weights(),
            state,
            specification=self.specification,
            mask=mask,
            noise=noise,
            kernel=self.use_kernel,
            recompute=self.recompute,
        )

    def reset_state(self) -> None:
        """Forget the state that ``stateful=True`` carries from one batch to the next."""
        self._keep([None for _ in self.specification.states])

    reset_states = reset_state

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Return the mask of the outputs: the input's with ``return_sequences``, else none.

        As in Keras it keeps the input's time order, also with ``go_backwards``.
        """
        return mask if self.return_sequences else None

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        shape = checked_shape(input_shape)
        self.check_input_shape(shape)
        last = (shape[0], self.output_size)
        result = (*shape[:2], self.output_size) if self.return_sequences else last
        states = ((shape[0], width) for width in self.state_sizes)
        return (result, *states) if self.return_state else result

    @property
    def state_sizes(self) -> tuple[int, ...]:
        """The width of each state: h, which a projection makes smaller, and an LSTM's c."""
        return (self.output_size, self.units)[: len(self.specification.states)]

    def weight_sets(
        self, read: Callable[[nn.Parameter], Tensor] = lambda weight: weight
    ) -> list[WeightSet]:
        """Return the one set of weights that every time step uses; ``read`` is applied to each."""
        names = weight_names(self.weight_list(), self.specification)
        weights = {name: read(getattr(self, name)) for name in names}
        return [WeightSet("", self.specification, weights, {name: (name,) for name in names})]

    def choice(
        self,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        mask: bool = False,
        training: bool = False,
    ) -> Choice:
        """Return which kernel would run, and why; type and device default to the weights' own."""
        weight = self._weight()
        if dtype is None or self.quantization is not None:
            dtype = torch.get_default_dtype() if weight is None else weight.dtype
        if device is None:
            device = torch.get_default_device() if weight is None else weight.device
        kind = torch.device(device).type
        request = Request(
            under_autocast(self.specification, kind, dtype),
            kind,
            dtype,
            mask,
            training and self.recurrent_dropout > 0,
            self.use_kernel,
            self.recompute,
            any(self.zoneout),
        )
        return choose(request) if self.quantization is None else choose_int8(request)

    def kernel_choice(self, x: Any, mask: Any = None) -> Choice:
        """Return which kernel runs for this very call, and why.

        >>> from gatewise.layers import LSTM
        >>> LSTM(3, use_kernel="reference").kernel_choice(torch.zeros(2, 5, 4))
        Choice(kernel='reference', reason='asked for by name')
        """
        x = self.receive(x)
        mask = self._receive_mask(mask, x)
        return self.choice(device=x.device, mask=mask is not None, training=self.training)

    def quantize(self, mode: str = "int8") -> None:
        """Round W, U and a projection to 8 bits, for inference and streams alone.

            W ≈ w ⊙ t        integers w, -127 to 127, and a scale t for each column
            x W ≈ (q w) ⊙ s t    x ≈ q s: x and h are rounded as they come, a scale a row and step

        Sums are exact integers; the state, the activations and all other weights stay float32. The
        integers take the place of ``kernel``, ``recurrent_kernel`` and ``projection``, frozen;
        ``kernel_scale``, ``recurrent_kernel_scale`` (G·units,) and ``projection_scale`` (P,) are
        buffers. It cannot be undone: keep the file of the trained model.

        Raises ``InputError`` for a layer without weights or quantized before, ``UnsupportedError``
        for weights that are not float32. Wu et al. 2020, arXiv 2004.09602.

        >>> from gatewise.layers import LSTM
        >>> layer = LSTM(4)
        >>> layer.build((None, None, 3))
        >>> layer.quantize("int8")
        >>> layer.kernel.dtype, layer(torch.ones(2, 5, 3)).shape
        (torch.int8, torch.Size([2, 4]))
        """
        quantization.quantize_layer(self, mode)

    def freeze(self) -> None:
        """Keep every weight as it is, whatever ``trainable`` is set to later."""
        self._never_trained.update(name for name, _ in self.named_parameters())
        self.trainable = False

    def set_weights(self, weights: Sequence[Any]) -> None:
        """Set the weights from arrays in the order of :meth:`get_weights`."""
        quantization.refuse_new_weights(self)
        super().set_weights(weights)

    def stream(self, batch: int = 1) -> LayerStream:
        """Return this layer to be fed one time step at a time, ``batch`` series side by side.

        It keeps the weights of this moment, and its own state; see :class:`LayerStream`.
        """
        return LayerStream(self, batch)

    def arguments(self) -> dict[str, Any]:
        """Return the constructor's arguments as they are."""
        return {
            "units": self.units,
            "activation": self.specification.activation,
            "use_bias": self.use_bias,
            "kernel_initializer": self.kernel_initializer,
            "recurrent_initializer": self.recurrent_initializer,
            "bias_initializer": self.bias_initializer,
            "kernel_regularizer": self.kernel_regularizer,
            "recurrent_regularizer": self.recurrent_regularizer,
            "bias_regularizer": self.bias_regularizer,
            "activity_regularizer": self.activity_regularizer,
            "dropout": self.dropout,
            "recurrent_dropout": self.recurrent_dropout,
            "seed": self.noise.seed,
            "return_sequences": self.return_sequences,
            "return_state": self.return_state,
            "go_backwards": self.go_backwards,
            "stateful": self.stateful,
            "zero_output_for_mask": self.zero_output_for_mask,
            "use_kernel": self.use_kernel,
            "recompute": self.recompute,
        }

    def get_config(self) -> dict[str, Any]:
        config = self.arguments()
        for name, value in config.items():
            if name.endswith("activation"):
                config[name] = serialized_activation(value)
            elif name.endswith("_initializer"):
                config[name] = initializers.serialize(value)
            elif name.endswith("_regularizer"):
                config[name] = regularizers.serialize(value)
        if self.quantization is not None:
            config["quantization"] = self.quantization
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        config = dict(config)
        return quantization.as_described(cls, config.pop("quantization", None), config)

    def _weight(self) -> Tensor | None:
        if not self.built:
            return None
        if self.quantization is not None:
            return self.get_buffer("kernel_scale")
        return self.recurrent_kernel

    def weight_list(self) -> list[Tensor]:
        """Return W, U, b where there is one, and the specification's extra weights."""
        weights: list[Tensor] = [self.kernel, self.recurrent_kernel]
        if self.bias is not None:
            weights.append(self.bias)
        return [*weights, *(getattr(self, name) for name in self.specification.extra_weights)]

    def _receive_mask(self, mask: Any, x: Tensor) -> Tensor | None:
        if mask is None:
            return None
        return checked_mask(type(self).__name__, mask, x)

    def _receive_state(self, state: Any, x: Tensor) -> list[Tensor] | None:
        if state is None:
            return None
        names = self.specification.states
        parts = [state] if not isinstance(state, list | tuple) else list(state)
        shapes = [(x.shape[0], width) for width in self.state_sizes]
        expected = ", ".join(
            f"{name} {sizes(shape)}" for name, shape in zip(names, shapes, strict=True)
        )
        if len(parts) != len(names):
            raise InputError(
                f"{type(self).__name__} expected initial_state with {expected} "
                f"but got {len(parts)} tensors."
            )
        tensors = [as_tensor(part, like=x).to(x.dtype) for part in parts]
        for name, tensor, shape in zip(names, tensors, shapes, strict=True):
            if tensor.shape != shape:
                raise InputError(
                    f"{type(self).__name__} expected initial_state with {expected} but {name} "
                    f"has the shape {sizes(tuple(tensor.shape))}."
                )
        return tensors

    def _kept_state(self, x: Tensor) -> list[Tensor] | None:
        kept = [getattr(self, f"kept_{name}") for name in self.specification.states]
        if kept[0] is None:
            return None
        if len(kept[0]) != len(x):
            raise InputError(
                f"{self.name} is stateful and holds the state of {len(kept[0])} series, but the "
                f"batch has {len(x)}: series i of a batch goes on where series i of the last one "
                "ended. Call reset_state() on the layer or the model to begin anew, and give fit "
                "batches of one size."
            )
        return [state.to(x.dtype) for state in kept]

    def _keep(self, states: Sequence[Tensor | None]) -> None:
        if self.stateful:
            for name, state in zip(self.specification.states, states, strict=True):
                setattr(self, f"kept_{name}", None if state is None else state.detach())

    def _drop_inputs(self, x: Tensor) -> Tensor:
        if not self.training or self.dropout == 0:
            return x
        return x * self.noise((x.shape[0], 1, x.shape[2]), self.dropout, x)

    def _draw(self, x: Tensor) -> Noise:
        if not any(self.zoneout) and not (self.training and self.recurrent_dropout):
            return NO_NOISE
        return self.rates.draw(self.noise, x, self.state_sizes, self.training)

    def _drop_weights(self) -> list[Tensor]:
        """Return the weights of one pass: in training with some numbers of U dropped."""
        if not self.training or self.weight_dropout == 0:
            return self.weight_list()
        W, U, *rest = self.weight_list()
        return [W, U * self.noise(U.shape, self.weight_dropout, U), *rest]

    def _drop_integers(self) -> Int8Weights:
        """As :meth:`_drop_weights`, of a quantized layer."""
        weights = quantization.int8_weights(self)
        if not self.training or self.weight_dropout == 0:
            return weights
        U, scale = weights.recurrent_kernel, weights.recurrent_kernel_scale
        kept = self.noise(U.shape, self.weight_dropout, scale)
        return quantization.drop_weights(weights, kept, self.weight_dropout)

    def _shown_outputs(
        self, outputs: Tensor, mask: Tensor | None, state: list[Tensor] | None
    ) -> Tensor:
        """Return the outputs as Keras shows them at masked steps.

        The operator carries h there. Keras repeats the last *output*, which before the first real
        step is zero even where an initial state was given.
        """
        if mask is None:
            return outputs
        if self.zero_output_for_mask:
            return where(mask.unsqueeze(-1), outputs, 0)
        if state is None:
            return outputs
        processed = mask.flip(1) if self.go_backwards else mask
        begun = processed.cumsum(1) > 0
        begun = begun.flip(1) if self.go_backwards else begun
        return where(begun.unsqueeze(-1), outputs, 0)

    def _shown_last(self, h: Tensor, mask: Tensor | None, state: list[Tensor] | None) -> Tensor:
        """Return the last output; at masked steps as in :meth:`_shown_outputs`."""
        if mask is None:
            return h
        if self.zero_output_for_mask:
            return where(mask[:, :1] if self.go_backwards else mask[:, -1:], h, 0)
        return h if state is None else where(mask.any(1, keepdim=True), h, 0)


def checked_mask(layer: str, mask: Any, x: Tensor) -> Tensor:
    """Return a mask as a boolean tensor (B, T) beside x; of whole numbers, 0 is masked."""
    mask = as_tensor(mask, like=x)
    if mask.shape != x.shape[:2]:
        raise InputError(
            f"{layer} got a mask of shape {sizes(tuple(mask.shape))} "
            f"for input {sizes(tuple(x.shape))}. "
            f"A mask has one value for each time step: {sizes(tuple(x.shape[:2]))}."
        )
    if mask.is_floating_point() or mask.is_complex():
        raise InputError(
            f"{layer} got a mask of {mask.dtype} but a mask is boolean, True at real steps. "
            "Compare first, for example mask > 0."
        )
    return mask.to(torch.bool)


def _rank_cure(shape: Shape) -> str:
    if len(shape) == 2:
        return "Add a time axis: x[:, None, :]."
    if len(shape) == 1:
        return "Add a batch and a time axis: x[None, None, :]."
    return "Flatten the axes after the time axis: x.flatten(2)."
