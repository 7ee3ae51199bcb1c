"""Where the attention layers look, as text of 80 columns."""

from __future__ import annotations

import math

import numpy as np

from gatewise.inspect.attention import AttentionMeasure, AttentionWeights
from gatewise.inspect.layout import bar, number, paragraph, shortened

_BAR_WIDTH = 56
_QUERIES_SHOWN = 5


def render_attention(measure: AttentionMeasure, sample: int = 0) -> str:
    """Return where each attention layer looks: the spread in words, then rows of one sample."""
    if not measure.layers:
        return "Where does attention look? Nowhere: the forward pass runs no attention layer."
    lines = ["Where does attention look?"]
    for one in measure.layers:
        lines += paragraph(f"{shortened(one.name, 40)}: {_spread(one)}", "  - ")
    for one in measure.layers:
        lines += ["", *_rows(one, sample)]
    return "\n".join(lines)


def _spread(one: AttentionWeights) -> str:
    """Say over how many values a query spreads its weight: exp of the mean entropy."""
    entropy = one.entropy
    if not np.isfinite(entropy).any():
        return "every query is masked."
    values = one.weights.shape[-1]
    reached = math.exp(float(np.nanmean(entropy)))
    return f"a query spreads its weight over {number(reached)} of {values} values (mean entropy)."


def _rows(one: AttentionWeights, sample: int) -> list[str]:
    queries, values = one.weights.shape[1:]
    lines = paragraph(
        f"{shortened(one.name, 40)} ({one.kind}): weights of sample {sample}, "
        f"{queries} queries × {values} values"
    )
    real = np.ones(queries, bool) if one.queries is None else one.queries[sample]
    shown = np.flatnonzero(real)
    chosen = shown[np.unique(np.linspace(0, len(shown) - 1, _QUERIES_SHOWN).astype(int))]
    for query in chosen if len(shown) else ():
        row = one.weights[sample, query]
        most = int(one.focus[sample, query])
        drawn = bar(row, _BAR_WIDTH)
        lines.append(f"  query {query:<4} {drawn}  most at {most}: {number(float(row[most]))}")
    return lines
