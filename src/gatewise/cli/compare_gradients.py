"""`gatewise compare-gradients`: the algorithms for gradients through time on one's own model."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewise.cli import options
from gatewise.cli.model_file import open_reading_model

if TYPE_CHECKING:
    from gatewise.gradients.comparison import GradientComparison, GradientMeasure


def compare_gradients(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model file, or the folder of a run.")
    ],
    source: Annotated[str, typer.Argument(metavar="DATA", help="Labelled data to measure on.")],
    gradient: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="One to compare, such as tbptt:20,40; repeat for more."),
    ] = None,
    series: Annotated[
        int, typer.Option(min=1, help="How many series of DATA, the first ones.")
    ] = 32,
    as_json: options.Json = False,
) -> None:
    """Compare the ways in which the gradient may flow through time, on MODEL and a batch of DATA:
    the cosine to the exact gradient, the ratio of the norms, time and peak memory.
    """
    from gatewise.cli.labelled import labelled_batch
    from gatewise.gradients.comparison import compare_gradients as measure
    from gatewise.gradients.notation import parse

    asked = None if gradient is None else [parse(name) for name in gradient]
    opened = open_reading_model(model)
    x, y, mask = labelled_batch(opened, source, series)
    found = measure(opened, x, y, mask=mask, gradients=asked)
    typer.echo(json.dumps(_plain(found), indent=2) if as_json else "\n".join(table_lines(found)))


def table_lines(found: GradientComparison) -> list[str]:
    """Return the comparison as text, a row an algorithm and below it what was refused.

    >>> from gatewise.gradients.comparison import GradientComparison, GradientMeasure
    >>> rows = [GradientMeasure("bptt", 1.0, 1.0, 0.0123, 3 * 1024**2)]
    >>> rows += [GradientMeasure("snap1", refused="No traces.")]
    >>> print("\\n".join(table_lines(GradientComparison("net", 2, 9, 0.5, 0.25, rows))))
    The gradient of net on 2 series of up to 9 steps; loss 0.5, norm of the exact gradient 0.25.
    <BLANKLINE>
      gradient     cosine  norm ratio   time, ms  peak, MiB
      bptt         1.0000       1.000       12.3        3.0
    <BLANKLINE>
      snap1: No traces.
    """
    width = max(len("gradient"), *(len(one.gradient) for one in found.measures))
    lines = [
        f"The gradient of {found.model} on {found.series} series of up to {found.steps} steps; "
        f"loss {found.loss:.4g}, norm of the exact gradient {found.norm:.4g}.",
        "",
        f"  {'gradient':<{width}} {'cosine':>10} {'norm ratio':>11} {'time, ms':>10} "
        f"{'peak, MiB':>10}",
        *(_row(one, width) for one in found.measures if one.refused is None),
    ]
    refused = [f"  {one.gradient}: {one.refused}" for one in found.measures if one.refused]
    return [*lines, "", *refused] if refused else lines


def _row(one: GradientMeasure, width: int) -> str:
    peak = "-" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:.1f}"
    cosine = "-" if math.isnan(one.cosine) else f"{one.cosine:.4f}"
    return (
        f"  {one.gradient:<{width}} {cosine:>10} {one.norm_ratio:>11.3f} "
        f"{one.seconds * 1000:>10.1f} {peak:>10}"
    )


def _plain(found: GradientComparison) -> dict[str, object]:
    """Return the comparison as JSON has it: null where there is no number."""
    content = asdict(found)
    for row in content["measures"]:
        for name, value in row.items():
            if isinstance(value, float) and math.isnan(value):
                row[name] = None
    return content
