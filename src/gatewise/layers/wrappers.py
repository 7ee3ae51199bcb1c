"""A recurrent layer in both directions of time.

Schuster and Paliwal, "Bidirectional recurrent neural networks", IEEE Transactions on
Signal Processing 45(11), 1997.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from gatewise.cells import WeightSet
from gatewise.errors import InputError, unknown_name
from gatewise.kernels import Choice
from gatewise.layers.gru import GRU
from gatewise.layers.layer import Layer, Shape
from gatewise.layers.lstm import LSTM
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.rnn import RNN
from gatewise.layers.rnn_cells import OwnCell
from gatewise.layers.simple_rnn import SimpleRNN

_WRAPPED = {layer.__name__: layer for layer in (LSTM, GRU, SimpleRNN)}

_MERGES: dict[str | None, Callable[[Tensor, Tensor], Any]] = {
    "concat": lambda forward, backward: torch.cat((forward, backward), dim=-1),
    "sum": lambda forward, backward: forward + backward,
    "mul": lambda forward, backward: forward * backward,
    "ave": lambda forward, backward: (forward + backward) / 2,
    None: lambda forward, backward: (forward, backward),
}


class Bidirectional(Layer):
    """Run a recurrent layer forwards and a second one backwards in time, and merge their outputs.

        y = merge(forward(x), backward(x))

    ``merge_mode`` is "concat" (H becomes 2H), "sum", "mul", "ave", or None for a pair of outputs.
    The two layers are ``forward_layer`` and ``backward_layer``, each with weights of its own; both
    are made anew from ``layer``'s arguments, unless a ``backward_layer`` is given, whose
    ``go_backwards`` must be the opposite. With ``return_state`` the result is a tuple: the merged
    outputs, then the forward layer's states, then the backward layer's; ``initial_state`` takes
    states in that order. With ``return_sequences`` the outputs stand in time order and are zero at
    masked steps, as in Keras.

    >>> import torch
    >>> layer = Bidirectional(LSTM(3, return_sequences=True))
    >>> layer(torch.zeros(2, 5, 4)).shape
    torch.Size([2, 5, 6])
    >>> [weight_set.label for weight_set in layer.weight_sets()]
    ['forward', 'backward']
    """

    takes_mask = True
    supports_masking = True

    def __init__(
        self,
        layer: Recurrent | RNN,
        merge_mode: str | None = "concat",
        *,
        backward_layer: Recurrent | RNN | None = None,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
    ) -> None:
        layer = _recurrent(layer)
        backward_layer = None if backward_layer is None else _recurrent(backward_layer)
        if merge_mode not in _MERGES:
            raise unknown_name("merge_mode", merge_mode, map(str, _MERGES))
        shape = layer.input_shape if input_shape is None else input_shape
        super().__init__(input_shape=shape, name=name, trainable=trainable)
        self.merge_mode = merge_mode
        self.return_sequences = layer.return_sequences
        self.return_state = layer.return_state
        self.forward_layer = _copied(layer, "forward", layer.go_backwards)
        self.backward_layer = backward_layer or _copied(layer, "backward", True)
        self._check_directions()
        for direction in (self.forward_layer, self.backward_layer):
            # Keras's rule: what is padding in one direction must not leak into the other's sum.
            direction.zero_output_for_mask = self.return_sequences
            direction.trainable = direction.trainable and self.trainable

    def create_weights(self, input_shape: Shape) -> None:
        self.forward_layer.build(input_shape)
        self.backward_layer.build(input_shape)

    def check_input_shape(self, shape: Shape) -> None:
        self.forward_layer.check_input_shape(shape)

    def forward(
        self,
        x: Tensor,
        mask: Tensor | None = None,
        initial_state: Sequence[Tensor] | None = None,
    ) -> Any:
        """Return the merged outputs, and with ``return_state`` the states of both directions."""
        x = self.receive(x)
        forward_state, backward_state = self._receive_states(initial_state)
        ahead = self.forward_layer(x, mask=mask, initial_state=forward_state, time_order=True)
        back = self.backward_layer(x, mask=mask, initial_state=backward_state, time_order=True)
        if not self.return_state:
            return self._merged(ahead, back)
        merged = self._merged(ahead[0], back[0])
        outputs = merged if self.merge_mode is None else (merged,)
        return (*outputs, *ahead[1:], *back[1:])

    def compute_mask(self, x: Tensor, mask: Tensor | None = None) -> Tensor | None:
        """Return the mask of the outputs: the input's with ``return_sequences``, else none."""
        return self.forward_layer.compute_mask(x, mask)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> Any:
        shape = self.forward_layer.compute_output_shape(input_shape)
        outputs, *states = shape if self.return_state else (shape,)
        if self.merge_mode == "concat":
            outputs = (*outputs[:-1], outputs[-1] + self.backward_layer.output_size)
        shown = (outputs, outputs) if self.merge_mode is None else (outputs,)
        if self.return_state:
            return (*shown, *states, *states)
        return shown if self.merge_mode is None else outputs

    def reset_state(self) -> None:
        """Forget the states that ``stateful=True`` carries from one batch to the next."""
        self.forward_layer.reset_state()
        self.backward_layer.reset_state()

    reset_states = reset_state

    def weight_sets(
        self, read: Callable[[nn.Parameter], Tensor] = lambda weight: weight
    ) -> list[WeightSet]:
        """Return the set of weights of each direction; ``read`` is applied to each weight."""
        return [
            _labelled(label, name, layer.weight_sets(read)[0])
            for label, name, layer in (
                ("forward", "forward_layer", self.forward_layer),
                ("backward", "backward_layer", self.backward_layer),
            )
        ]

    def choice(
        self,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        mask: bool = False,
        training: bool = False,
    ) -> Choice:
        """Return which kernel would run, and why; if the directions differ, both are named."""
        ahead = self.forward_layer.choice(dtype, device, mask, training)
        back = self.backward_layer.choice(dtype, device, mask, training)
        if ahead == back:
            return ahead
        reason = f"forward {ahead.kernel} ({ahead.reason}), backward {back.kernel} ({back.reason})"
        kernel = ahead.kernel if ahead.kernel == back.kernel else f"{ahead.kernel}, {back.kernel}"
        return Choice(kernel, reason)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "layer": _described(self.forward_layer),
            "merge_mode": self.merge_mode,
            "backward_layer": _described(self.backward_layer),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        config = dict(config)
        for key in ("layer", "backward_layer"):
            described = config[key]
            if described["class_name"] not in _WRAPPED:
                raise unknown_name("recurrent layer", described["class_name"], _WRAPPED)
            config[key] = _WRAPPED[described["class_name"]].from_config(described["config"])
        return cls(**config)

    def _weight(self) -> Tensor | None:
        return self.forward_layer._weight()

    def _merged(self, ahead: Tensor, back: Tensor) -> Any:
        if self.return_sequences and self.forward_layer.go_backwards:
            # Keras shows both in the order in which the forward layer went.
            ahead, back = ahead.flip(1), back.flip(1)
        return _MERGES[self.merge_mode](ahead, back)

    def _check_directions(self) -> None:
        if self.forward_layer.go_backwards == self.backward_layer.go_backwards:
            raise InputError(
                "Bidirectional needs one layer with go_backwards=True and one without, but "
                f"both have go_backwards={self.forward_layer.go_backwards}."
            )
        for argument in ("return_sequences", "return_state"):
            ahead, back = (getattr(x, argument) for x in (self.forward_layer, self.backward_layer))
            if ahead != back:
                raise InputError(
                    f"Bidirectional needs two layers with the same {argument} "
                    f"but layer has {ahead} and backward_layer has {back}."
                )

    def _receive_states(self, state: Sequence[Tensor] | None) -> tuple[Any, Any]:
        if state is None:
            return None, None
        ahead = len(self.forward_layer.specification.states)
        total = ahead + len(self.backward_layer.specification.states)
        if not isinstance(state, list | tuple) or len(state) != total:
            got = (
                f"{len(state)} tensors" if isinstance(state, list | tuple) else type(state).__name__
            )
            raise InputError(
                f"Bidirectional expected initial_state with {total} tensors, the states of the "
                f"forward layer and then those of the backward layer, but got {got}."
            )
        return list(state[:ahead]), list(state[ahead:])


