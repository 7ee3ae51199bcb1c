"""The weights of torch.nn's own recurrent layers, read as gatewise's weight sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor, nn

from gatewise.cells import Specification, WeightSet
from gatewise.nn.weights import kernel_layout

_SPECIFICATIONS = {
    "LSTM": Specification("lstm"),
    "GRU": Specification("gru", reset_after=True),
    "RNN_TANH": Specification("simple_rnn", activation="tanh"),
    "RNN_RELU": Specification("simple_rnn", activation="relu"),
}


def torch_weight_sets(
    module: nn.RNNBase, read: Callable[[nn.Parameter], Tensor]
) -> list[WeightSet]:
    """Return the weight sets of a `torch.nn.LSTM`, `GRU` or `RNN` in gatewise's layout."""
    directions = ("", "_reverse") if module.bidirectional else ("",)
    return [
        _torch_weight_set(module, f"l{layer}{direction}", read)
        for layer in range(module.num_layers)
        for direction in directions
    ]


def _torch_weight_set(
    module: nn.RNNBase, suffix: str, read: Callable[[nn.Parameter], Tensor]
) -> WeightSet:
    specification = replace(_SPECIFICATIONS[module.mode], projection=module.proj_size > 0)
    sources: dict[str, tuple[str, ...]] = {
        "kernel": (f"weight_ih_{suffix}",),
        "recurrent_kernel": (f"weight_hh_{suffix}",),
    }
    if module.bias:
        sources["bias"] = (f"bias_ih_{suffix}", f"bias_hh_{suffix}")
    parts = [read(module.get_parameter(name)) for names in sources.values() for name in names]
    weights = kernel_layout(specification.cell, *parts)
    if module.proj_size:
        sources["projection"] = (f"weight_hr_{suffix}",)
        weights["projection"] = read(module.get_parameter(f"weight_hr_{suffix}")).t()
    label = f"layer {suffix.removeprefix('l').replace('_', ' ')}"
    return WeightSet(label, specification, weights, sources)
