"""A torch.nn recurrent layer rebuilt as gatewise's, or back, around the same Parameters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn.utils import parametrize

from gatewise.nn.base import RecurrentBase
from gatewise.nn.recurrent import GRU, LSTM, RNN

COUNTERPARTS: dict[type[nn.Module], type[RecurrentBase]] = {nn.LSTM: LSTM, nn.GRU: GRU, nn.RNN: RNN}
"""The class of gatewise that stands for each class of torch.nn."""

_HOOKS = (
    "_forward_pre_hooks",
    "_forward_hooks",
    "_backward_pre_hooks",
    "_backward_hooks",
    "_state_dict_pre_hooks",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
    "_load_state_dict_post_hooks",
)


def is_recurrent(module: nn.Module) -> bool:
    """Whether a module is a recurrent layer or cell of torch's, in any guise, or of gatewise's."""
    if isinstance(module, (nn.RNNBase, nn.RNNCellBase, RecurrentBase)):
        return True
    names = {torch_class.__name__ for torch_class in COUNTERPARTS}
    return _script_name(module) in names or (
        _is_quantized(module) and type(module).__name__ in names
    )


def refusal(module: nn.Module) -> str | None:
    """Return why a recurrent module must stay, or None if its counterpart can take its place."""
    if isinstance(module, RecurrentBase):
        return "already a gatewise layer"
    if isinstance(module, nn.RNNCellBase):
        return "takes one step a call; the loop over time is in your code, where no kernel sees it"
    if _script_name(module) is not None:
        return "compiled by TorchScript; accelerate the model before torch.jit.script"
    if _is_quantized(module):
        return "quantized; gatewise computes in float32 and float64"
    if parametrize.is_parametrized(module):
        return f"parametrized ({', '.join(module.parametrizations)}), which a swap would lose"  # type: ignore[arg-type]
    if type(module) not in COUNTERPARTS:
        return "a subclass of torch's layer, which may compute something else"
    return _instance_refusal(module) or _parameter_refusal(module)


def rebuild(module: nn.Module, target: Callable[..., nn.Module], kernel: str | None) -> nn.Module:
    """Return a ``target`` with the settings, attributes and Parameter objects of ``module``.

    ``kernel`` is the argument that gatewise's classes have and torch's have not.
    """
    settings: Any = module
    arguments: dict[str, Any] = {
        "input_size": settings.input_size,
        "hidden_size": settings.hidden_size,
        "num_layers": settings.num_layers,
        "bias": settings.bias,
        "batch_first": settings.batch_first,
        "bidirectional": settings.bidirectional,
    }
    if target in (nn.LSTM, LSTM):
        arguments["proj_size"] = settings.proj_size
    if target in (nn.RNN, RNN):
        arguments["nonlinearity"] = settings.nonlinearity
    if kernel is not None:
        arguments["kernel"] = kernel
    twin: Any = target(**arguments, device="meta")
    # Not by the constructor, which would repeat its warning about a dropout without a place.
    twin.dropout = settings.dropout
    twin.training = module.training
    for name, parameter in module._parameters.items():
        setattr(twin, name, parameter)
    for name in _own_attributes(module):
        setattr(twin, name, getattr(module, name))
    return twin


def _instance_refusal(module: nn.Module) -> str | None:
    """Return what this instance carries that its counterpart could not."""
    hooks = [name.strip("_").replace("_", " ") for name in _HOOKS if getattr(module, name, None)]
    if hooks:
        return f"has {' and '.join(hooks)}, which belong to this very object"
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    if module._modules or module._buffers:
        return f"has {', '.join((*module._modules, *module._buffers))} registered on it"
    return None


def _parameter_refusal(module: nn.Module) -> str | None:
    """Return what about the parameters gatewise's kernels could not read."""
    layer: Any = module
    for name in (name for names in layer._all_weights for name in names):
        parameter = module._parameters.get(name)
        if type(parameter) is not nn.Parameter or type(parameter.data) is not torch.Tensor:
            return f"its {name} is not an ordinary Parameter"
        if parameter.dtype not in (torch.float32, torch.float64):
            return f"its weights are {parameter.dtype}; gatewise computes in float32 and float64"
        if parameter.is_meta:
            return "on the meta device, where nothing can be checked; load the weights first"
    if len(module._parameters) != sum(map(len, layer._all_weights)):
        return "has further parameters registered on it"
    return None


def _own_attributes(module: nn.Module) -> list[str]:
    """Return the attributes that a user set on a module, beyond those of its class."""
    blank: Any = type(module)
    return sorted(vars(module).keys() - vars(blank(1, 1, device="meta")).keys())


def _is_quantized(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.ao.")


def _script_name(module: nn.Module) -> str | None:
    return module.original_name if isinstance(module, torch.jit.ScriptModule) else None
