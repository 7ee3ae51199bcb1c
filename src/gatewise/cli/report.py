"""`gatewise report`: one run as one HTML page."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gatewise.cli.model_file import open_reading_model
from gatewise.cli.plan import plan_of
from gatewise.cli.run_folder import HISTORY, RUN, read_run
from gatewise.errors import GatewiseError, InputError

if TYPE_CHECKING:
    from gatewise.data import Split
    from gatewise.models import Sequential

PAGE = "report.html"


def report(
    folder: Annotated[
        Path, typer.Argument(metavar="RUN", help="The folder of a finished `gatewise train`.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="FILE", help="Unless given, report.html in RUN."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Where the data of the run lie now, if not there."),
    ] = None,
) -> None:
    """Show a run as one HTML page that needs no network: figures, curves, parameters,
    what the steps share, gates, gradient flow, and advice in words.

    The data of the run are read and split again, so that the page shows its test part.
    """
    from gatewise.cli.training_run import compare
    from gatewise.data import read, split

    if not (folder / RUN).is_file():
        raise InputError(f"{folder} holds no {RUN}. Give the folder that `gatewise train` wrote.")
    model = open_reading_model(folder)
    plan = plan_of(folder / RUN, data)
    assert plan.validation is not None
    found = read(plan.source, **plan.reading)
    parts = split(found, validation=plan.validation, seed=plan.seed)
    path = folder / PAGE if out is None else out
    evaluated = parts.validation if parts.test is None else parts.test
    figures = compare(model, parts.train, evaluated)
    write_page(model, parts, folder, path, about=found.describe(), figures=figures)
    typer.echo(f"The report is in {path}.")


def write_page(
    model: Sequential,
    parts: Split,
    folder: Path,
    path: Path,
    *,
    about: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, float]],
) -> None:
    """Measure a finished run on its test part (or validation part) and write the page."""
    from gatewise.cli.outputs import outputs_of
    from gatewise.report import measure_report, write_report

    evaluated = parts.validation if parts.test is None else parts.test
    predictions = outputs_of(model, evaluated).predictions
    measured = measure_report(
        model,
        evaluated,
        predictions,
        figures=figures,
        history=_read_history(folder / HISTORY),
        settings=read_run(folder / RUN),
        part="validation" if parts.test is None else "test",
        about=about,
    )
    write_report(measured, path)


def write_page_of_run(
    model: Sequential,
    parts: Split,
    folder: Path,
    *,
    about: Mapping[str, Any],
    figures: Mapping[str, Mapping[str, float]],
) -> str:
    """Write the page at the end of a run where it can be made; return the line that says so."""
    missing = [name for name in ("jinja2", "matplotlib") if importlib.util.find_spec(name) is None]
    if missing:
        return (
            f"No page was made, for lack of {' and '.join(missing)}: pip install "
            f"'gatewise[report]', then gatewise report {folder}."
        )
    try:
        write_page(model, parts, folder, folder / PAGE, about=about, figures=figures)
    except GatewiseError as error:  # the run itself is complete and saved
        return f"No page was made: {error}"
    return f"The report is in {folder / PAGE}."


def _read_history(path: Path) -> dict[str, list[float]]:
    """Return the columns of a history.csv without the number of the epoch."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        names = [name for name in (rows or [{}])[0] if name != "epoch"]
        return {name: [float(row[name]) for row in rows] for name in names}
    except FileNotFoundError:
        raise InputError(
            f"{path} does not exist. Give the folder of a finished run of `gatewise train`."
        ) from None
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path} is no history.csv: {error}. Give it as `gatewise train` wrote it."
        ) from error
