"""Where an attention layer looks: the weights of one sample as a map."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from gatewise.errors import InputError
from gatewise.inspect import AttentionMeasure
from gatewise.plots.canvas import HEAT, figure, require_measure, require_sets, whole_ticks

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def plot_attention(
    measure: AttentionMeasure,
    name: str | None = None,
    *,
    sample: int = 0,
    queries: Sequence[str] | None = None,
    values: Sequence[str] | None = None,
) -> Figure:
    """Return a map of one sample's weights: a row a query, a column a value, bright is much.

    ``queries`` and ``values`` are what the rows and columns stand for (words, for example);
    ``name`` chooses a layer (by default the first).
    """
    require_measure(measure, AttentionMeasure, "plot_attention", "measure_attention(model, x)")
    require_sets(measure.layers, "attention")
    one = measure.layers[0] if name is None else measure[name]
    if not 0 <= sample < len(one.weights):
        raise InputError(f"sample={sample} is not in a batch of {len(one.weights)}.")
    weights = one.weights[sample]
    drawn, (axes,) = figure(1, width=5.6, height=4.2)
    image = axes.imshow(weights, aspect="auto", cmap=HEAT, vmin=0.0, interpolation="nearest")
    for what, names, size in (("x", values, weights.shape[1]), ("y", queries, weights.shape[0])):
        if names is None:
            continue
        if len(names) != size:
            raise InputError(
                f"plot_attention got {len(names)} names for {size} "
                f"{'values' if what == 'x' else 'queries'}. Give one each."
            )
        ticks = axes.set_xticks if what == "x" else axes.set_yticks
        ticks(range(size), list(names), parse_math=False, rotation=90 if what == "x" else 0)
    if values is None:
        whole_ticks(axes)
    axes.set_xlabel("value")
    axes.set_ylabel("query")
    axes.set_title(f"{one.name}, sample {sample}", loc="left", fontsize=10, parse_math=False)
    drawn.colorbar(image, ax=axes, pad=0.01, label="weight")
    return drawn
