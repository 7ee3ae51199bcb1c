"""The gated recurrent unit as a layer.

Cho et al., "Learning phrase representations using RNN encoder-decoder", arXiv 1406.1078.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gatewise.layers.dense import ActivationLike
from gatewise.layers.initializers import InitializerLike
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.regularizers import RegularizerLike


class GRU(Recurrent):
    """The gated recurrent unit, with Keras's arguments, defaults and weights.

        z, r = σ(x W + h U + b)                      update and reset gate, W, U, b for each
        n = tanh(x W_h + b_h + r ⊙ (h U_h + b'_h))   the candidate, reset after the product
        h' = z ⊙ h + (1 - z) ⊙ n

    With ``reset_after=False`` the candidate is tanh(x W_h + (r ⊙ h) U_h + b_h). Input (B, T, I),
    result the last h (B, units), or all of them (B, T, units) with ``return_sequences``; with
    ``return_state`` a tuple of that and h. The weights, one set for every time step, are
    ``kernel`` (I, 3·units), ``recurrent_kernel`` (units, 3·units) and ``bias``: (2, 3·units) when
    the reset comes after (b and b'), else (3·units,); gates in the order z, r, h.

    ``layer_norm`` (with the reset after the product) normalizes x W and h U, z and r together and
    the candidate by itself, times ``input_gain`` and ``recurrent_gain`` (3·units,).

    The other arguments and the call are those of :class:`LSTM`; ``initial_state`` is h. Of the
    variants there are ``zoneout``, one rate, and ``weight_dropout``.

    >>> import torch
    >>> layer = GRU(4, return_sequences=True)
    >>> layer(torch.zeros(2, 5, 3)).shape, tuple(layer.bias.shape)
    (torch.Size([2, 5, 4]), (2, 12))
    """

    cell = "gru"

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        kernel_regularizer: RegularizerLike | None = None,
        recurrent_regularizer: RegularizerLike | None = None,
        bias_regularizer: RegularizerLike | None = None,
        activity_regularizer: RegularizerLike | None = None,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: float = 0.0,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        reset_after: bool = True,
        zero_output_for_mask: bool = False,
        implementation: int = 2,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
        use_kernel: str = "auto",
        recompute: str | None = None,
        layer_norm: bool = False,
    ) -> None:
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
            reset_after=reset_after,
            use_bias=use_bias,
            kernel_initializer=kernel_initializer,
            recurrent_initializer=recurrent_initializer,
            bias_initializer=bias_initializer,
            kernel_regularizer=kernel_regularizer,
            recurrent_regularizer=recurrent_regularizer,
            bias_regularizer=bias_regularizer,
            activity_regularizer=activity_regularizer,
            dropout=dropout,
            recurrent_dropout=recurrent_dropout,
            weight_dropout=weight_dropout,
            zoneout=zoneout,
            seed=seed,
            return_sequences=return_sequences,
            return_state=return_state,
            go_backwards=go_backwards,
            stateful=stateful,
            zero_output_for_mask=zero_output_for_mask,
            input_shape=input_shape,
            name=name,
            trainable=trainable,
            use_kernel=use_kernel,
            recompute=recompute,
            layer_norm=layer_norm,
        )

    def arguments(self) -> dict[str, Any]:
        return {
            **super().arguments(),
            "recurrent_activation": self.specification.recurrent_activation,
            "reset_after": self.specification.reset_after,
            "weight_dropout": self.weight_dropout,
            "zoneout": self.zoneout[0],
            "layer_norm": self.specification.layer_norm,
        }
