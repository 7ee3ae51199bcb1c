"""The page: one HTML file that needs nothing else, by a template that escapes every value."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from gatewise.errors import UnsupportedError
from gatewise.inspect.layout import number, shape_text, size_text
from gatewise.inspect.text import sharing_verdict, training_verdict
from gatewise.inspect.text_dynamics import activity_verdict, flow_verdict
from gatewise.report.advice import FIGURE_NAMES
from gatewise.report.charts import draw_charts
from gatewise.report.gates import draw_gates
from gatewise.report.measure import Report
from gatewise.report.outcomes import Confusion
from gatewise.report.tokens import colour_tokens
from gatewise.report.unrolled import Unrolled, unroll

CLASSES_SHOWN = 20
"""How many classes the confusion matrix shows: the most frequent ones."""

_LISTED = 4


def render_report(report: Report) -> str:
    """Return the report as one HTML page without any reference to the outside.

    Raises `UnsupportedError` where jinja2 or matplotlib is missing.
    """
    from markupsafe import Markup

    diagrams = unroll(report.sharing)
    return (
        _environment()
        .get_template("page.html.j2")
        .render(
            report=report,
            charts={name: Markup(svg) for name, svg in draw_charts(report).items()},
            diagrams=diagrams,
            gates=draw_gates(report.shown),
            tokens=colour_tokens(report.shown, [one.tokens for one in report.chosen]),
            confusion=_confusion(report),
            figures=_figures(report),
            settings=_settings(report.settings),
            data_lines=list(_data_lines(report.about)),
            answers={
                "training": training_verdict(report.training),
                "sharing": sharing_verdict(report.sharing),
                "flow": flow_verdict(report.flow),
                "gates": [(one.name, activity_verdict(one)) for one in report.activity.sets],
            },
        )
    )


def write_report(report: Report, path: str | os.PathLike[str]) -> Path:
    """Write the page to a file and return its path."""
    target = Path(path)
    target.write_text(render_report(report), encoding="utf-8")
    return target


@cache
def _environment() -> Any:
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError as error:
        raise UnsupportedError(
            "The report needs jinja2, which is not installed. Run pip install 'gatewise[report]'; "
            "gatewise explain shows most of it as text."
        ) from error
    environment = Environment(
        loader=PackageLoader("gatewise.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": number,
        "shape": shape_text,
        "bytes": size_text,
        "diagram_data": _diagram_data,
    }
    return environment


def _diagram_data(one: Unrolled) -> dict[str, Any]:
    """Return what the page's script needs of a diagram."""
    return {
        "gates": one.gates,
        "weights": one.weights,
        "largest": one.largest,
        "steps": [
            {
                "t": step.t,
                "shown": step.shown,
                "percent": f"{100 * step.share:.3g}%",
                "cells": step.cells,
            }
            for step in one.steps
        ],
    }


def _figures(report: Report) -> dict[str, Any]:
    """Return the table of figures: a column each of the first, a row a predictor."""
    first = next(iter(report.figures.values()))
    columns = [name for name in first if name in FIGURE_NAMES]
    rows = [
        (predictor, [f"{values[name]:.4g}" for name in columns])
        for predictor, values in report.figures.items()
    ]
    return {"columns": [FIGURE_NAMES[name] for name in columns], "rows": rows}


def _confusion(report: Report) -> dict[str, Any] | None:
    outcome = report.outcome
    if not isinstance(outcome, Confusion):
        return None
    frequent = np.argsort(-outcome.counts.sum(axis=1), kind="stable")[:CLASSES_SHOWN]
    kept = np.sort(frequent)
    return {
        "labels": [outcome.labels[at] for at in kept],
        "counts": outcome.counts[np.ix_(kept, kept)].tolist(),
        "shares": outcome.shares[np.ix_(kept, kept)].tolist(),
        "of": len(outcome.labels),
        "counted": outcome.counted,
    }


def _settings(tables: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, list[tuple[str, str]]]]:
    return [
        (table, [(name, _setting(value)) for name, value in values.items() if value is not None])
        for table, values in tables.items()
        if values
    ]


def _setting(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_setting, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _data_lines(about: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    steps, unit = about["steps"], about["unit"]
    yield "task", about["task"]
    length = f"{steps['min']:,}" + (f" to {steps['max']:,}" if steps["max"] > steps["min"] else "")
    kind, step = ("texts", "characters") if unit else ("series", "steps")
    yield kind, f"{about['series']:,}, of {length} {step}"
    if about["features"]:
        yield "features", _listed(about["features"])
    if about["target"]:
        yield "target", _listed(about["target"])
    if about["horizon"]:
        window = f", from a window of {about['window']}" if about["window"] else ""
        yield "horizon", f"{about['horizon']} steps{window}"
    if about["classes"]:
        yield "classes", _listed([f"{name} ({n:,})" for name, n in about["classes"].items()])


def _listed(names: Sequence[str]) -> str:
    """Return few names in full, and of many the first with how many there are.

    >>> _listed(["a", "b"]), _listed(list("abcdef"))
    ('a, b', 'a, b, c, d … 6 in all')
    """
    if len(names) <= _LISTED:
        return ", ".join(names)
    return f"{', '.join(names[:_LISTED])} … {len(names)} in all"
