"""`gatewise evaluate`: how good a model is on labelled data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gatewise.cli import options, showing
from gatewise.cli.choices import choice
from gatewise.cli.model_file import open_reading_model
from gatewise.errors import InputError

PARTS = ("train", "validation", "test", "all")


def evaluate(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model file, or the folder of a run.")
    ],
    source: Annotated[str, typer.Argument(metavar="FILE", help="Raw data with labels.")],
    part: Annotated[
        str | None,
        choice("--part", PARTS, help="A part of data that name their parts; unless given, test."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure a model on labelled data: accuracy and macro-F1, or MAE and RMSE.

    Of data that name a test part, such as the bundled sets, the test part is taken.
    """
    from gatewise.cli.labelled import labelled_data
    from gatewise.cli.training_run import compare

    opened = open_reading_model(model)
    data = labelled_data(source, opened.preprocessing)
    parts = data.parts or ()
    chosen = part or ("test" if "test" in parts else "all")
    if chosen != "all" and chosen not in parts:
        known = ", ".join(dict.fromkeys(parts)) or "it names no parts"
        raise InputError(f"{source} has no part {chosen!r} ({known}). Leave --part out.")
    rows = [row for row in range(len(data)) if chosen == "all" or parts[row] == chosen]
    figures = compare(opened, None, data.take(rows))
    if as_json:
        typer.echo(json.dumps({"part": chosen, "series": len(rows), "figures": figures}, indent=2))
        return
    typer.echo(f"{data.name}, {chosen if chosen == 'all' else f'{chosen} part'} ({len(rows):,}):")
    for line in [*showing.figure_lines(figures), *showing.horizon_lines(figures)]:
        typer.echo(line)
