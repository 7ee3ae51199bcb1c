"""LSTM, GRU and RNN under torch.nn's signatures and state_dict keys, on gatewise's kernels."""

from __future__ import annotations

from typing import overload

import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence

from gatewise.errors import InputError, unknown_name
from gatewise.nn.base import RecurrentBase
from gatewise.nn.sequences import Lengths


class LSTM(RecurrentBase):
    """A stack of LSTM layers with the arguments, parameters and numbers of ``torch.nn.LSTM``.

        i, f, g, o = σ, σ, tanh, σ of (W_ih x + b_ih + W_hh h + b_hh)
        c' = f ⊙ c + i ⊙ g,    h' = o ⊙ tanh(c')    (and h' = W_hr h' with ``proj_size``)

    Equal seeds give equal parameters, state_dicts load both ways, and dropout between the layers
    draws what torch draws on a CPU. ``kernel`` ("auto", "reference", "cpu", "cuda", "cudnn") names
    the kernel that must serve; :meth:`choice` tells which does. Under autocast the layer computes
    in the type of its weights, and to bfloat16 it rounds the operands of its products.

    Source: Hochreiter and Schmidhuber 1997; projection: Sak et al., arXiv 1402.1128.

    >>> lstm = LSTM(10, 20, num_layers=2)
    >>> output, (h, c) = lstm(torch.zeros(5, 3, 10))  # (T, B, I)
    >>> output.shape, h.shape, c.shape
    (torch.Size([5, 3, 20]), torch.Size([2, 3, 20]), torch.Size([2, 3, 20]))
    >>> lstm
    LSTM(10, 20, num_layers=2)
    """

    cell = "lstm"
    mode = "LSTM"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        proj_size: int = 0,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        kernel: str = "auto",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            proj_size,
            device,
            dtype,
            kernel,
        )

    @overload
    def forward(
        self,
        input: Tensor,
        hx: tuple[Tensor, Tensor] | None = None,
        *,
        lengths: Lengths | None = None,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]: ...

    @overload
    def forward(
        self, input: PackedSequence, hx: tuple[Tensor, Tensor] | None = None
    ) -> tuple[PackedSequence, tuple[Tensor, Tensor]]: ...

    def forward(self, input, hx=None, *, lengths=None):
        """Return the outputs and the final state (h, c), each (layers * directions, B, H).

        ``input`` is (T, B, I), (B, T, I) with ``batch_first``, (T, I) for one sequence, or a
        ``PackedSequence``; the outputs come back in the same form. ``hx`` is (h_0, c_0), zeros if
        left out. ``lengths`` (B,), on any device and in any order, replaces packing: outputs are
        zero past each length, and the final states are those of each sequence's own end.

        Raises ``InputError`` for shapes, types and lengths that do not fit.

        >>> lstm = LSTM(2, 3, batch_first=True)
        >>> output, (h, c) = lstm(torch.ones(2, 4, 2), lengths=[2, 4])
        >>> bool((output[0, 2:] == 0).all()), bool((output[0, 1] == h[0, 0]).all())
        (True, True)
        """
        if hx is not None and not (isinstance(hx, (tuple, list)) and len(hx) == 2):
            raise InputError(
                f"LSTM expected hx to be the pair (h_0, c_0) but got {_describe(hx)}. "
                "Its state has two parts; a GRU's has one."
            )
        output, (h, c) = self._run(input, None if hx is None else tuple(hx), lengths)
        return output, (h, c)


class GRU(RecurrentBase):
    """A stack of GRU layers with the arguments, parameters and numbers of ``torch.nn.GRU``.

        r, z = σ of (W_ih x + b_ih + W_hh h + b_hh)
        n = tanh(W_in x + b_in + r ⊙ (W_hn h + b_hn)),    h' = (1 - z) ⊙ n + z ⊙ h

    See :class:`LSTM` for what is equal to torch and for ``kernel``.

    Source: Cho et al., arXiv 1406.1078, with cuDNN's reset gate after the product.

    >>> output, h = GRU(10, 20, bidirectional=True)(torch.zeros(5, 3, 10))
    >>> output.shape, h.shape
    (torch.Size([5, 3, 40]), torch.Size([2, 3, 20]))
    """

    cell = "gru"
    mode = "GRU"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        kernel: str = "auto",
    ) -> None:
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
            kernel,
        )

    @overload
    def forward(
        self, input: Tensor, hx: Tensor | None = None, *, lengths: Lengths | None = None
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self, input: PackedSequence, hx: Tensor | None = None
    ) -> tuple[PackedSequence, Tensor]: ...

    def forward(self, input, hx=None, *, lengths=None):
        """Return the outputs and the final h; as :meth:`LSTM.forward`, with h_0 for ``hx``."""
        return _run_single_state(self, input, hx, lengths)


class RNN(RecurrentBase):
    """A stack of simple recurrent layers with the arguments and numbers of ``torch.nn.RNN``.

        h' = tanh(W_ih x + b_ih + W_hh h + b_hh)    (or relu, by ``nonlinearity``)

    See :class:`LSTM` for what is equal to torch and for ``kernel``.

    Source: Elman, "Finding structure in time", Cognitive Science 14(2), 1990.

    >>> output, h = RNN(10, 20, nonlinearity="relu")(torch.zeros(5, 10))  # one sequence, (T, I)
    >>> output.shape, h.shape
    (torch.Size([5, 20]), torch.Size([1, 20]))
    """

    cell = "simple_rnn"

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
        *,
        kernel: str = "auto",
    ) -> None:
        if nonlinearity not in ("tanh", "relu"):
            raise unknown_name("nonlinearity", nonlinearity, ("tanh", "relu"))
        super().__init__(
            input_size,
            hidden_size,
            num_layers,
            bias,
            batch_first,
            dropout,
            bidirectional,
            0,
            device,
            dtype,
            kernel,
            nonlinearity,
        )
        self.nonlinearity = nonlinearity

    @property
    def mode(self) -> str:
        """torch's name for the cell."""
        return f"RNN_{self.nonlinearity.upper()}"

    @overload
    def forward(
        self, input: Tensor, hx: Tensor | None = None, *, lengths: Lengths | None = None
    ) -> tuple[Tensor, Tensor]: ...

    @overload
    def forward(
        self, input: PackedSequence, hx: Tensor | None = None
    ) -> tuple[PackedSequence, Tensor]: ...

    def forward(self, input, hx=None, *, lengths=None):
        """Return the outputs and the final h; as :meth:`LSTM.forward`, with h_0 for ``hx``."""
        return _run_single_state(self, input, hx, lengths)


def _run_single_state(
    module: RecurrentBase,
    input: Tensor | PackedSequence,
    hx: Tensor | None,
    lengths: Lengths | None,
) -> tuple[Tensor | PackedSequence, Tensor]:
    if hx is not None and not isinstance(hx, Tensor):
        raise InputError(
            f"{type(module).__name__} expected hx to be the tensor h_0 but got {_describe(hx)}. "
            "Only an LSTM's state has two parts."
        )
    output, (h,) = module._run(input, None if hx is None else (hx,), lengths)
    return output, h


def _describe(value: object) -> str:
    """Name what came instead of a state."""
    if isinstance(value, Tensor):
        return f"one tensor {tuple(value.shape)}"
    if isinstance(value, (tuple, list)):
        return f"a {type(value).__name__} of {len(value)}"
    return f"a {type(value).__name__}"
