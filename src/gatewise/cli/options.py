"""The options that several commands share: how a file is read."""

from __future__ import annotations

from typing import Annotated

import typer

from gatewise.cli.choices import choice

Series = Annotated[
    str | None,
    typer.Option(help="The column that names the series of a row.", metavar="COLUMN"),
]
Time = Annotated[
    str | None, typer.Option(help="The column that orders a series.", metavar="COLUMN")
]
Target = Annotated[
    str | None,
    typer.Option(help="The column to predict; several to forecast: a,b.", metavar="COLUMN"),
]
Text = Annotated[str | None, typer.Option(help="The column that holds texts.", metavar="COLUMN")]
PartColumn = Annotated[
    str | None,
    typer.Option("--part", help="The column that says train, validation, test.", metavar="COLUMN"),
]
Unit = Annotated[
    str | None, choice("--unit", ("word", "character"), help="What a text is made of.")
]
Task = Annotated[
    str | None,
    choice(
        "--task",
        ("classification", "tagging", "regression", "forecasting"),
        help="Unless inferred, the task.",
    ),
]
Missing = Annotated[
    str | None,
    choice("--missing", ("error", "forward-fill", "mask"), help="What to do with missing numbers."),
]
Horizon = Annotated[int | None, typer.Option(min=1, help="How many steps to forecast.")]
Window = Annotated[int | None, typer.Option(min=1, help="From how many steps to forecast.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for a script.")]


def reading(
    series: str | None,
    time: str | None,
    target: str | None,
    text: str | None,
    part: str | None,
    unit: str | None,
    task: str | None,
    missing: str | None,
    horizon: int | None,
    window: int | None,
) -> dict[str, object]:
    """Return the options that were given, as `gatewise.data.read` takes them."""
    given = {
        "series": series,
        "time": time,
        "target": None if target is None else target.split(","),
        "text": text,
        "part": part,
        "unit": unit,
        "task": task,
        "missing": missing,
        "horizon": horizon,
        "window": window,
    }
    return {name: value for name, value in given.items() if value is not None}
