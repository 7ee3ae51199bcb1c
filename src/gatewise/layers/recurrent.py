"""What LSTM, GRU and SimpleRNN share: everything but their equation.

The recurrence itself is one pass (``passes``); here stand Keras's meanings around it: the
arguments, the weights, states that are kept, the order and the choice of the outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from gatewise import activations
from gatewise.cells import Specification, WeightSet, weight_names
from gatewise.errors import InputError, unknown_name
from gatewise.kernels import Choice, Request, choose
from gatewise.kernels.autocast import under_autocast
from gatewise.kernels.dispatch import KERNELS
from gatewise.kernels.int8 import choose_int8
from gatewise.kernels.recompute import check as check_recompute
from gatewise.layers import initializers, passes, quantization, regularizers
from gatewise.layers.dense import ActivationLike, known_features, serialized_activation
from gatewise.layers.gate_initializers import of_cell
from gatewise.layers.layer import Layer, Shape, checked_shape, positive
from gatewise.layers.masks import checked_mask, shown_last, shown_outputs
from gatewise.layers.noise import NoiseSource, Rates, checked_rate, checked_zoneout
from gatewise.layers.series import check_series
from gatewise.layers.states import keep, kept_state, received_state
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
        self.units = positive(type(self).__name__, "units", units)
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
        self.output_size = self.units if projection is None else self._projected(projection)
        self.use_bias = bool(use_bias)
        self._take_initializers(kernel_initializer, recurrent_initializer, bias_initializer)
        self.kernel_regularizer = regularizers.get(kernel_regularizer)
        self.recurrent_regularizer = regularizers.get(recurrent_regularizer)
        self.bias_regularizer = regularizers.get(bias_regularizer)
        self._take_rates(dropout, recurrent_dropout, weight_dropout, zoneout)
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

    def _projected(self, projection: int) -> int:
        """Return the width of h, which is that of the outputs."""
        kind = type(self).__name__
        width = positive(kind, "projection", projection)
        if width >= self.units:
            raise InputError(
                f"{kind} expected projection, the width of h, below units={self.units} but got "
                f"{projection}. Leave it out, or put a Dense layer behind the LSTM to widen it."
            )
        return width

    def _take_initializers(
        self,
        kernel: initializers.InitializerLike,
        recurrent: initializers.InitializerLike,
        bias: initializers.InitializerLike,
    ) -> None:
        self.kernel_initializer = initializers.get(kernel)
        self.recurrent_initializer = initializers.get(recurrent)
        self.bias_initializer = initializers.get(bias)
        taken = (self.kernel_initializer, self.recurrent_initializer, self.bias_initializer)
        for initializer in taken:
            of_cell(initializer, self.specification)  # which refuses a cell that it does not fit

    def _take_rates(
        self, dropout: float, recurrent: float, weight: float, zoneout: float | Sequence[float]
    ) -> None:
        kind = type(self).__name__
        self.dropout = checked_rate(kind, "dropout", dropout)
        self.recurrent_dropout = checked_rate(kind, "recurrent_dropout", recurrent)
        self.weight_dropout = checked_rate(kind, "weight_dropout", weight)
        self.zoneout = checked_zoneout(kind, zoneout, self.specification.states)

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
        check_series(self, shape, self.kernel.shape[0] if self.built else None)

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
        outputs, final_state = passes.run(self, x, state, mask)
        if self.stateful:
            keep(self, final_state)
        begun, backwards = state is not None, self.go_backwards
        zeroed = self.zero_output_for_mask
        if self.return_sequences:
            result = shown_outputs(outputs, mask, begun, backwards, zeroed)
            if backwards and not time_order:
                result = result.flip(1)
        else:
            # Taken from the state: outputs[:, -1] would send a zero-filled (B, T, H) backwards.
            result = shown_last(final_state[0], mask, begun, backwards, zeroed)
        return (result, *final_state) if self.return_state else result

    def reset_state(self) -> None:
        """Forget the state that ``stateful=True`` carries from one batch to the next."""
        if self.stateful:
            keep(self, [None for _ in self.specification.states])

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
            self.units,
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
        """Return this layer to be fed some time steps at a time, ``batch`` series side by side.

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
            return kept_state(self, x) if self.stateful else None
        kind, names = type(self).__name__, self.specification.states
        return received_state(kind, state, x, names, self.state_sizes)
