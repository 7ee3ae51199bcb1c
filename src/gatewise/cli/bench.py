"""`gatewise bench`: how fast a layer of your shape is on this machine, beside torch's."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gatewise.cli import options
from gatewise.cli.bench_int8 import bench_int8
from gatewise.cli.choices import choice
from gatewise.errors import InputError


def bench(
    shape: Annotated[
        list[str] | None,
        typer.Option(
            "--shape",
            metavar="B,T,I,H",
            help="Series, steps, inputs a step, units; repeatable.",
            show_default="32,100,100,128",
        ),
    ] = None,
    cell: Annotated[str, typer.Option("--cell", help="lstm, gru or simple_rnn.")] = "lstm",
    training: Annotated[
        bool,
        typer.Option("--train/--inference", help="A training step, or the way forward alone."),
    ] = True,
    precision: Annotated[
        str,
        choice(
            "--precision",
            ("float32", "bfloat16"),
            help="Of our products; torch's layer is bfloat16 altogether.",
        ),
    ] = "float32",
    threads: Annotated[
        int | None,
        typer.Option("--threads", min=1, help="CPU threads.", show_default="torch's own"),
    ] = None,
    rounds: Annotated[int, typer.Option("--rounds", min=2, help="How often to measure.")] = 15,
    int8: Annotated[
        tuple[Path, str] | None,
        typer.Option(
            "--int8",
            metavar="MODEL DATA",
            help="Instead: a model of yours beside itself with weights of 8 bits, on data.",
        ),
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Measure a recurrent layer on this CPU: its kernel, time, share of the peak, and torch's;
    or, with --int8, what weights of 8 bits cost a model of yours in accuracy and gain in time.
    """
    from gatewise.inspect import speed
    from gatewise.inspect.text_speed import render_speed

    if int8 is not None:
        if shape is not None:
            raise InputError("--int8 measures a model on its data: leave --shape out.")
        with speed.threads(threads):
            typer.echo(bench_int8(*int8, speed.Rounds(rounds), as_json))
        return
    shapes = [_sizes(text) for text in shape or ["32,100,100,128"]]
    with speed.threads(threads):
        length = speed.Rounds(rounds)
        found = [speed.measure_speed(cell, sizes, training, length, precision) for sizes in shapes]
        machine = speed.measure_machine(precision)
    if as_json:
        content = {**asdict(machine), "rows": [asdict(row) for row in found]}
        typer.echo(json.dumps(content, indent=2))
    else:
        typer.echo(render_speed(found, machine))


def _sizes(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise InputError(
            f"--shape expected whole numbers B,T,I,H such as 32,100,100,128 but got {text!r}."
        ) from None
