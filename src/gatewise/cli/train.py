"""`gatewise train`: from a file to a trained, tested model in a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import typer

from gatewise.cli import options
from gatewise.cli import train_options as of_training
from gatewise.cli.defaults import Settings
from gatewise.cli.plan import Plan, plan_of
from gatewise.cli.run_folder import RUN, choose_folder, require_unfinished
from gatewise.errors import InputError


def train(
    context: typer.Context,
    source: of_training.Source = None,
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
    cell: of_training.Cell = None,
    units: of_training.Units = None,
    layers: of_training.Layers = None,
    bidirectional: of_training.Bidirectional = None,
    dropout: of_training.Dropout = None,
    recurrent_dropout: of_training.RecurrentDropout = None,
    model: of_training.Model = None,
    epochs: of_training.Epochs = None,
    patience: of_training.Patience = None,
    batch_size: of_training.BatchSize = None,
    learning_rate: of_training.LearningRate = None,
    gradient: of_training.Gradient = None,
    validation: of_training.Validation = None,
    seed: of_training.Seed = None,
    device: of_training.Device = None,
    precision: of_training.Precision = None,
    out: of_training.Out = None,
    repeat: of_training.Repeat = None,
    resume: of_training.Resume = None,
    as_json: options.Json = False,
) -> None:
    """Train a model on FILE: say what is in it, train, test beside simple baselines, and save.

    Settings that are not given follow from the task and the shape of the data. The folder holds
    model.safetensors, history.csv, run.toml and, with the extra `report`, report.html.
    """
    from gatewise.cli.training_run import run

    if resume is not None:
        _refuse_others(context, "resume", {"source", "as_json"})
        require_unfinished(resume)
        plan = plan_of(resume / RUN, source)
    elif repeat is not None:
        _refuse_others(context, "repeat", {"source", "as_json", "out"})
        plan = plan_of(repeat, source)
    else:
        reading = options.reading(
            series, time, target, text, part, unit, task, missing, horizon, window
        )
        plan = _new_plan(source, reading, context.params)
    folder = resume or choose_folder(out, plan.stem)
    report = run(plan, folder, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(report, indent=2))


def _new_plan(source: str | None, reading: dict[str, object], given: Mapping[str, Any]) -> Plan:
    """Return the plan of a run whose options are `given`, None where the user said nothing."""
    from gatewise.gradients.notation import parse

    if source is None:
        raise InputError(
            "Name a FILE to train on, or a bundled set: gatewise train japanese-vowels."
        )
    if given["gradient"] is not None:
        parse(given["gradient"])  # before the data are read
    chosen = {name.name: given.get(name.name) for name in fields(Settings)}
    return Plan(
        source=source,
        reading=reading,
        settings={name: value for name, value in chosen.items() if value is not None},
        validation=given["validation"],
        seed=given["seed"] or 0,
        device=given["device"] or "auto",
        precision=given["precision"] or "float32",
        model=given["model"],
    )


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
