"""`gatewise data`: what sets there are, and what a file holds."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer

from gatewise.cli import options, showing


def data(
    source: Annotated[
        str | None,
        typer.Argument(metavar="NAME|FILE", help="What to describe.", show_default=False),
    ] = None,
    series: options.Series = None,
    time: options.Time = None,
    target: options.Target = None,
    text: options.Text = None,
    part: options.PartColumn = None,
    unit: options.Unit = None,
    task: options.Task = None,
    missing: options.Missing = None,
    horizon: options.Horizon = None,
    window: options.Window = None,
    as_json: options.Json = False,
) -> None:
    """List the data sets that can be named, or describe one of them or a file."""
    if source is None:
        _list(as_json)
        return
    from gatewise.data import read

    given = options.reading(series, time, target, text, part, unit, task, missing, horizon, window)
    about = read(source, **given).describe()  # pyright: ignore[reportArgumentType]
    typer.echo(json.dumps(about, indent=2) if as_json else "\n".join(showing.data_lines(about)))


def _list(as_json: bool) -> None:
    from gatewise.data import available

    found = available()
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    width = max(len(one.name) for one in found)
    for one in found:
        licence = f" ({one.licence})" if one.licence else ""
        about = f": {one.description}{licence}" if one.description else ""
        typer.echo(f"{one.name:<{width}}  {one.origin}{about}")
