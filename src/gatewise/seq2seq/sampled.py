"""Scheduled sampling: in training the decoder hears some of its own tokens, not the true ones.

Bengio et al., "Scheduled sampling for sequence prediction with recurrent neural networks", arXiv
1506.03099: whoever only ever hears the truth does not learn to go on after a mistake. There each
step waits for the token of the step before. Here the whole sequence runs twice, fused both times:
once with the true tokens and without a gradient, and again with a share of them replaced by tokens
drawn from the first run; so do Duckworth et al., "Parallel scheduled sampling", arXiv 1906.04331. A
token drawn in the first run has heard the truth before it, not other drawn tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gatewise.errors import InputError


def checked_rate(value: float) -> float:
    """Return the share of replaced tokens; anything but a number from 0 to 1 is refused."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= 1:
        raise InputError(
            "scheduled_sampling is the share of the tokens heard that are the model's own, from 0 "
            f"to 1, but got {value!r}."
        )
    return float(value)


def with_own_tokens(heard: Tensor, log_p: Tensor, real: Tensor | None, rate: float) -> Tensor:
    """Return the tokens heard (B, T), a share replaced by ones drawn from log p (B, T, V).

    The token at t is drawn from what was said at t - 1. The start token and padding stay.
    """
    drawn = torch.multinomial(log_p.exp().flatten(0, 1), 1).view(heard.shape)
    own = torch.cat([heard[:, :1], drawn[:, :-1].to(heard.dtype)], dim=1)
    chosen = torch.rand(heard.shape, device=heard.device) < rate
    chosen[:, 0] = False
    if real is not None:
        chosen &= real
    return torch.where(chosen, own, heard)
