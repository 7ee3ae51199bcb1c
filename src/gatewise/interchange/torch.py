"""torch.nn's recurrent modules as gatewise's layers in Keras's manners, and back.

torch keeps ``weight_ih_l0 (G·H, I)``, ``weight_hh_l0 (G·H, H)`` and two biases, with the GRU's
gates as r, z, n; a layer here keeps ``kernel (I, G·H)``, ``recurrent_kernel (H, G·H)`` and
``bias``, with the gates as z, r, h. To keep torch's own names, see :func:`gatewise.accelerate`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from gatewise import layers
from gatewise.cells import GATES, Weights, reorder_gates
from gatewise.errors import InputError, UnsupportedError, unknown_name
from gatewise.interchange.agreement import assert_equal_outputs
from gatewise.models import Sequential
from gatewise.nn.weights import TORCH_GATES, kernel_layout

_KINDS: dict[type[nn.RNNBase], tuple[str, type[layers.Recurrent]]] = {
    nn.LSTM: ("lstm", layers.LSTM),
    nn.GRU: ("gru", layers.GRU),
    nn.RNN: ("simple_rnn", layers.SimpleRNN),
}


def weights_from_torch(cell: str, state: Mapping[str, Tensor], suffix: str = "_l0") -> list[Tensor]:
    """Return the weights of a layer, for ``set_weights``, out of a torch ``state_dict``.

    ``cell`` is "lstm", "gru" or "simple_rnn"; ``suffix`` chooses layer and direction, such as
    ``"_l1_reverse"``.

    >>> kernel, recurrent_kernel, bias = weights_from_torch("lstm", nn.LSTM(3, 2).state_dict())
    >>> kernel.shape, recurrent_kernel.shape, bias.shape
    (torch.Size([3, 8]), torch.Size([2, 8]), torch.Size([8]))
    """
    if cell not in GATES:
        raise unknown_name("cell", cell, GATES)
    if f"weight_ih{suffix}" not in state:
        raise InputError(
            f"The state_dict has no 'weight_ih{suffix}'. It holds: {', '.join(state) or 'nothing'}."
        )
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    parts = [state[name + suffix] for name in names if name + suffix in state]
    layout = kernel_layout(cell, *(part.detach() for part in parts))
    return [part.contiguous() for part in layout.values()]


def weights_to_torch(cell: str, weights: list[Any], suffix: str = "_l0") -> dict[str, Tensor]:
    """Return what :func:`weights_from_torch` reads: entries of a torch ``state_dict``.

    torch's second bias is zero for an LSTM and a simple RNN, where only the sum of both counts.

    >>> list(weights_to_torch("lstm", [torch.zeros(3, 8), torch.zeros(2, 8)]))
    ['weight_ih_l0', 'weight_hh_l0']
    """
    if cell not in GATES:
        raise unknown_name("cell", cell, GATES)
    if len(weights) not in (2, 3):
        raise InputError(
            f"weights_to_torch expected kernel, recurrent_kernel and perhaps bias but got "
            f"{len(weights)} weights. A layer has them once it is built."
        )
    tensors = [torch.as_tensor(weight).detach() for weight in weights]
    tensors = [reorder_gates(part, GATES[cell], TORCH_GATES[cell]) for part in tensors]
    state = {"weight_ih": tensors[0].t(), "weight_hh": tensors[1].t()}
    if len(tensors) == 3:
        bias = tensors[2]
        if cell == "gru" and bias.ndim == 1:
            raise UnsupportedError(
                "torch's GRU resets after the recurrent product and has two biases, but these "
                "weights are of a GRU with reset_after=False. Train one with reset_after=True."
            )
        rows = (bias[0], bias[1]) if cell == "gru" else (bias, torch.zeros_like(bias))
        state["bias_ih"], state["bias_hh"] = rows
    return {name + suffix: part.contiguous() for name, part in state.items()}


def from_torch(module: nn.RNNBase) -> Sequential:
    """Return a model of layers that computes the outputs of a torch recurrent module.

    A layer with ``return_sequences`` for each of its layers, ``Bidirectional`` if the module is,
    ``Dropout`` between them if it has any. Input and output are (B, T, ·), whatever the module's
    ``batch_first``.

    >>> model = from_torch(nn.GRU(3, 4, num_layers=2))
    >>> [type(layer).__name__ for layer in model.layers], model.output_shape
    (['GRU', 'GRU'], (None, None, 4))
    """
    if type(module) not in _KINDS:
        known = ", ".join(f"torch.nn.{kind.__name__}" for kind in _KINDS)
        raise InputError(f"from_torch expected one of {known} but got {type(module).__name__}.")
    cell, kind = _KINDS[type(module)]
    state = module.state_dict()
    weight = state["weight_ih_l0"]
    model = Sequential([layers.Input((None, module.input_size))])
    for depth in range(module.num_layers):
        if depth and module.dropout:
            model.add(layers.Dropout(module.dropout))
        arguments: dict[str, Any] = {"use_bias": bool(module.bias), "return_sequences": True}
        if isinstance(module, nn.RNN):
            arguments["activation"] = module.nonlinearity
        if module.proj_size:
            arguments["projection"] = module.proj_size
        layer: Any = kind(module.hidden_size, **arguments)
        suffixes = [f"_l{depth}"]
        if module.bidirectional:
            layer = layers.Bidirectional(layer)
            suffixes.append(f"_l{depth}_reverse")
        model.add(layer)
        layer.to(device=weight.device, dtype=weight.dtype)
        layer.set_weights([w for end in suffixes for w in _weights(cell, state, end)])
    _assert_equal(module, model)
    return model


def _weights(cell: str, state: Mapping[str, Any], suffix: str) -> list[Tensor]:
    """Return the weights of one layer and direction, with its projection if it has one."""
    weights = weights_from_torch(cell, state, suffix)
    projection = state.get(f"weight_hr{suffix}")
    return weights if projection is None else [*weights, projection.t()]


def to_torch(layer: layers.Recurrent) -> nn.RNNBase:
    """Return the torch module, ``batch_first``, with the weights of one built recurrent layer.

    The module returns all outputs and the final state, whatever the layer's ``return_`` arguments.

    >>> to_torch(from_torch(nn.LSTM(3, 4)).layers[0])
    LSTM(3, 4, batch_first=True)
    """
    kinds: dict[type, Any] = {ours: theirs for theirs, (_, ours) in _KINDS.items()}
    if type(layer) not in kinds:
        known = ", ".join(kind.__name__ for kind in kinds)
        raise InputError(f"to_torch expected one of {known} but got {type(layer).__name__}.")
    if not layer.built:
        raise InputError(f"to_torch: {layer.name} has no weights yet; build it, or pass it data.")
    _check_torch_has_it(layer)
    inputs, units = layer.kernel.shape[0], layer.units
    arguments: dict[str, Any] = {"bias": layer.use_bias, "batch_first": True}
    if isinstance(layer, layers.SimpleRNN):
        arguments["nonlinearity"] = layer.specification.activation
    weights = Weights.of(layer.weight_list(), layer.specification)
    state = weights_to_torch(layer.cell, [one for one in weights[:3] if one is not None])
    if weights.projection is not None:
        arguments["proj_size"] = layer.output_size
        state["weight_hr_l0"] = weights.projection.detach().t().contiguous()
    module = kinds[type(layer)](inputs, units, **arguments)
    module.load_state_dict(state)
    module.to(device=layer.kernel.device, dtype=layer.kernel.dtype)
    _assert_equal(module, layer)
    return module


def _check_torch_has_it(layer: layers.Recurrent) -> None:
    """Raise ``UnsupportedError`` for what torch's module of the same cell cannot say."""
    specification = layer.specification
    squashes = (specification.activation, specification.recurrent_activation)
    refused = None
    if layer.go_backwards:
        refused = "go_backwards=True; flip the input: x.flip(1)"
    elif specification.cell == "cifg" or specification.peephole or specification.cell_clip:
        refused = "coupled gates, peepholes or cell_clip, which torch's module has not"
    elif any(layer.zoneout) or layer.weight_dropout:
        refused = "zoneout or weight_dropout, which torch's module has not; leave it out"
    elif layer.dropout or layer.recurrent_dropout:
        refused = "dropout, which torch's module has not; leave it out"
    elif specification.layer_norm:
        refused = "layer_norm=True, which torch's module has not"
    elif layer.cell == "simple_rnn" and squashes[0] not in ("tanh", "relu"):
        refused = f"activation={squashes[0]!r}; torch has tanh and relu"
    elif layer.cell != "simple_rnn" and squashes != ("tanh", "sigmoid"):
        refused = f"the activations {squashes}; torch has tanh and sigmoid"
    elif layer.cell == "gru" and not specification.reset_after:
        refused = "reset_after=False; torch resets after the product"
    if refused is not None:
        raise UnsupportedError(f"to_torch: {layer.name} has {refused}.")


def _assert_equal(module: nn.RNNBase, ours: Any) -> None:
    """Run both without dropout on drawn numbers."""
    weight: Any = module.weight_ih_l0
    numbers = torch.Generator().manual_seed(0)
    x = torch.randn(3, 7, module.input_size, generator=numbers).to(weight)
    given = x if module.batch_first else x.transpose(0, 1)
    was_training = module.training
    with torch.no_grad():
        wanted = module.eval()(given)[0]
        got = ours(x)
    module.train(was_training)
    wanted = wanted if module.batch_first else wanted.transpose(0, 1)
    if not getattr(ours, "return_sequences", True):
        wanted = wanted[:, -1]
    got = got[0] if isinstance(got, tuple) else got
    assert_equal_outputs(type(module).__name__, wanted.cpu().numpy(), got.cpu().numpy())
