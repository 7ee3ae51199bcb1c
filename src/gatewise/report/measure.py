"""Everything that the page shows, measured; nothing here renders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gatewise.data import SeriesData, SeriesPreprocessor
from gatewise.data.padded import padded_batch
from gatewise.errors import InputError
from gatewise.inspect import (
    GateActivity,
    GradientFlow,
    ParameterLedger,
    SharingMeasure,
    TrainingMeasure,
    measure_gates,
    measure_gradient_flow,
    measure_parameters,
    measure_sharing,
    measure_training,
)
from gatewise.models import Model
from gatewise.report.advice import Advice, Evidence, advise
from gatewise.report.outcomes import Outcome, measure_outcome

MEASURED = 32
"""How many series are measured."""

CHOSEN = 6
"""Of how many series the gates are shown."""


@dataclass(frozen=True, eq=False)
class ChosenSeries:
    """A series whose gates are shown: its name, what is true of it and what was predicted."""

    name: str
    truth: str
    predicted: str
    right: bool | None
    steps: int
    tokens: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Report:
    """One run: what it was, how it went, how good it is, and what is inside the model.

    ``figures`` has a row a predictor, the model first; ``part`` names the data of ``figures``,
    ``outcome`` and everything measured. ``activity`` is over ``measured`` series, ``shown`` over
    the ``chosen`` ones with all values kept.
    """

    title: str
    about: Mapping[str, Any]
    settings: Mapping[str, Mapping[str, Any]]
    history: Mapping[str, Sequence[float]]
    part: str
    evaluated: int
    figures: Mapping[str, Mapping[str, float]]
    outcome: Outcome
    ledger: ParameterLedger
    training: TrainingMeasure
    sharing: SharingMeasure
    flow: GradientFlow
    activity: GateActivity
    shown: GateActivity
    chosen: tuple[ChosenSeries, ...]
    measured: int
    advice: tuple[Advice, ...]


def measure_report(
    model: Model,
    data: SeriesData,
    predictions: Any,
    *,
    figures: Mapping[str, Mapping[str, float]],
    history: Mapping[str, Sequence[float]],
    settings: Mapping[str, Mapping[str, Any]],
    part: str = "test",
    about: Mapping[str, Any] | None = None,
) -> Report:
    """Measure a trained model on labelled data and return what a report shows.

    ``predictions`` and ``figures`` are in the form of `gatewise.data.score`, a row of figures a
    predictor with the model's own first; ``history`` is that of `fit`; ``settings`` are tables as
    in a run.toml. The first 32 series are measured, as in `gatewise.inspect`.

    Raises:
        InputError: no data, no labels, or a model without preprocessing or without recurrence.
    """
    if not len(data) or data.y is None:
        raise InputError(
            f"{data.name} holds no labelled series, and a report is measured on some. Give the "
            "data that the model was tested on."
        )
    if not isinstance(model.preprocessing, SeriesPreprocessor):
        raise InputError(
            "The model does not know how to read raw data, so it cannot be measured on them. Set "
            "model.preprocessing = gatewise.data.prepare(training_data), or report a run of "
            "`gatewise train`."
        )
    first = data.take(range(min(MEASURED, len(data))))
    x, y, mask = padded_batch(model.preprocessing, first)
    rows = _chosen_rows(data, predictions)
    seen, _, seen_mask = padded_batch(model.preprocessing, data.take(rows))
    evidence = Evidence(
        history=history,
        figures=figures,
        outcome=measure_outcome(data, predictions),
        training=measure_training(model, x, y, mask=mask),
        sharing=measure_sharing(model, x, y, mask=mask),
        flow=measure_gradient_flow(model, x, y, mask=mask),
        activity=measure_gates(model, x, mask=mask, units=()),
    )
    return Report(
        title=data.name,
        about=data.describe() if about is None else about,
        settings=settings,
        history=history,
        part=part,
        evaluated=len(data),
        figures=figures,
        outcome=evidence.outcome,
        ledger=measure_parameters(model),
        training=evidence.training,
        sharing=evidence.sharing,
        flow=evidence.flow,
        activity=evidence.activity,
        shown=measure_gates(model, seen, mask=seen_mask, sample=None),
        chosen=tuple(_chosen_series(model, data, predictions, row) for row in rows),
        measured=len(first),
        advice=advise(evidence),
    )


def _chosen_rows(data: SeriesData, predictions: Any) -> list[int]:
    """Return the series to show: evenly spread; of classes, half of them wrong if there are."""
    count = min(CHOSEN, len(data))
    evenly = np.unique(np.linspace(0, len(data) - 1, count).astype(int)).tolist()
    if data.task != "classification":
        return evenly
    wrong = np.flatnonzero(np.asarray(predictions) != np.asarray(data.y))[: CHOSEN // 2].tolist()
    right = [row for row in evenly if row not in wrong][: count - len(wrong)]
    return sorted({*wrong, *right})


def _chosen_series(model: Any, data: SeriesData, predictions: Any, row: int) -> ChosenSeries:
    truth, predicted, right = "", "", None
    if data.task == "classification":
        truth, predicted = (data.labels[int(one[row])] for one in (data.y, predictions))
        right = truth == predicted
    elif data.task == "tagging":
        share = float(np.mean(np.asarray(data.y[row]) == np.asarray(predictions[row])))
        predicted = f"{share:.0%} of its steps right"
    elif data.task == "regression":
        truth, predicted = (f"{float(one[row]):.4g}" for one in (data.y, predictions))
    return ChosenSeries(
        name=str(data.ids[row]),
        truth=truth,
        predicted=predicted,
        right=right,
        steps=int(data.lengths[row]),
        tokens=_tokens(model, data, row),
    )


def _tokens(model: Any, data: SeriesData, row: int) -> tuple[str, ...]:
    """Return the words or characters of a text as the model reads them; of other data, none."""
    vocabulary = model.preprocessing.vocabulary
    return () if vocabulary is None else tuple(vocabulary.split(data.x[row]))
