"""`gatewise summary`: the layers of a saved model and the numbers they hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from gatewise.cli import options
from gatewise.cli.model_file import open_model


def summary(
    model: Annotated[
        Path, typer.Argument(metavar="MODEL", help="A model file, or the folder of a run.")
    ],
    gates: Annotated[
        bool, typer.Option("--gates", help="Also each gate's W, U and b, and the kernel.")
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Print the layers of a model, their output shapes and how many weights they have."""
    opened = open_model(model)
    if not as_json:
        opened.summary(gates=gates, print_fn=typer.echo)
        if opened.labels:
            typer.echo(f"\nClasses: {', '.join(opened.labels)}")
        return
    layers = [
        {"name": layer.name, "class": type(layer).__name__, "weights": layer.count_params()}
        for layer in opened.layers
    ]
    about = {
        "name": opened.name,
        "input_shape": opened.input_shape,
        "output_shape": opened.output_shape,
        "weights": opened.count_params(),
        "layers": layers,
        "labels": opened.labels,
    }
    typer.echo(json.dumps(about, indent=2))
