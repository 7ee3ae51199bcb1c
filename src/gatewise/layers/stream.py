"""Streams: a layer or a model that is fed some time steps at a time and keeps its state in between.

A stream takes the weights as they are when it is opened; training goes on without it. It computes
as in inference: no dropout, no gradients. One stream serves one thread at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, overload

import numpy as np
import torch
from torch import Tensor, nn

from gatewise.cells import Noise, Specification
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import cpu, cpu_int8, recurrent
from gatewise.kernels.int8 import recurrent_int8
from gatewise.layers.dense import Activation, Dense
from gatewise.layers.dropout import Dropout
from gatewise.layers.embedding import Embedding
from gatewise.layers.layer import Layer, as_tensor, positive, sizes
from gatewise.layers.masking import Masking
from gatewise.layers.quantization import int8_weights

if TYPE_CHECKING:
    from gatewise.layers.recurrent import Recurrent

# Takes values and a mask, those of one step or of a series of them, and whether of a series.
Stage = Callable[[Tensor, Tensor | None, bool], tuple[Tensor, Tensor | None]]


class OperatorCell:
    """What ``cpu.Stream`` does natively, for what it does not serve: calls of the operator."""

    def __init__(
        self,
        operator: Callable[..., Any],
        state: Sequence[Tensor],
        specification: Specification,
        noise: Noise,
        kernel: str,
    ) -> None:
        self._operator, self._specification, self._kernel = operator, specification, kernel
        self._noise = noise  # of one step
        self.state = state

    def advance(self, x: Tensor, mask: Tensor | None) -> Tensor:
        single = x.dim() == 2
        if single:
            x, mask = x.unsqueeze(1), None if mask is None else mask.unsqueeze(1)
        outputs, self.state = self._operator(
            x,
            state=self.state,
            specification=self._specification,
            mask=mask,
            noise=self._noise.repeated(x.shape[1]),
            kernel=self._kernel,
        )
        return outputs[:, 0] if single else outputs


class LayerStream:
    """A recurrent layer that is fed some time steps at a time; made by ``layer.stream(batch)``.

    ``step(x)`` takes the next step of ``batch`` series, (B, I), as an array or a tensor, and
    returns h after it, (B, units), as the same kind; ``steps(x)`` takes the next T steps,
    (B, T, I), and returns h after each, (B, T, units). The native kernels give the very bits that
    the layer gives for the whole series, however it is cut.

    Raises ``InputError`` for a layer without weights and for steps of another shape,
    ``UnsupportedError`` for a layer that goes backwards.

    >>> from gatewise.layers import LSTM
    >>> layer = LSTM(4, return_sequences=True, input_shape=(None, 3))
    >>> layer.build((None, None, 3))
    >>> x, stream = torch.ones(2, 5, 3), layer.stream(batch=2)
    >>> first = stream.step(x[:, 0])
    >>> outputs = torch.cat([first.unsqueeze(1), stream.steps(x[:, 1:])], dim=1)
    >>> torch.equal(outputs, layer(x))
    True
    """

    def __init__(self, layer: Recurrent, batch: int = 1) -> None:
        batch = positive(f"{layer.name}.stream", "batch", batch)
        if not layer.built:
            raise InputError(
                f"{layer.name} has no weights yet, so it cannot be streamed. Build it first: "
                "layer.build((None, None, I)), or call it once."
            )
        if layer.go_backwards:
            raise UnsupportedError(
                f"{layer.name} goes backwards: its first step is the last of a series, which a "
                "stream does not know. Stream a layer with go_backwards=False."
            )
        self._cell = _cell(layer, batch)
        self._name, self._zeroes = layer.name, layer.zero_output_for_mask
        self._dtype, self._device = self._cell.state[0].dtype, self._cell.state[0].device
        self._shape, self._result_size = (batch, layer.kernel.shape[0]), layer.output_size
        self._advance_arrays: Callable[[int, np.ndarray, np.ndarray], None] | None = None
        self._array_type: np.dtype[Any] | None = None
        if isinstance(self._cell, cpu.Stream):
            self._advance_arrays = self._cell.advance_arrays
            self._array_type = torch.empty(0, dtype=self._dtype).numpy().dtype

    @property
    def state(self) -> tuple[Tensor, ...]:
        """A copy of the state: h (B, units), or its projection (B, P), and an LSTM's c (B, units).

        It can be set.
        """
        return tuple(part.clone() for part in self._cell.state)

    @state.setter
    def state(self, value: Sequence[Tensor]) -> None:
        held = self._cell.state
        given = [as_tensor(part, like=held[0]) for part in value]
        if [part.shape for part in given] != [part.shape for part in held]:
            expected, got = (
                ", ".join(sizes(tuple(part.shape)) for part in parts) for parts in (held, given)
            )
            raise InputError(
                f"{self._name}.stream has the state {expected}: h, and of an LSTM c, but got {got}."
            )
        for part, new in zip(held, given, strict=True):
            part.copy_(new)

    def reset(self, rows: Any = None) -> None:
        """Begin anew from a state of zeros: all series, or those that ``rows`` selects.

        ``rows`` is an index, a slice, or a list or tensor of indices or booleans.
        """
        if rows is None:
            rows = slice(None)
        try:
            for part in self._cell.state:
                part[rows] = 0
        except IndexError as error:
            raise InputError(
                f"{self._name}.stream has the rows 0 to {self._shape[0] - 1}, but reset got "
                f"{rows!r}: {error}"
            ) from None

    @overload
    def step(self, x: np.ndarray, mask: Any = None) -> np.ndarray: ...

    @overload
    def step(self, x: Tensor, mask: Any = None) -> Tensor: ...

    def step(self, x: np.ndarray | Tensor, mask: Any = None) -> np.ndarray | Tensor:
        """Take the next step (B, I) and return h after it (B, units).

        Where ``mask`` (B,) is False the row's state stays and its x does not matter.
        """
        return self._take(x, mask, series=False)

    @overload
    def steps(self, x: np.ndarray, mask: Any = None) -> np.ndarray: ...

    @overload
    def steps(self, x: Tensor, mask: Any = None) -> Tensor: ...

    def steps(self, x: np.ndarray | Tensor, mask: Any = None) -> np.ndarray | Tensor:
        """Take the next T steps (B, T, I) and return h after each of them (B, T, units).

        As T calls of :meth:`step` with a ``mask`` (B, T), but one for all.
        """
        return self._take(x, mask, series=True)

    def _take(self, x: np.ndarray | Tensor, mask: Any, series: bool) -> np.ndarray | Tensor:
        if type(x) is not np.ndarray:
            return self.advance(x, mask, series)
        if (
            self._advance_arrays is not None
            and mask is None
            and x.dtype == self._array_type
            and self._fits(x.shape, series)
            and x.flags.c_contiguous
        ):
            outputs = np.empty((*x.shape[:-1], self._result_size), self._array_type)
            self._advance_arrays(x.shape[1] if series else 1, x, outputs)
            return outputs
        return self.advance(as_tensor(x, None), mask, series).cpu().numpy()

    @torch.no_grad()
    def advance(self, x: Any, mask: Any = None, series: bool = False) -> Tensor:
        """As :meth:`step` or, of a ``series``, :meth:`steps`, of anything like an array."""
        x = as_tensor(x, like=self._cell.state[0])
        self._check(tuple(x.shape), series)
        x = x.detach().to(self._device, self._dtype).contiguous()
        if mask is None:
            return self._cell.advance(x, None)
        mask = self._receive_mask(mask, tuple(x.shape[:-1]))
        outputs = self._cell.advance(x, mask)
        return torch.where(mask.unsqueeze(-1), outputs, 0) if self._zeroes else outputs

    def _fits(self, shape: tuple[int, ...], series: bool) -> bool:
        if not series:
            return shape == self._shape
        return len(shape) == 3 and shape[1] > 0 and (shape[0], shape[2]) == self._shape

    def _check(self, shape: tuple[int, ...], series: bool) -> None:
        if self._fits(shape, series):
            return
        batch, inputs = self._shape
        if series:
            expected = f"at least one step {sizes((batch, None, inputs))}"
            mend = "Feed steps (B, T, I), or one (B, I) with step(x)"
        else:
            expected = f"one step {sizes(self._shape)}"
            mend = "Feed one step, x[:, t], or several with steps(x)"
        raise InputError(
            f"{self._name}.stream expected {expected} but got {sizes(shape)}. {mend}, and open "
            "the stream with batch= as many series as come side by side."
        )

    def _receive_mask(self, mask: Any, shape: tuple[int, ...]) -> Tensor:
        mask = as_tensor(mask, like=self._cell.state[0])
        if mask.shape != shape or mask.is_floating_point():
            raise InputError(
                f"{self._name}.stream expected a boolean mask {sizes(shape)}, one value a row "
                f"and step, but got {sizes(tuple(mask.shape))}, {mask.dtype}."
            )
        return mask.to(torch.bool).contiguous()


class ModelStream:
    """A stack of layers that is fed some time steps at a time; made by ``model.stream(batch)``.

    ``step(x)`` takes the next step of ``batch`` series, (B, I), or for a model that begins with an
    embedding token ids (B,), and returns what the model would return if the series ended there.
    ``steps(x)`` takes the next T steps, (B, T, I) or (B, T), and returns that for each of them.
    Recurrent layers keep their state; Dense, Activation, Dropout (which does nothing here),
    Embedding and Masking see each step by itself.

    Raises ``UnsupportedError`` for any other layer.

    >>> from gatewise import Sequential
    >>> from gatewise.layers import LSTM, Dense
    >>> model = Sequential([LSTM(4, input_shape=(None, 3)), Dense(1)])
    >>> x, stream = torch.ones(2, 5, 3), model.stream(batch=2)
    >>> for t in range(5):
    ...     y = stream.step(x[:, t])
    >>> torch.equal(y, model(x))
    True
    >>> stream.reset()
    >>> stream.steps(x).shape
    torch.Size([2, 5, 1])
    """

    def __init__(self, layers: Iterable[nn.Module], batch: int = 1) -> None:
        self.streams: list[LayerStream | ModelStream] = []
        self._stages = [self._stage(layer, batch) for layer in layers]
        if not self.streams:
            raise UnsupportedError(
                "The model has no recurrent layer, so there is nothing to stream: call it."
            )

    def reset(self, rows: Any = None) -> None:
        """Begin anew: all series, or the ``rows`` of :meth:`LayerStream.reset`."""
        for stream in self.streams:
            stream.reset(rows)

    @overload
    def step(self, x: np.ndarray, mask: Any = None) -> np.ndarray: ...

    @overload
    def step(self, x: Tensor, mask: Any = None) -> Tensor: ...

    def step(self, x: np.ndarray | Tensor, mask: Any = None) -> np.ndarray | Tensor:
        """Take the next step and return the model's output (B, …) after it, as the same kind.

        Where ``mask`` (B,) is False the row's state stays and its x does not matter.
        """
        value = self.advance(as_tensor(x, None), mask)
        return value if isinstance(x, Tensor) else value.cpu().numpy()

    @overload
    def steps(self, x: np.ndarray, mask: Any = None) -> np.ndarray: ...

    @overload
    def steps(self, x: Tensor, mask: Any = None) -> Tensor: ...

    def steps(self, x: np.ndarray | Tensor, mask: Any = None) -> np.ndarray | Tensor:
        """Take the next T steps and return the model's output (B, T, …) after each of them.

        As T calls of :meth:`step` with a ``mask`` (B, T), but one for all.
        """
        value = self.advance(as_tensor(x, None), mask, series=True)
        return value if isinstance(x, Tensor) else value.cpu().numpy()

    @torch.no_grad()
    def advance(self, x: Tensor, mask: Any = None, series: bool = False) -> Tensor:
        """As :meth:`step` or, of a ``series``, :meth:`steps`, of a tensor."""
        mask = None if mask is None else as_tensor(mask, like=x)
        for stage in self._stages:
            x, mask = stage(x, mask, series)
        return x

    def _stage(self, layer: nn.Module, batch: int) -> Stage:
        if hasattr(layer, "stream"):
            stream: LayerStream | ModelStream = layer.stream(batch)  # pyright: ignore[reportCallIssue]
            self.streams.append(stream)
            return lambda x, mask, series: (stream.advance(x, mask, series), mask)
        if isinstance(layer, Dropout):
            return lambda x, mask, series: (x, mask)
        if isinstance(layer, (Embedding, Masking)):
            return lambda x, mask, series: _masking(layer, x, mask, series)
        if isinstance(layer, (Dense, Activation)):
            return lambda x, mask, series: (layer(x), mask)
        raise UnsupportedError(
            f"A {type(layer).__name__} layer cannot be streamed: it is not known to work on each "
            "time step by itself. Recurrent layers, Dense, Activation, Dropout, Embedding and "
            "Masking can; stream those layers, and call the others on the results."
        )


def _cell(layer: Recurrent, batch: int) -> cpu.Stream | OperatorCell:
    """Return what takes the steps of a layer, with its weights as they are now."""
    specification, native = layer.specification, layer.choice().kernel == "cpu"
    int8 = layer.quantization is not None
    floats = layer.get_buffer("kernel_scale") if int8 else layer.recurrent_kernel.detach()
    step = floats.new_empty(batch, 1, len(layer.kernel))
    noise = layer.rates.draw(layer.noise, step, layer.state_sizes, training=False)
    if int8:
        quantized = int8_weights(layer)
        if native:
            return cpu_int8.Int8Stream(quantized, batch, specification, noise)
        operator = partial(recurrent_int8, weights=quantized)
    else:
        weights = [weight.detach() for weight in layer.weight_list()]
        if native:
            return cpu.Stream(weights, batch, specification, noise)
        operator = partial(recurrent, weights=weights)
    state = [step.new_zeros(batch, size) for size in layer.state_sizes]
    return OperatorCell(operator, state, specification, noise, layer.use_kernel)


def _masking(
    layer: Layer, x: Tensor, mask: Tensor | None, series: bool
) -> tuple[Tensor, Tensor | None]:
    """Apply a layer that makes a mask; it sees one step as a series of one."""
    if not series:
        x = x.unsqueeze(1)
    made = layer.compute_mask(x)
    result = layer(x)
    if not series:
        result, made = result[:, 0], None if made is None else made[:, 0]
    if made is not None:
        mask = made if mask is None else made & mask
    return result, mask
