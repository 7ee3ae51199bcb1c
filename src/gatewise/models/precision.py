"""The precision of a model's matrix products: which layers have one, and setting it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from torch import nn

from gatewise.cells.products import PRECISIONS
from gatewise.errors import UnsupportedError, unknown_name
from gatewise.layers.recurrent import Recurrent
from gatewise.nn.base import RecurrentBase

if TYPE_CHECKING:
    from gatewise.models.model import Model


def check_precision(model: nn.Module, precision: str) -> None:
    """Raise where the model cannot compute at this precision."""
    if precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    if precision != "float32" and not any(_recurrent(model)):
        raise UnsupportedError(
            f'precision="{precision}" is that of the products in LSTM, GRU and SimpleRNN layers, '
            "and the model has none. Add such a layer before compile, or leave precision out; for "
            "other layers use torch.autocast."
        )


def set_precision(model: nn.Module, precision: str) -> None:
    """Have every recurrent layer of the model compute its products at this precision.

    >>> from gatewise.layers import LSTM
    >>> from gatewise.models import Sequential
    >>> model = Sequential([LSTM(3, input_shape=(None, 2))])
    >>> set_precision(model, "bfloat16")
    >>> model.layers[0].precision
    'bfloat16'
    """
    for layer in _recurrent(model):
        layer.precision = precision


def change_precision(model: Model, precision: str) -> None:
    """Change that of a compiled model, whatever it was compiled with."""
    check_precision(model, precision)
    set_precision(model, precision)
    if model.compiled is not None:
        model.compiled.precision = precision


def _recurrent(model: nn.Module) -> Iterator[Recurrent | RecurrentBase]:
    return (one for one in model.modules() if isinstance(one, (Recurrent, RecurrentBase)))
