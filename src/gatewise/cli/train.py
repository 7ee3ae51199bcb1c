"""`gatewise train`: from a file to a trained, tested model in a folder of its own."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Literal

import typer

from gatewise.cli import options
from gatewise.cli.defaults import Settings
from gatewise.cli.plan import Plan, plan_of
from gatewise.cli.run_folder import RUN, choose_folder, require_unfinished
from gatewise.errors import InputError

Source = Annotated[
    str | None,
    typer.Argument(
        metavar="FILE",
        help="A file (.csv .parquet .ts .npz), or a name that `gatewise data` lists.",
        show_default=False,
    ),
]
Cell = Literal["lstm", "gru", "simple_rnn"]


def train(
    context: typer.Context,
    source: Source = None,
    series: options.Series = None,
    time: options.Time = None,
    target: options.Target = None,
    text: options.Text = None,
    part: options.PartColumn = None,
    unit: options.TextUnit = None,
    task: options.TaskOption = None,
    missing: options.MissingOption = None,
    horizon: options.Horizon = None,
    window: options.Window = None,
    cell: Annotated[Cell | None, typer.Option(help="The kind of recurrent layer.")] = None,
    units: Annotated[int | None, typer.Option(min=1, help="The size of its state.")] = None,
    layers: Annotated[int | None, typer.Option(min=1, help="How many lie on another.")] = None,
    bidirectional: Annotated[
        bool | None,
        typer.Option("--bidirectional/--one-direction", help="Read backwards in time, too?"),
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="The share dropped between layers.")
    ] = None,
    recurrent_dropout: Annotated[
        float | None, typer.Option(min=0, max=0.99, help="The share of the state dropped.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FILE.PY:FUNCTION",
            help="Your own model: function(features, outputs) returns a Sequential.",
        ),
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    patience: Annotated[
        int | None, typer.Option(min=1, help="Epochs without a gain that end training.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Series a step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=1e-9, help="Of Adam.")] = None,
    gradient: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="How it flows through time: tbptt:20,40, snap1, artbp:20 …"
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(min=0.01, max=0.9, help="The share of the training part that validates."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Unless given, 0.")] = None,
    device: Annotated[
        Literal["auto", "cpu", "cuda"] | None, typer.Option(help="Unless given, a GPU if any.")
    ] = None,
    precision: Annotated[
        Literal["float32", "float64", "bfloat16"] | None,
        typer.Option(help="Unless given, float32; bfloat16 is that of the products alone."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The folder of the run, new or empty.")] = None,
    repeat: Annotated[
        Path | None, typer.Option(metavar="RUN.TOML", help="Repeat that run, to the same bits.")
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Go on with the run there, which was stopped."),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Train a model on FILE: say what is in it, train, test beside simple baselines, and save.

    Settings that are not given follow from the task and the shape of the data. The folder holds
    model.safetensors, history.csv, run.toml and, with the extra `report`, report.html.
    """
    from gatewise.cli.training_run import run
    from gatewise.gradients.notation import parse

    if resume is not None:
        _refuse_others(context, "resume", {"source", "as_json"})
        require_unfinished(resume)
        plan = plan_of(resume / RUN, source)
    elif repeat is not None:
        _refuse_others(context, "repeat", {"source", "as_json", "out"})
        plan = plan_of(repeat, source)
    else:
        if source is None:
            raise InputError(
                "Name a FILE to train on, or a bundled set: gatewise train japanese-vowels."
            )
        if gradient is not None:
            parse(gradient)  # before the data are read
        chosen = {name.name: context.params.get(name.name) for name in fields(Settings)}
        plan = Plan(
            source=source,
            reading=options.reading(
                series, time, target, text, part, unit, task, missing, horizon, window
            ),
            settings={name: value for name, value in chosen.items() if value is not None},
            validation=validation,
            seed=0 if seed is None else seed,
            device=device or "auto",
            precision=precision or "float32",
            model=model,
        )
    folder = resume or choose_folder(out, plan.stem)
    report = run(plan, folder, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(report, indent=2))


def _refuse_others(context: typer.Context, chosen: str, allowed: set[str]) -> None:
    """Raise `InputError` if an option is given that another run has decided already."""
    given = [
        name
        for name, value in context.params.items()
        if name not in {chosen, *allowed} and value is not None
    ]
    if given:
        raise InputError(
            f"--{given[0].replace('_', '-')} does not go with --{chosen}, which takes every "
            "setting from the run. Leave it out, or train anew with the options you want."
        )
