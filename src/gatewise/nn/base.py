"""What gatewise.nn's LSTM, GRU and RNN have in common: torch.nn's parameters, names and manners."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from gatewise.cells import Specification, WeightSet
from gatewise.errors import InputError
from gatewise.kernels import Choice, Request, choose, recurrent
from gatewise.kernels.autocast import under_autocast
from gatewise.nn.arguments import check_dropout, check_flags, check_kernel, check_sizes
from gatewise.nn.sequences import Lengths, Packed, Padded, open_packed, open_padded
from gatewise.nn.weights import TORCH_GATES, kernel_layout


class RecurrentBase(nn.Module):
    """Layers and directions of one cell over torch.nn's parameters; subclasses name the cell."""

    cell: ClassVar[str]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        proj_size: int,
        device: torch.device | str | int | None,
        dtype: torch.dtype | None,
        kernel: str,
        activation: str = "tanh",
    ) -> None:
        super().__init__()
        name = type(self).__name__
        check_sizes(name, input_size, hidden_size, num_layers, proj_size)
        check_flags(name, bias=bias, batch_first=batch_first, bidirectional=bidirectional)
        self.input_size = input_size
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.bias = bias
        self.batch_first = batch_first
        self.dropout = check_dropout(name, dropout, num_layers)
        self.bidirectional = bidirectional
        self.proj_size = proj_size
        self.kernel = check_kernel(kernel)
        # Of both directions, made once: a short sequence would wait for it at every call.
        self._specifications = [
            Specification(self.cell, activation, reverse=reverse, projection=proj_size > 0)
            for reverse in (False, True)
        ]
        self._all_weights = self._parameter_names()
        for names in self._all_weights:
            for parameter in names:
                shape = self._parameter_shape(parameter)
                self.register_parameter(
                    parameter, nn.Parameter(torch.empty(shape, device=device, dtype=dtype))
                )
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw every parameter from U(-1/√H, 1/√H), bit for bit as torch.nn does."""
        bound = 1.0 / math.sqrt(self.hidden_size)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -bound, bound)

    def flatten_parameters(self) -> None:
        """Do nothing: the kernels read the parameters where they are.

        torch's own layers use this call to make cuDNN's weights one block; programs that call it
        run unchanged.
        """

    @property
    def all_weights(self) -> list[list[nn.Parameter]]:
        """The parameters of each layer and direction, as torch.nn has them."""
        return [[getattr(self, parameter) for parameter in names] for names in self._all_weights]

    @property
    def specification(self) -> Specification:
        """Which equation the layer computes (in its forward direction)."""
        return self._specifications[0]

    @property
    def precision(self) -> str:
        """What the matrix products multiply: "float32" or "bfloat16"; `compile` sets it."""
        return self.specification.precision

    @precision.setter
    def precision(self, precision: str) -> None:
        self._specifications = [one.at(precision) for one in self._specifications]

    def choice(
        self,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        mask: bool = False,
        training: bool = False,
    ) -> Choice:
        """Return the kernel that serves this layer, and the reason.

        ``dtype`` and ``device`` default to the parameters' own; ``mask`` asks for the choice when
        sequences differ in length. Training takes the same kernel as inference.
        """
        weight: nn.Parameter = getattr(self, self._all_weights[0][0])
        device_type = weight.device.type if device is None else torch.device(device).type
        dtype = dtype or weight.dtype
        specification = under_autocast(self.specification, device_type, dtype)
        request = Request(
            specification, device_type, dtype, mask, kernel=self.kernel, units=self.hidden_size
        )
        return choose(request)

    def weight_sets(
        self, read: Callable[[nn.Parameter], Tensor] = lambda parameter: parameter
    ) -> list[WeightSet]:
        """Return W, U and b of every layer and direction, in Keras's layout and gate order.

        ``read`` is applied to each parameter first. The b of an LSTM or RNN is the sum of torch's
        two biases, and so is what stands there when ``read`` takes gradients: both biases have
        the gradient of b, so the sum is twice that.

        >>> from gatewise.nn import LSTM
        >>> for weight_set in LSTM(3, 4, bidirectional=True).weight_sets():
        ...     print(weight_set.label, tuple(weight_set.weights["kernel"].shape))
        layer 0 (3, 16)
        layer 0 reverse (3, 16)
        """
        sets = []
        for index, names in enumerate(self._all_weights):
            layer, direction = divmod(index, self._directions)
            sources: dict[str, tuple[str, ...]] = {
                "kernel": (names[0],),
                "recurrent_kernel": (names[1],),
            }
            if self.bias:
                sources["bias"] = (names[2], names[3])
            weights = self._kernel_weights(names, read)
            if self.proj_size:
                sources["projection"] = (names[-1],)
            label = f"layer {layer}" + (" reverse" if direction else "")
            sets.append(WeightSet(label, self._specifications[direction], weights, sources))
        return sets

    def extra_repr(self) -> str:
        parts = [f"{self.input_size}, {self.hidden_size}"]
        defaults = {
            "proj_size": 0,
            "num_layers": 1,
            "bias": True,
            "batch_first": False,
            "dropout": 0.0,
            "bidirectional": False,
            "kernel": "auto",
        }
        for argument, default in defaults.items():
            value = getattr(self, argument)
            if value != default:
                parts.append(
                    f"{argument}={value!r}" if argument == "kernel" else f"{argument}={value}"
                )
        return ", ".join(parts)

    def _run(
        self,
        input: Tensor | PackedSequence,
        state: tuple[Tensor, ...] | None,
        lengths: Lengths | None,
    ) -> tuple[Tensor | PackedSequence, tuple[Tensor, ...]]:
        """Run all layers; ``state`` and the results are in torch's form, one tensor a state."""
        name = type(self).__name__
        sequences: Padded | Packed
        if isinstance(input, PackedSequence):
            sequences = open_packed(name, input, lengths, self.input_size)
        else:
            sequences = open_padded(name, input, lengths, self.input_size, self.batch_first)
        x = sequences.x
        self._check_dtype(x)
        if state is not None:
            batched = not isinstance(sequences, Padded) or sequences.batched
            self._check_state(state, x.shape[0] if batched else None)
            state = tuple(sequences.enter_state(part) for part in state)
        finals: list[tuple[Tensor, ...]] = []
        for layer in range(self.num_layers):
            if layer and self.dropout and self.training:
                x = x * sequences.dropout_mask(x, self.dropout)
            outputs = []
            for direction in range(self._directions):
                index = layer * self._directions + direction
                initial = None if state is None else tuple(part[index] for part in state)
                output, final = self._run_direction(x, initial, sequences.mask, index)
                outputs.append(output)
                finals.append(final)
            x = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)  # (B, T, D·H)
        stacked = (_stack(parts) for parts in zip(*finals, strict=True))  # (L·D, B, H)
        return sequences.leave(x), tuple(sequences.leave_state(part) for part in stacked)

    def _run_direction(
        self, x: Tensor, state: tuple[Tensor, ...] | None, mask: Tensor | None, index: int
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """Run one layer in one direction: one call of the fused operator."""
        names = self._all_weights[index]
        weights = list(self._kernel_weights(names, lambda parameter: parameter).values())
        specification = self._specifications[index % self._directions]
        # torch takes an empty batch, which only the equation does too.
        kernel = "reference" if x.shape[0] == 0 else self.kernel
        return recurrent(x, weights, state, specification=specification, mask=mask, kernel=kernel)

    def _kernel_weights(
        self, names: Sequence[str], read: Callable[[nn.Parameter], Tensor]
    ) -> dict[str, Tensor]:
        count = 4 if self.bias else 2
        layout = kernel_layout(self.cell, *(read(getattr(self, name)) for name in names[:count]))
        if self.proj_size:
            layout["projection"] = read(getattr(self, names[-1])).t()  # (H, P)
        return layout

    @property
    def _directions(self) -> int:
        return 2 if self.bidirectional else 1

    @property
    def _output_size(self) -> int:
        """The width of h."""
        return self.proj_size or self.hidden_size

    def _parameter_names(self) -> list[list[str]]:
        """Return the parameters' names, one list for each layer and direction, in torch's order."""
        kinds = ["weight_ih", "weight_hh"]
        kinds += ["bias_ih", "bias_hh"] if self.bias else []
        kinds += ["weight_hr"] if self.proj_size else []
        suffixes = [
            f"l{layer}{direction}"
            for layer in range(self.num_layers)
            for direction in ("", "_reverse")[: self._directions]
        ]
        return [[f"{kind}_{suffix}" for kind in kinds] for suffix in suffixes]

    def _parameter_shape(self, parameter: str) -> tuple[int, ...]:
        gates = len(TORCH_GATES[self.cell]) * self.hidden_size
        if parameter.startswith("weight_ih"):
            first = parameter.removesuffix("_reverse").endswith("_l0")
            return (gates, self.input_size if first else self._output_size * self._directions)
        if parameter.startswith("weight_hh"):
            return (gates, self._output_size)
        if parameter.startswith("weight_hr"):
            return (self.proj_size, self.hidden_size)
        return (gates,)

    def _check_dtype(self, x: Tensor) -> None:
        dtype = getattr(self, self._all_weights[0][0]).dtype
        if x.dtype != dtype and not torch.is_autocast_enabled(x.device.type):
            raise InputError(
                f"{type(self).__name__} has {dtype} weights but got {x.dtype} input. "
                f"Convert the input, x.to({dtype}), or the model, model.to({x.dtype})."
            )

    def _check_state(self, state: tuple[Tensor, ...], batch: int | None) -> None:
        """Refuse an initial state of another shape; ``batch`` is None for an unbatched sequence."""
        name, rows = type(self).__name__, self.num_layers * self._directions
        middle = () if batch is None else (batch,)
        widths = {"h_0": self._output_size, "c_0": self.hidden_size}
        for (label, width), part in zip(widths.items(), state, strict=False):
            expected = (rows, *middle, width)
            if tuple(part.shape) == expected:
                continue
            axes = (
                "(layers * directions, size)" if batch is None else "(layers * directions, B, size)"
            )
            swapped = batch is not None and tuple(part.shape) == (batch, rows, width)
            cure = (
                f" batch_first does not apply to states: {label}.transpose(0, 1)."
                if swapped
                else ""
            )
            raise InputError(
                f"{name} expected {label} {expected} = {axes} but got {tuple(part.shape)}.{cure}"
            )


def _stack(parts: tuple[Tensor, ...]) -> Tensor:
    """Return the parts along a new first axis, of a single one without a copy."""
    return parts[0].unsqueeze(0) if len(parts) == 1 else torch.stack(parts)
