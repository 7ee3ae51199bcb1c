"""The projected LSTM: a smaller h than c, for ``proj_size`` of torch.nn.LSTM.

Sak, Senior and Beaufays, "Long short-term memory based recurrent neural network architectures for
large vocabulary speech recognition", arXiv 1402.1128, without the non-recurrent projection.

    h', c' = LSTM step of x, h, c          (the equation of gatewise.cells.lstm)
    h      = h' W_r                        (B, H) · (H, R) -> (B, R); this h feeds back

The projection stands inside the recurrence, so the fused kernels cannot serve it yet.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from gatewise.cells import NO_NOISE, Specification, Weights, input_product, lstm

REASON = "proj_size projects h inside the recurrence, which no fused kernel does yet"


def projected_lstm(
    x: Tensor,
    weights: Sequence[Tensor],
    projection: Tensor,
    state: tuple[Tensor, ...] | None,
    *,
    specification: Specification,
    mask: Tensor | None = None,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Return the outputs (B, T, R) and the final state (h (B, R), c (B, H)).

    ``weights`` are W (I, 4H), U (R, 4H) and maybe b (4H,); ``projection`` is W_r (H, R). Masked
    steps carry the state unchanged, as in the fused operator.
    """
    named = Weights.of(weights, specification)
    W, U, *_ = named
    with torch.autocast(
        x.device.type, enabled=False
    ):  # all in the weights' dtype, as the kernels do
        x = x.to(W.dtype)
        if state is None:
            h, c = x.new_zeros(x.shape[0], U.shape[0]), x.new_zeros(x.shape[0], W.shape[1] // 4)
        else:
            h, c = (part.to(W.dtype) for part in state)
        product = input_product(x, weights, mask, specification)  # (B, T, 4H)
        steps = range(x.shape[1])
        outputs: dict[int, Tensor] = {}
        for t in reversed(steps) if specification.reverse else steps:
            h_inner, c_new = lstm.step(product[:, t], (h, c), named, NO_NOISE, specification).state
            h_new = h_inner @ projection
            if mask is not None:
                real = mask[:, t].unsqueeze(-1)
                h_new, c_new = torch.where(real, h_new, h), torch.where(real, c_new, c)
            h, c = h_new, c_new
            outputs[t] = h
        return torch.stack([outputs[t] for t in steps], dim=1), (h, c)