def _recurrent(layer: Any) -> Recurrent:
    """Return a layer that can be wrapped; of an RNN of one of our cells, the layer of that name."""
    if isinstance(layer, Recurrent):
        return layer
    if isinstance(layer, RNN) and isinstance(layer.cell, OwnCell):
        own = layer.cell.layer
        outer = ("return_sequences", "return_state", "go_backwards", "stateful")
        arguments = {name: getattr(layer, name) for name in (*outer, "zero_output_for_mask")}
        return type(own)(
            **{**own.arguments(), **arguments, "name": layer.name, "trainable": layer.trainable}
        )
    if isinstance(layer, RNN):
        raise InputError(
            f"Bidirectional wraps LSTM, GRU, SimpleRNN, or RNN of one of their cells, but '"
            f"{layer.name}' runs a {type(layer.cell).__name__}. Call two RNNs on the input, one of "
            "them with go_backwards=True, and merge them: Concatenate()([ahead, back])."
        )
    raise InputError(
        f"Bidirectional wraps a recurrent layer (LSTM, GRU or SimpleRNN) but got {layer!r}."
    )


def _copied(layer: Recurrent, direction: str, go_backwards: bool) -> Recurrent:
    """Return a new layer with the same arguments, but a name and a direction of its own."""
    copy = type(layer)(
        **{
            **layer.arguments(),
            "go_backwards": go_backwards,
            "name": f"{direction}_{layer.name.removeprefix(f'{direction}_')}",
            "trainable": layer.trainable,
        }
    )
    copy.quantization = layer.quantization
    return copy


def _labelled(label: str, child: str, weight_set: WeightSet) -> WeightSet:
    sources = {
        name: tuple(f"{child}.{source}" for source in names)
        for name, names in weight_set.sources.items()
    }
    return WeightSet(label, weight_set.specification, weight_set.weights, sources)


def _described(layer: Recurrent) -> dict[str, Any]:
    return {"class_name": type(layer).__name__, "config": layer.get_config()}
