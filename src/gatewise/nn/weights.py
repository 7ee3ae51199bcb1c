"""How torch's parameters of one layer and direction become the W, U and b of the kernels.

torch keeps ``weight_ih (G·H, I)``, ``weight_hh (G·H, H)`` and two biases, with the GRU's gates as
r, z, n; the kernels take W (I, G·H), U (H, G·H) and b with the gates as z, r, h. Everything here is
differentiable, and a view wherever the gate order allows it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.cells import GATES, reorder_gates

TORCH_GATES = {**GATES, "gru": ("r", "z", "h")}
"""The order of the gates in torch.nn; what torch writes n is h here."""


def kernel_layout(
    cell: str,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias_ih: Tensor | None = None,
    bias_hh: Tensor | None = None,
) -> dict[str, Tensor]:
    """Return "kernel", "recurrent_kernel" and, if there are biases, "bias".

    A GRU's two biases stay apart, (2, 3H), since its reset gate acts on the second; those of an
    LSTM and a simple RNN only ever occur as their sum.
    """
    orders = TORCH_GATES[cell], GATES[cell]
    layout = {  # put in order as whole rows, and only then turned
        "kernel": reorder_gates(weight_ih, *orders, dim=0).t(),  # (I, G·H)
        "recurrent_kernel": reorder_gates(weight_hh, *orders, dim=0).t(),  # (H, G·H)
    }
    if bias_ih is None or bias_hh is None:
        return layout
    if cell == "gru":
        biases = torch.stack((bias_ih, bias_hh))  # (2, 3H)
        layout["bias"] = reorder_gates(biases, *orders)
    else:
        layout["bias"] = bias_ih + bias_hh  # (G·H,)
    return layout
