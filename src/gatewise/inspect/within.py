"""The gates and the memory of a layer as tensors, for use inside a model of one's own.

    i_t, f_t, g_t, o_t = gates(x_t W + h_{t-1} U + b)        c_t = f_t ⊙ c_{t-1} + i_t ⊙ g_t

The layer runs as always, on its own kernel. Since every h is then known, the gates of all steps
follow from the cell's equation at once, differentiably: a loss may depend on them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from gatewise import cells
from gatewise.cells import split_gates
from gatewise.cells.scan import previous_outputs
from gatewise.errors import InputError, UnsupportedError
from gatewise.inspect.opening import is_torch_layer
from gatewise.inspect.weights import read_sets
from gatewise.kernels.recurrent import run
from gatewise.kernels.steering import Pass, active_steer, steering


def return_gates(
    layer: nn.Module, x: Any, *arguments: Any, **keywords: Any
) -> tuple[Any, dict[str, Tensor]]:
    """Return ``layer(x, …)`` and the activated gates over time, each (B, T, H).

    The names are i, f, g, o of an LSTM and z, r, candidate of a GRU, after the label of the weight
    set where a layer has several: ``"forward f"``, ``"layer 1 f"``. They stand in time order, are 0
    at masked steps, and pass gradients on to x, W, U and b. ``arguments`` and ``keywords`` (mask,
    initial_state …) go to the layer.

    Raises:
        InputError: no recurrent layer, or a simple RNN, which has no gates.
        UnsupportedError: a layer of torch.nn, or one that does not run each weight set once.

    >>> from gatewise.layers import LSTM
    >>> last, gates = return_gates(LSTM(4), torch.ones(2, 5, 3))
    >>> last.shape, sorted(gates), gates["f"].shape, gates["f"].requires_grad
    (torch.Size([2, 4]), ['f', 'g', 'i', 'o'], torch.Size([2, 5, 4]), True)
    """
    result, labels, passes = _run(layer, x, arguments, keywords)
    found: dict[str, Tensor] = {}
    for label, one in zip(labels, passes, strict=True):
        if one.given.specification.cell == "simple_rnn":
            raise InputError(
                f"{type(layer).__name__} has no gates: a simple RNN is its h alone. Its outputs "
                "with return_sequences=True are all that there is; an LSTM or GRU has gates."
            )
        for gate, values in _gates(one).items():
            name = "candidate" if gate == "h" else gate
            found[f"{label} {name}".strip()] = values
    return result, found


def return_cell_sequence(
    layer: nn.Module, x: Any, *arguments: Any, **keywords: Any
) -> tuple[Any, Tensor]:
    """Return ``layer(x, …)`` of an LSTM and its memory c after every step, (B, T, H).

    In time order, carried at masked steps, differentiable; see :func:`return_gates`.

    Raises:
        InputError: not an LSTM, or one of several weight sets (a stack, both directions).
        UnsupportedError: as in :func:`return_gates`.

    >>> from gatewise.layers import LSTM
    >>> (last, h, c), memory = return_cell_sequence(LSTM(4, return_state=True), torch.ones(2, 5, 3))
    >>> memory.shape, torch.allclose(memory[:, -1], c)
    (torch.Size([2, 5, 4]), True)
    """
    result, labels, passes = _run(layer, x, arguments, keywords)
    if len(labels) != 1:
        raise InputError(
            f"{type(layer).__name__} has {len(labels)} weight sets ({', '.join(labels)}), each "
            "with a memory of its own. Call return_cell_sequence on a layer of one direction."
        )
    if "c" not in passes[0].given.specification.states:
        raise InputError(
            f"{type(layer).__name__} has no memory c beside h: only an LSTM has. With "
            "return_sequences=True its outputs are its whole state."
        )
    return result, _memory(passes[0])


class _Ran(NamedTuple):
    given: Pass
    outputs: Tensor  # (B, T, H), in the graph


def _run(
    layer: nn.Module, x: Any, arguments: Any, keywords: Any
) -> tuple[Any, list[str], list[_Ran]]:
    if is_torch_layer(layer):
        kind = type(layer).__name__
        raise UnsupportedError(
            f"torch.nn.{kind} does not show its gates. Use gatewise.nn.{kind}, which has the same "
            "arguments, parameters and numbers, or gatewise.accelerate(model)."
        )
    if not hasattr(layer, "weight_sets"):
        raise InputError(
            f"{type(layer).__name__} is no recurrent layer. Accepted: LSTM, GRU or Bidirectional "
            "of gatewise.layers, LSTM or GRU of gatewise.nn; call this on the layer, inside the "
            "model's forward."
        )
    outer, ran = active_steer(), []

    def keep(given: Pass) -> tuple[Tensor, tuple[Tensor, ...]]:
        outputs, final_state = run(given) if outer is None else outer(given)
        ran.append(_Ran(given, outputs))
        return outputs, final_state

    with steering(keep):
        result = layer(x, *arguments, **keywords)
    labels = [one.label for one in read_sets(layer, lambda parameter: parameter)]
    if len(labels) != len(ran):
        raise UnsupportedError(
            f"{type(layer).__name__} has {len(labels)} weight sets but ran its kernel {len(ran)} "
            "times, so its gates cannot be told apart."
        )
    return result, labels, ran


def _gates(one: _Ran) -> dict[str, Tensor]:
    """Return the gates of all steps."""
    gates = _equation(one).gates if _needs_memory(one) else _gates_at_once(one)
    return split_gates(gates, one.given.specification.cell)


def _needs_memory(one: _Ran) -> bool:
    """Whether the gates or the memory depend on more than x, h and the gates of each step."""
    specification = one.given.specification
    options = specification.peephole or specification.cell_clip is not None
    return options or one.given.noise.zoneout_c is not None


def _equation(one: _Ran) -> cells.Scan:
    """Run the equation over the whole sequence."""
    given = one.given
    product = cells.input_product(given.x, given.weights, given.mask, given.specification)
    return cells.scan(
        product, given.weights, given.state, given.mask, given.noise, given.specification
    )


def _gates_at_once(one: _Ran) -> Tensor:
    """Return the gates of all steps (B, T, G·H) by one call of the equation, a step a row."""
    given = one.given
    specification, mask = given.specification, given.mask
    batch, steps, features = given.x.shape
    before = previous_outputs(one.outputs, given.state, specification).flatten(0, 1)  # (B·T, H)
    product = cells.input_product(
        given.x.reshape(batch * steps, 1, features),
        given.weights,
        None if mask is None else mask.reshape(-1, 1),
        specification,
    )
    dropout = given.noise.recurrent_dropout
    if dropout is not None:
        dropout = dropout.repeat_interleave(steps, dim=0)
    units = cells.units_of(given.weights, specification)
    state = [before, *(before.new_zeros(len(before), units) for _ in specification.states[1:])]
    run = cells.scan(product, given.weights, state, None, cells.Noise(dropout), specification)
    gates = run.gates.reshape(batch, steps, -1)
    return gates if mask is None else torch.where(mask.unsqueeze(-1), gates, 0)


def _memory(one: _Ran) -> Tensor:
    if _needs_memory(one):
        return _equation(one).saved
    gates, mask = _gates(one), one.given.mask
    kept = gates["f"]
    new = gates.get("i", 1 - kept) * gates["g"]
    if mask is not None:
        # A masked step carries c: f = 1, and nothing new, since its g is 0.
        kept = torch.where(mask.unsqueeze(-1), kept, 1)
    memory = one.given.state[1]
    steps = range(kept.shape[1])
    found: dict[int, Tensor] = {}
    for t in reversed(steps) if one.given.specification.reverse else steps:
        memory = kept[:, t] * memory + new[:, t]
        found[t] = memory
    return torch.stack([found[t] for t in steps], dim=1)
