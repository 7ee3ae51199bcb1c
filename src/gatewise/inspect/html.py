"""The measures in a notebook: the text of the terminal in one `<pre>`, a part as a table."""

from __future__ import annotations

import html
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np

from gatewise.inspect.activity import GateActivity
from gatewise.inspect.attention import AttentionMeasure
from gatewise.inspect.flow import GradientFlow
from gatewise.inspect.layout import number, shape_text
from gatewise.inspect.parameters import ParameterLedger
from gatewise.inspect.sharing import SharingMeasure
from gatewise.inspect.text import render_gates, render_sharing, render_summary, render_training
from gatewise.inspect.text_attention import render_attention
from gatewise.inspect.text_dynamics import render_gates_activity, render_gradient_flow
from gatewise.inspect.training import TrainingMeasure

_STYLE = "white-space: pre; overflow-x: auto; line-height: 1.25; font-family: monospace"


def _ledger(ledger: ParameterLedger) -> str:
    return f"{render_summary(ledger)}\n\n{render_gates(ledger)}"


_TEXTS: dict[type, Callable[[Any], str]] = {
    ParameterLedger: _ledger,
    TrainingMeasure: render_training,
    SharingMeasure: render_sharing,
    GradientFlow: render_gradient_flow,
    GateActivity: render_gates_activity,
    AttentionMeasure: render_attention,
}


def html_of(measure: Any) -> str:
    """Return a measure as HTML: a whole one as its text, a part of one as a table of its values."""
    render = _TEXTS.get(type(measure))
    if render is not None:
        return f'<pre style="{_STYLE}">{html.escape(render(measure))}</pre>'
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(_described(value))}</td></tr>"
        for name, value in _values(measure)
    )
    return f"<table><caption>{type(measure).__name__}</caption>{rows}</table>"


def _values(measure: Any) -> list[tuple[str, Any]]:
    """Return the fields of a part, then what it says of them."""
    kind = type(measure)
    names = [one.name for one in fields(measure)]
    names += [name for name, value in vars(kind).items() if isinstance(value, property)]
    return [(name, getattr(measure, name)) for name in names if not name.startswith("_")]


def _described(value: Any) -> str:
    """Return a value in a line: numbers short, arrays by their shape and range.

    >>> _described({"h": np.array([0.5, 2.0])})
    'h: 2 values from 0.5 to 2'
    """
    if isinstance(value, float):
        return number(value)
    if isinstance(value, np.ndarray):
        return _array(value)
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_described(part)}" for name, part in value.items())
    if isinstance(value, tuple | list):
        return ", ".join(_described(part) for part in value)
    if hasattr(value, "__dataclass_fields__"):
        return str(getattr(value, "name", None) or type(value).__name__)
    return str(value)


def _array(values: np.ndarray) -> str:
    if not values.size:
        return "none"
    shape = shape_text(values.shape)
    if values.dtype.kind not in "fiu":
        return f"{shape} values"
    real = values[np.isfinite(values)]
    span = f" from {number(real.min())} to {number(real.max())}" if real.size else ", none finite"
    return f"{shape} values{span}"
