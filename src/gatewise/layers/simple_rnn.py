"""The simple recurrent layer.

Elman, "Finding structure in time", Cognitive Science 14(2), 1990.
"""

from __future__ import annotations

from collections.abc import Sequence

from gatewise.layers.dense import ActivationLike
from gatewise.layers.initializers import InitializerLike
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.regularizers import RegularizerLike


class SimpleRNN(Recurrent):
    """The simple recurrent layer, with Keras's arguments, defaults and weights.

        h' = tanh(x W + h U + b)

    Input (B, T, I), result the last h (B, units), or all of them (B, T, units) with
    ``return_sequences``; with ``return_state`` a tuple of that and h. The weights, one set for
    every time step, are ``kernel`` (I, units), ``recurrent_kernel`` (units, units) and ``bias``
    (units,).

    The other arguments and the call are those of :class:`LSTM`; ``initial_state`` is h.

    >>> import torch
    >>> SimpleRNN(4)(torch.zeros(2, 5, 3)).shape
    torch.Size([2, 4])
    """

    cell = "simple_rnn"

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
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
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        seed: int | None = None,
        zero_output_for_mask: bool = False,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
        use_kernel: str = "auto",
        recompute: str | None = None,
    ) -> None:
        super().__init__(
            units,
            activation=activation,
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
        )
