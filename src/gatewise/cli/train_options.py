"""The options of `gatewise train` alone: the model, its training, and the run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gatewise.cli.choices import choice

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE",
        help="A file (.csv .parquet .ts .npz), or a name that `gatewise data` lists.",
        show_default=False,
    ),
]
Cell = Annotated[
    str | None, choice("--cell", ("lstm", "gru", "simple_rnn"), help="The kind of recurrent layer.")
]
Units = Annotated[int | None, typer.Option(min=1, help="The size of its state.")]
Layers = Annotated[int | None, typer.Option(min=1, help="How many lie on another.")]
Bidirectional = Annotated[
    bool | None,
    typer.Option("--bidirectional/--one-direction", help="Read backwards in time, too?"),
]
Dropout = Annotated[
    float | None, typer.Option(min=0, max=0.99, help="The share dropped between layers.")
]
RecurrentDropout = Annotated[
    float | None, typer.Option(min=0, max=0.99, help="The share of the state dropped.")
]
Model = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.PY:FUNCTION",
        help="Your own model: function(features, outputs) returns a Sequential.",
    ),
]
Epochs = Annotated[int | None, typer.Option(min=1, help="At most so many.")]
Patience = Annotated[
    int | None, typer.Option(min=1, help="Epochs without a gain that end training.")
]
BatchSize = Annotated[int | None, typer.Option(min=1, help="Series a step.")]
LearningRate = Annotated[float | None, typer.Option(min=1e-9, help="Of Adam.")]
Gradient = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="How it flows through time: tbptt:20,40, snap1, artbp:20 …"),
]
Validation = Annotated[
    float | None,
    typer.Option(min=0.01, max=0.9, help="The share of the training part that validates."),
]
Seed = Annotated[int | None, typer.Option(min=0, help="Unless given, 0.")]
Device = Annotated[
    str | None, choice("--device", ("auto", "cpu", "cuda"), help="Unless given, a GPU if any.")
]
Precision = Annotated[
    str | None,
    choice(
        "--precision",
        ("float32", "float64", "bfloat16"),
        help="Unless given, float32; bfloat16 is that of the products alone.",
    ),
]
Out = Annotated[Path | None, typer.Option(help="The folder of the run, new or empty.")]
Repeat = Annotated[
    Path | None, typer.Option(metavar="RUN.TOML", help="Repeat that run, to the same bits.")
]
Resume = Annotated[
    Path | None,
    typer.Option(metavar="FOLDER", help="Go on with the run there, which was stopped."),
]
