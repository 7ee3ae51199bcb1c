"""What to do next, in words, read from what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from gatewise.inspect import GateActivity, GradientFlow, SharingMeasure, TrainingMeasure
from gatewise.inspect.layout import joined
from gatewise.report.outcomes import Confusion, Outcome

FIGURE_NAMES = {"accuracy": "accuracy", "macro_f1": "macro-F1", "mae": "MAE", "rmse": "RMSE"}
"""What the figures of `gatewise.data.score` are called on the page."""

OVERFIT = 1.5
"""The last validation loss, relative to the best one, above which training went on too long."""


@dataclass(frozen=True)
class Advice:
    """One piece of advice; ``kind`` is "good", "note" or "warning"."""

    kind: str
    title: str
    words: str


@dataclass(frozen=True)
class Evidence:
    """What advice is drawn from."""

    history: Mapping[str, Sequence[float]]
    figures: Mapping[str, Mapping[str, float]]
    outcome: Outcome
    training: TrainingMeasure
    sharing: SharingMeasure
    flow: GradientFlow
    activity: GateActivity


def advise(evidence: Evidence) -> tuple[Advice, ...]:
    """Return the advice, warnings first; where nothing stands out, it says so."""
    found = [
        *_of_figures(evidence.figures),
        *_of_history(evidence.history),
        *_of_outcome(evidence.outcome),
        *_of_flow(evidence.flow),
        *_of_gates(evidence.activity),
        *_of_training(evidence.training),
    ]
    if not any(one.kind == "warning" for one in found):
        found.append(
            Advice(
                "good",
                "No warning",
                "The gradient arrives, the gates move, no unit is dead, and the model is better "
                "than the simple baselines.",
            )
        )
    order = {"warning": 0, "note": 1, "good": 2}
    return tuple(sorted(found, key=lambda one: order[one.kind]))


def _of_figures(figures: Mapping[str, Mapping[str, float]]) -> Iterator[Advice]:
    (_, own), *others = figures.items()
    name = next(iter(own))
    sign = 1 if name == "accuracy" else -1
    better = [row for row, values in others if sign * values[name] >= sign * own[name]]
    if better:
        yield Advice(
            "warning",
            "No better than a simple baseline",
            f"By {FIGURE_NAMES.get(name, name)}, {joined(better)} "
            f"{'is' if len(better) == 1 else 'are'} at least as good. Do not use this model for "
            "that: look for more data, other features, or a longer training.",
        )


def _of_history(history: Mapping[str, Sequence[float]]) -> Iterator[Advice]:
    losses = history.get("val_loss", ())
    if len(losses) < 2 or not np.isfinite(losses).any():
        return
    best = int(np.nanargmin(losses))
    if losses[-1] > OVERFIT * losses[best]:
        yield Advice(
            "note",
            "It learnt the training part by heart in the end",
            f"The validation loss was least after epoch {best + 1} of {len(losses)} and grew "
            f"{losses[-1] / losses[best]:.2g}-fold until the last; the weights of epoch {best + 1} "
            "were kept. More dropout, fewer units or more data would move that epoch back.",
        )
    elif best == len(losses) - 1:
        yield Advice(
            "note",
            "Still improving",
            f"The last epoch, {len(losses)}, was the best one. Train longer: --epochs "
            f"{2 * len(losses)}.",
        )


def _of_outcome(outcome: Outcome) -> Iterator[Advice]:
    if isinstance(outcome, Confusion) and outcome.never_predicted:
        yield Advice(
            "warning",
            "Classes that are never predicted",
            f"{', '.join(outcome.never_predicted)}: rare classes need more examples, or "
            "class_weight in fit.",
        )


def _of_flow(flow: GradientFlow) -> Iterator[Advice]:
    for one in flow.sets:
        if one.verdict in ("exploding", "vanishing", "no gradient"):
            words = {
                "exploding": f"It grows to {one.growth:.3g} times what entered the layer.",
                "vanishing": f"A thousandth is left after {one.reach} of {len(one.by_lag)} steps.",
            }.get(one.verdict, "None arrives.")
            yield Advice(
                "note" if one.verdict == "vanishing" else "warning",
                f"The gradient in {one.name}: {one.verdict}",
                f"{words} {one.cure}",
            )


def _of_gates(activity: GateActivity) -> Iterator[Advice]:
    for one in activity.sets:
        dead = len(one.dead_units)
        if dead:
            yield Advice(
                "warning" if dead > 0.1 * one.size else "note",
                f"{dead} of {one.size} units of {one.name} are dead",
                "Their h never leaves 0, so they only cost time. Use fewer units, a lower learning "
                "rate, or tanh in place of relu.",
            )
        stuck = {gate: len(units) for gate, units in one.stuck_units.items() if len(units)}
        if any(count > one.size / 2 for count in stuck.values()):
            which = ", ".join(f"{count} at {gate}" for gate, count in stuck.items())
            yield Advice(
                "warning",
                f"Gates of {one.name} hardly move",
                f"Of {one.size} units: {which}. No gradient passes a gate that stays at one end. "
                "Scale the input, or lower the learning rate.",
            )


def _of_training(training: TrainingMeasure) -> Iterator[Advice]:
    for one in training.sets:
        idle = [weight for weight in one.weights if weight.status != "trained"]
        if idle:
            reasons = "; ".join(dict.fromkeys(weight.reason for weight in idle))
            yield Advice(
                "warning" if any(weight.status == "dead" for weight in idle) else "note",
                f"{len(idle)} of {len(one.weights)} gate weights of {one.name} are not trained",
                f"{reasons}.",
            )
