"""What the commands say, as lines of text: the data, the settings and the figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gatewise.cli.defaults import Settings

_MOST_CLASSES = 4  # so many are named, more are counted
_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mae": "MAE", "rmse": "RMSE"}

Figures = Mapping[str, Mapping[str, float]]


def data_lines(about: Mapping[str, Any]) -> list[str]:
    """Return what `SeriesData.describe` found, a fact a line."""
    steps, unit = about["steps"], about["unit"]
    kind = "texts" if unit else "series"
    length = _span(steps["min"], steps["max"])
    size = f"{about['series']:,} {kind} of {length} {'characters' if unit else 'steps'}"
    lines = [about["name"], f"  task      {about['task']}", f"  {kind:<8}  {size}"]
    if about["features"]:
        shown = ", ".join(about["features"][:5]) + (", …" if len(about["features"]) > 5 else "")
        lines.append(f"  features  {len(about['features'])}: {shown}")
    if unit:
        lines.append(f"  tokens    {unit}s")
    if about["target"]:
        lines.append(f"  target    {', '.join(about['target'])}")
    if about["horizon"]:
        window = f", from a window of {about['window']}" if about["window"] else ""
        lines.append(f"  horizon   {about['horizon']} steps{window}")
    if about["classes"]:
        lines.append(f"  classes   {_classes(about['classes'])}")
    if about["parts"]:
        counts = ", ".join(f"{count:,} {part}" for part, count in about["parts"].items())
        lines.append(f"  parts     {counts}")
    missing = about["missing"]
    cells = f"{missing['cells']:,} numbers ({missing['handling']})" if missing["cells"] else "none"
    lines.append(f"  missing   {cells}")
    return lines + [f"  note      {note}" for note in about["notes"]]


def settings_line(settings: Settings) -> str:
    """Return how the model trains, in one line."""
    return (
        f"up to {settings.epochs} epochs, {settings.patience} without gain end it; "
        f"batches of {settings.batch_size}, learning rate {settings.learning_rate:g}"
    )


def model_line(settings: Settings) -> str:
    """Return what the model is, in one line."""
    directions = ", both directions" if settings.bidirectional else ""
    layers = f"{settings.layers} layers of " if settings.layers > 1 else ""
    cell = {"lstm": "LSTM", "gru": "GRU", "simple_rnn": "SimpleRNN"}[settings.cell]
    pooled = ", its largest outputs beside its last" if settings.pooled else ""
    return f"{layers}{cell}({settings.units}){directions}{pooled}"


def trust_line(trust: float) -> str:
    """Return what a forecast consists of, in one line.

    >>> trust_line(0.25)
    'A forecast is 25% the network and 75% a linear one, as suits the validation part best.'
    """
    return (
        f"A forecast is {trust:.0%} the network and {1 - trust:.0%} a linear one, as suits the "
        "validation part best."
    )


def figure_lines(figures: Figures) -> list[str]:
    """Return a table with a row a predictor and a column a figure, and by step of the horizon.

    >>> print("\\n".join(figure_lines({"this model": {"mae": 0.5}, "mean": {"mae": 12.0}})))
                        MAE
      this model        0.5
      mean               12
    """
    columns = [name for name in next(iter(figures.values())) if name in _NAMES]
    width = max(len(row) for row in figures)
    lines = [" " * (width + 2) + "".join(f"{_NAMES[name]:>11}" for name in columns)]
    for row, values in figures.items():
        cells = "".join(f"{values[name]:>11.4g}" for name in columns)
        lines.append(f"  {row:<{width}}{cells}")
    return lines


def horizon_lines(figures: Figures) -> list[str]:
    """Return the MAE of each predictor by step of the horizon; nothing where there is one step."""
    first = next(iter(figures.values()))
    steps = [int(name[4:]) for name in first if name.startswith("mae_")]
    if len(steps) < 2:
        return []
    shown = steps if len(steps) <= 6 else _spread(steps)
    width = max(len(row) for row in figures)
    lines = [" " * (width + 2) + "".join(f"{f'step {step}':>11}" for step in shown)]
    for row, values in figures.items():
        cells = "".join(f"{values[f'mae_{step}']:>11.4g}" for step in shown)
        lines.append(f"  {row:<{width}}{cells}")
    return ["  MAE by step of the horizon", *lines]


def _spread(steps: list[int]) -> list[int]:
    """Return six of many steps, the first and the last among them."""
    last = len(steps) - 1
    return [steps[round(place * last / 5)] for place in range(6)]


def _classes(counts: Mapping[str, int]) -> str:
    total = sum(counts.values())
    if len(counts) > _MOST_CLASSES:
        most, least = max(counts.values()), min(counts.values())
        rarest = min(counts, key=lambda name: counts[name])
        commonest = max(counts, key=lambda name: counts[name])
        return f"{len(counts)}, from {least:,} ({rarest}) to {most:,} ({commonest})"
    named = ", ".join(
        f"{name} {count / total:.0%}" if total else name for name, count in counts.items()
    )
    return f"{len(counts)}: {named}"


def _span(least: int, most: int) -> str:
    return f"{most:,}" if least == most else f"{least:,} to {most:,}"


def better_baselines(figures: Figures) -> list[str]:
    """Return the baselines that are at least as good as the first row, by its first figure.

    >>> better_baselines({"this model": {"mae": 2.0}, "mean": {"mae": 3.0}, "last": {"mae": 1.0}})
    ['last']
    """
    (_, own), *others = figures.items()
    name = next(iter(own))
    sign = 1 if name == "accuracy" else -1
    return [row for row, values in others if sign * values[name] >= sign * own[name]]
