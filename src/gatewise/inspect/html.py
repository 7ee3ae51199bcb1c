"""The measures in a notebook: the text of the terminal, escaped, in one `<pre>`."""

from __future__ import annotations

import html

from gatewise.inspect.activity import GateActivity
from gatewise.inspect.flow import GradientFlow
from gatewise.inspect.parameters import ParameterLedger
from gatewise.inspect.sharing import SharingMeasure
from gatewise.inspect.text import render_gates, render_sharing, render_summary, render_training
from gatewise.inspect.text_dynamics import render_gates_activity, render_gradient_flow
from gatewise.inspect.training import TrainingMeasure

_STYLE = "white-space: pre; overflow-x: auto; line-height: 1.25; font-family: monospace"


def html_of_ledger(ledger: ParameterLedger) -> str:
    """Return the summary and the gate ledger as HTML."""
    return _preformatted(f"{render_summary(ledger)}\n\n{render_gates(ledger)}")


def html_of_training(measure: TrainingMeasure) -> str:
    """Return what trains each weight as HTML."""
    return _preformatted(render_training(measure))


def html_of_sharing(measure: SharingMeasure) -> str:
    """Return what the time steps share as HTML."""
    return _preformatted(render_sharing(measure))


def html_of_flow(measure: GradientFlow) -> str:
    """Return how the gradient flows back through time as HTML."""
    return _preformatted(render_gradient_flow(measure))


def html_of_activity(measure: GateActivity) -> str:
    """Return what the gates do as HTML."""
    return _preformatted(render_gates_activity(measure))


def _preformatted(text: str) -> str:
    return f'<pre style="{_STYLE}">{html.escape(text)}</pre>'
