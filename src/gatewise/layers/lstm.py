"""The long short-term memory layer.

Hochreiter and Schmidhuber, "Long short-term memory", Neural Computation 9(8), 1997; the first
value of the forget bias after Jozefowicz et al., "An empirical exploration of recurrent network
architectures", ICML 2015.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from gatewise.activations import KERNEL_NAMES
from gatewise.cells import split_gates
from gatewise.errors import InputError
from gatewise.layers.dense import ActivationLike
from gatewise.layers.initializers import Chrono, InitializerLike, Ones
from gatewise.layers.recurrent import Recurrent
from gatewise.layers.regularizers import RegularizerLike

_UNBOUNDED = frozenset(KERNEL_NAMES) - {"sigmoid", "hard_sigmoid"}


class LSTM(Recurrent):
    """The long short-term memory layer, with Keras's arguments, defaults and weights.

        i, f, o = σ(x W + h U + b)        input, forget and output gates, each with its own W, U, b
        g = tanh(x W_g + h U_g + b_g)     the candidate
        c' = f ⊙ c + i ⊙ g
        h' = o ⊙ tanh(c')

    Input (B, T, I), result the last h (B, units), or all of them (B, T, units) with
    ``return_sequences``; with ``return_state`` a tuple of that, h and c. The weights, one set for
    every time step, are ``kernel`` (I, 4·units), ``recurrent_kernel`` (units, 4·units) and
    ``bias`` (4·units,), gates in the order i, f, g, o; ``unit_forget_bias`` starts b_f at one.

    ``activation`` (tanh above) and ``recurrent_activation`` (σ) are names or callables; a callable
    that is not known by name runs as the equation. ``dropout`` sets a share of the input features
    to zero, ``recurrent_dropout`` of h inside the recurrent product: one mask for all time steps
    and all gates (Keras draws one for each gate), in training only, repeatable with ``seed``.

    Call with ``mask`` (B, T), True at real steps, and ``initial_state`` [h, c]. Masked steps carry
    the state; their output repeats the one before, or is zero with ``zero_output_for_mask``.
    ``go_backwards`` starts at the last time step and returns outputs in that order.

    Variants, each by itself or with the others (docs/variants.md): ``coupled_gates`` (i = 1 - f, so
    that the gates are f, g, o and the weights have 3·units columns), ``peephole`` (p ⊙ c joins the
    sums of i and f, p ⊙ c' that of o; a weight ``peephole`` (3, units), or (2, units) with coupled
    gates, which starts at zero), ``cell_clip`` (c' stays within ±cell_clip), ``zoneout`` (of h and
    c a share stays as it was: in training a random unit with this rate, in inference the rate; one
    rate, or a pair for h and c) and ``weight_dropout`` (in training a share of U's numbers is zero,
    the same ones at every time step of a call).

    ``unroll`` and ``implementation`` are accepted and change nothing. ``use_kernel`` is "auto", or
    asks for one of "reference", "cpu", "cuda" and "cudnn".

    ``recompute="gates"`` keeps no gates from the way forward to the way back but computes them
    again there: H numbers a step and row instead of 6·H beside the input, and the same gradients to
    the bit, for about a third more time.

    ``projection=P`` makes h smaller than c: h' = (o ⊙ tanh(c')) W_p with ``projection`` (units, P),
    so that results are P wide and ``recurrent_kernel`` is (P, 4·units). ``layer_norm`` normalizes
    x W and h U, each over the 4·units sums of a step, times ``input_gain`` and ``recurrent_gain``
    (4·units,), and the c that is shown, h' = o ⊙ tanh(N(c') ⊙ ``cell_gain`` + ``cell_bias``),
    (units,) each.

    Raises ``InputError`` for input that is not (B, T, I), of no steps or of an empty batch.

    >>> import torch
    >>> layer = LSTM(128, input_shape=(None, 100))
    >>> layer(torch.zeros(32, 7, 100)).shape
    torch.Size([32, 128])
    >>> layer.count_params()
    117248
    >>> outputs, h, c = LSTM(3, return_sequences=True, return_state=True)(torch.ones(2, 5, 4))
    >>> outputs.shape, torch.equal(outputs[:, -1], h)
    (torch.Size([2, 5, 3]), True)
    >>> LSTM(6, projection=2, layer_norm=True)(torch.ones(2, 5, 4)).shape
    torch.Size([2, 2])
    """

    cell = "lstm"

    def __init__(
        self,
        units: int,
        activation: ActivationLike = "tanh",
        recurrent_activation: ActivationLike = "sigmoid",
        use_bias: bool = True,
        kernel_initializer: InitializerLike = "glorot_uniform",
        recurrent_initializer: InitializerLike = "orthogonal",
        bias_initializer: InitializerLike = "zeros",
        unit_forget_bias: bool = True,
        kernel_regularizer: RegularizerLike | None = None,
        recurrent_regularizer: RegularizerLike | None = None,
        bias_regularizer: RegularizerLike | None = None,
        activity_regularizer: RegularizerLike | None = None,
        *,
        dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        weight_dropout: float = 0.0,
        zoneout: float | Sequence[float] = 0.0,
        coupled_gates: bool = False,
        peephole: bool = False,
        cell_clip: float | None = None,
        seed: int | None = None,
        return_sequences: bool = False,
        return_state: bool = False,
        go_backwards: bool = False,
        stateful: bool = False,
        unroll: bool = False,
        zero_output_for_mask: bool = False,
        implementation: int = 2,
        input_shape: Sequence[int | None] | None = None,
        name: str | None = None,
        trainable: bool = True,
        use_kernel: str = "auto",
        recompute: str | None = None,
        projection: int | None = None,
        layer_norm: bool = False,
    ) -> None:
        if coupled_gates and recurrent_activation in _UNBOUNDED:
            raise InputError(
                f"LSTM with coupled_gates lets in 1 - f of the candidate, so f must lie between 0 "
                f"and 1, but recurrent_activation={recurrent_activation!r} goes beyond. Use "
                "'sigmoid' or 'hard_sigmoid', or leave coupled_gates out."
            )
        super().__init__(
            units,
            activation=activation,
            recurrent_activation=recurrent_activation,
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
            coupled_gates=coupled_gates,
            peephole=peephole,
            cell_clip=cell_clip,
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
            projection=projection,
            layer_norm=layer_norm,
        )
        self.unit_forget_bias = bool(unit_forget_bias)

    def initial_bias(self, shape: Sequence[int], dtype: torch.dtype | None = None) -> Tensor:
        """Return the first value of the bias: one for the forget gate, if so asked."""
        bias = torch.as_tensor(super().initial_bias(shape, dtype))
        if not self.unit_forget_bias or isinstance(self.bias_initializer, Chrono):
            return bias
        parts = split_gates(bias, self.specification.cell)
        parts["f"] = Ones()(parts["f"].shape, dtype)
        return torch.cat(list(parts.values()))

    def arguments(self) -> dict[str, Any]:
        return {
            **super().arguments(),
            "recurrent_activation": self.specification.recurrent_activation,
            "unit_forget_bias": self.unit_forget_bias,
            "weight_dropout": self.weight_dropout,
            "zoneout": list(self.zoneout) if len(set(self.zoneout)) > 1 else self.zoneout[0],
            "coupled_gates": self.specification.cell == "cifg",
            "peephole": self.specification.peephole,
            "cell_clip": self.specification.cell_clip,
            "projection": self.output_size if self.specification.projection else None,
            "layer_norm": self.specification.layer_norm,
        }
