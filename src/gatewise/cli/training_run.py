"""One run of `gatewise train`, from the plan to the figures and the folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import typer

from gatewise import training
from gatewise.callbacks import BackupAndRestore, EarlyStopping
from gatewise.cli import showing
from gatewise.cli.building import build_model, data_shape, model_of_function
from gatewise.cli.defaults import MOST_ONE_HOT, Settings, defaults, validation_share
from gatewise.cli.outputs import outputs_of
from gatewise.cli.plan import Plan, tables_of
from gatewise.cli.report import write_page_of_run
from gatewise.cli.run_folder import BACKUP, HISTORY, MODEL, RUN, write_history, write_run
from gatewise.data import baselines, prepare, read, score, split
from gatewise.errors import InputError, NonFiniteError

if TYPE_CHECKING:
    from gatewise.data import SeriesData, Split
    from gatewise.models import Sequential

_OWN = "this model"


@dataclass(frozen=True)
class _Ready:
    """Everything that training needs."""

    plan: Plan
    settings: Settings
    parts: Split
    model: Sequential
    folder: Path


def run(plan: Plan, folder: Path, *, quiet: bool) -> dict[str, Any]:
    """Do what the plan says; return what a script may want to know of it.

    A run that was stopped in this folder goes on where it was. After Ctrl-C the folder holds the
    best model so far, and `KeyboardInterrupt` says where.
    """
    say = _silent if quiet else typer.echo
    device = _device(plan.device)
    data = read(plan.source, **plan.reading)
    for line in showing.data_lines(data.describe()):
        say(line)
    share = plan.validation
    if share is None:
        samples = len(data) if data.parts is None else data.parts.count("train")
        share = validation_share(data.task, samples)
    parts = split(data, validation=share, seed=plan.seed)
    say(f"  split     {parts.how}")
    ready = _prepare(replace(plan, validation=share), parts, device, folder)
    weights = ready.model.count_params()
    kind = plan.model or showing.model_line(ready.settings)
    say(f"  model     {kind}, {weights:,} weights")
    say(f"  training  {showing.settings_line(ready.settings)}\n")
    watcher = _fit(ready, verbose=0 if quiet else 1)
    say(f"\nThe model is that of epoch {watcher.best_epoch + 1}.")
    result = _finish(ready, watcher, say)
    about, figures = data.describe(), result["figures"]
    say(write_page_of_run(ready.model, parts, folder, about=about, figures=figures))
    return result


def _prepare(plan: Plan, parts: Split, device: torch.device, folder: Path) -> _Ready:
    """Fit the preprocessing on the training part and build the model."""
    # A model of the user's own is not asked to look categories up.
    preprocessing = prepare(parts.train, max_one_hot=MOST_ONE_HOT if plan.model is None else None)
    if parts.test is not None:
        preprocessing.targets(parts.test)  # refuses a class that training never saw
    shape = data_shape(preprocessing, parts.train)
    settings = replace(defaults(shape), **plan.settings)
    training.set_random_seed(plan.seed)
    if plan.model is None:
        model = build_model(shape, settings)
    else:
        model = model_of_function(plan.model, shape, settings)
    products_alone = plan.precision == "bfloat16"
    model.to(device=device, dtype=getattr(torch, "float32" if products_alone else plan.precision))
    if products_alone:
        from gatewise.models.precision import change_precision

        change_precision(model, plan.precision)
    model.preprocessing = preprocessing
    model.labels = list(preprocessing.labels) or None
    return _Ready(plan, settings, parts, model, folder)


def _fit(ready: _Ready, verbose: int) -> EarlyStopping:
    """Train until the validation part gains no more, and put the best weights back."""
    model, settings = ready.model, ready.settings
    watcher = EarlyStopping(
        monitor="val_loss", patience=settings.patience, restore_best_weights=True
    )
    x, y = _input(model, ready.parts.train)
    held_out = _input(model, ready.parts.validation)
    ready.folder.mkdir(parents=True, exist_ok=True)
    write_run(ready.folder / RUN, tables_of(ready.plan, settings))
    try:
        model.fit(
            x,
            y,
            batch_size=settings.batch_size,
            epochs=settings.epochs,
            validation_data=held_out,
            callbacks=[watcher, BackupAndRestore(ready.folder)],
            verbose=verbose,
        )
    except (KeyboardInterrupt, NonFiniteError) as error:
        watcher.on_train_end()
        _save(ready)
        path = ready.folder / MODEL
        kept = f"The best model so far is in {path}: gatewise predict {path} FILE."
        if isinstance(error, NonFiniteError):
            (ready.folder / BACKUP).unlink(missing_ok=True)  # it would lead to the same end
            raise NonFiniteError(f"{error} {kept}") from error
        on = f"To go on: gatewise train --resume {ready.folder}."
        raise KeyboardInterrupt(f"\nInterrupted. {kept} {on}") from None
    return watcher


def _input(model: Sequential, part: SeriesData) -> tuple[Any, Any]:
    return model.preprocessing(part), model.preprocessing.targets(part)


def _save(ready: _Ready) -> None:
    """Write model and history into the run's folder."""
    _weigh(ready)
    ready.model.save(ready.folder / MODEL)
    assert ready.model.history is not None
    write_history(ready.folder / HISTORY, ready.model.history.history)


def _weigh(ready: _Ready) -> None:
    """Let the validation part say how far to trust the model beside its linear forecast."""
    model, held_out = ready.model, ready.parts.validation
    if held_out.task == "forecasting":
        found = model.predict(model.preprocessing(held_out), verbose=0)
        model.preprocessing = model.preprocessing.weighed(found, held_out)


def _finish(ready: _Ready, watcher: EarlyStopping, say: Callable[[str], None]) -> dict[str, Any]:
    """Save, compare with the baselines, and say both."""
    _save(ready)
    if ready.parts.train.task == "forecasting":
        say(showing.trust_line(ready.model.preprocessing.trust))
    parts = ready.parts
    evaluated = parts.validation if parts.test is None else parts.test
    part = "validation" if parts.test is None else "test"
    figures = compare(ready.model, parts.train, evaluated)
    say(f"\nOn the {part} part ({len(evaluated):,}):")
    for line in [*showing.figure_lines(figures), *showing.horizon_lines(figures)]:
        say(line)
    better = showing.better_baselines(figures)
    if better:
        say(f"\nNo better than {', '.join(better)}: do not use this model for that.")
    path = ready.folder / MODEL
    say(f"\nSaved in {ready.folder}. Next: gatewise predict {path} FILE")
    return {
        "model": str(path),
        "best_epoch": watcher.best_epoch + 1,
        "part": part,
        "figures": figures,
        "weights": ready.model.count_params(),
    }


def compare(
    model: Sequential, train: SeriesData | None, evaluated: SeriesData
) -> dict[str, dict[str, float]]:
    """Return the figures of the model and, where there is a training part, of the baselines."""
    figures = {_OWN: score(evaluated, outputs_of(model, evaluated).predictions)}
    if train is not None:
        for name, predictions in baselines(train, evaluated).items():
            figures[name] = score(evaluated, predictions)
    return figures


def _device(name: str) -> torch.device:
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("--device cuda needs a GPU that torch can use. Take --device cpu.")
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(name)


def _silent(line: str) -> None:
    """Say nothing."""
