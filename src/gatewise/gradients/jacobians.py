"""A = ds_end/ds_start and B = ds_end/dθ of a chunk: the states of all layers as one state.

For one recurrent layer, both come from its own way back, with each row of the batch taken S times:
once for each of its S state numbers, with a cotangent of one there. For a stack, whose weights act
on the states through each other, the model is differentiated as a whole, series by series.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, cat, nn

from gatewise.cells import NO_NOISE
from gatewise.gradients.carrying import Carried
from gatewise.gradients.passage import open_kernel
from gatewise.kernels import Pass, ops

Influence = dict[str, Tensor]  # for each weight: (B, S, *weight.shape)


def of_layer(
    given: Pass, saved: ops.Saved, weights: Mapping[str, nn.Parameter]
) -> tuple[Influence, Tensor]:
    """Return B and A (B, S, S) of a layer's pass; `weights` are its own."""
    batch, widths = len(given.x), [state.shape[1] for state in given.state]
    count = sum(widths)

    def times(values: Tensor) -> Tensor:
        return values.repeat_interleave(count, dim=0)

    again = given._replace(
        x=times(given.x),
        state=[times(state) for state in given.state],
        mask=None if given.mask is None else times(given.mask),
    )
    fixed = (again.mask, NO_NOISE, given.specification, open_kernel(given))
    saved_again = ops.Saved(times(saved.outputs), [], times(saved.gates), times(saved.saved))
    ones = torch.eye(count, dtype=given.x.dtype, device=given.x.device).repeat(batch, 1)
    final = [part.contiguous() for part in ones.split(widths, dim=1)]
    grad_product, A, _ = ops.backward_scan(
        None, final, saved_again, given.weights, again.state, *fixed
    )
    B = ops.weight_gradient(
        again.x, saved_again, grad_product, given.weights, again.state, *fixed, reduce="sample"
    )
    found = {
        name: one.unflatten(0, (batch, count))
        for name, weight in weights.items()
        for own, one in zip(given.weights, B, strict=True)
        if own.data_ptr() == weight.data_ptr()
    }
    return found, cat(A, dim=1).unflatten(0, (batch, count))


def of_model(
    model: Any,
    weights: Mapping[str, nn.Parameter],
    x: Tensor,
    mask: Tensor | None,
    states: Sequence[Sequence[Tensor]],
) -> tuple[Influence, Tensor]:
    """Return B and A (B, S, S) of a model over a chunk, series by series."""
    rows = [
        _of_series(
            model,
            weights,
            x[row : row + 1],
            None if mask is None else mask[row : row + 1],
            [[state[row : row + 1].detach() for state in layer] for layer in states],
        )
        for row in range(len(x))
    ]
    B = {name: torch.stack([of_row[name] for of_row, _ in rows]) for name in weights}
    return B, torch.stack([A for _, A in rows])


def _of_series(
    model: Any,
    weights: Mapping[str, nn.Parameter],
    x: Tensor,
    mask: Tensor | None,
    states: list[list[Tensor]],
) -> tuple[Influence, Tensor]:
    """Return B and A of one series: (S, *weight.shape) each, and (S, S)."""

    def end_state(weights: dict[str, Tensor], states: list[list[Tensor]]) -> Tensor:
        carried = Carried(attached=True)
        carried.end = states
        with carried.piece():
            torch.func.functional_call(model, weights, (x, mask))
        return cat([part.squeeze(0) for after in carried.end for part in after])

    held = {name: weight.detach() for name, weight in weights.items()}
    with torch.enable_grad():
        B, A = torch.func.jacrev(end_state, argnums=(0, 1))(held, states)
    columns = [part.squeeze(1) for after in A for part in after]  # (S, H) each
    return {name: found.detach() for name, found in B.items()}, cat(columns, dim=1).detach()
