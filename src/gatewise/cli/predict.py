"""`gatewise predict`: what a model says about a file, as a table."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gatewise.cli import options
from gatewise.cli.model_file import open_reading_model
from gatewise.errors import InputError

if TYPE_CHECKING:
    import pyarrow

_FORMATS = (".csv", ".parquet")


def predict(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model file, or the folder of a run.")
    ],
    source: Annotated[str, typer.Argument(metavar="FILE", help="Raw data, as in training.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="A .csv or .parquet file to write.")
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Predict for every series of FILE: classes with their probabilities, or numbers.

    The file is raw data with the columns of the training file; labels may be missing. Without -o
    the table goes to standard output as CSV.
    """
    if out is not None and out.suffix.lower() not in _FORMATS:
        raise InputError(f"-o {out} names no format that is written: {' or '.join(_FORMATS)}.")
    if out is not None and not out.parent.is_dir():
        raise InputError(f"-o {out}: there is no folder {out.parent}. Make it, or name another.")
    from gatewise.cli.outputs import outputs_of
    from gatewise.cli.tables import prediction_table
    from gatewise.data import read_like

    opened = open_reading_model(model)
    data = read_like(source, opened.preprocessing)
    table = prediction_table(opened.preprocessing, data, outputs_of(opened, data))
    if out is not None:
        _write(table, out)
        typer.echo(f"{table.num_rows:,} rows in {out}.", err=True)
    if as_json:
        typer.echo(json.dumps(table.to_pylist(), indent=2))
    elif out is None:
        _print_csv(table)


def _write(table: pyarrow.Table, path: Path) -> None:
    """Write the table whole or not at all."""
    beside = path.with_name(f".{path.name}.part")
    try:
        if path.suffix.lower() == ".csv":
            from pyarrow import csv

            csv.write_csv(table, beside)
        else:
            from pyarrow import parquet

            parquet.write_table(table, beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _print_csv(table: pyarrow.Table) -> None:
    import io

    from pyarrow import csv

    written = io.BytesIO()
    csv.write_csv(table, written)
    sys.stdout.write(written.getvalue().decode())
