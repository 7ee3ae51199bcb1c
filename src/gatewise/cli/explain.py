"""`gatewise explain`: which parameters a model has, what trains them, what the steps share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewise.cli.model_file import open_model, open_reading_model

_MEASURED = 32  # series in the batch that answers the questions


def explain(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model file, or the folder of a run.")
    ],
    source: Annotated[
        str | None,
        typer.Argument(metavar="DATA", help="Labelled data to measure on.", show_default=False),
    ] = None,
) -> None:
    """Say which parameters a model has; with DATA, what trains them, what the steps
    share, and how far the gradient reaches back.

    One step of training is measured on the first series of DATA and taken back: the file of the
    model stays as it is.
    """
    from gatewise.cli.labelled import labelled_batch
    from gatewise.inspect import (
        measure_gradient_flow,
        measure_parameters,
        measure_sharing,
        measure_training,
        render_gates,
        render_gradient_flow,
        render_sharing,
        render_summary,
        render_training,
    )

    opened = open_model(model) if source is None else open_reading_model(model)
    ledger = measure_parameters(opened)
    typer.echo(f"{render_summary(ledger)}\n\n{render_gates(ledger)}")
    if source is None:
        typer.echo(
            "\nWhat trains these weights and what the steps share is measured on data: "
            f"gatewise explain {model} DATA."
        )
        return
    x, y, mask = labelled_batch(opened, source, _MEASURED)
    typer.echo(f"\n{render_training(measure_training(opened, x, y, mask=mask))}")
    typer.echo(f"\n{render_sharing(measure_sharing(opened, x, y, mask=mask))}")
    typer.echo(f"\n{render_gradient_flow(measure_gradient_flow(opened, x, y, mask=mask))}")
