"""A small model with names from the worst kind of data, its report, and the system's Chromium."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gatewise.data import SeriesData, prepare, score
from gatewise.layers import GRU, LSTM, Bidirectional, Dense
from gatewise.models import Sequential
from gatewise.report import Report, measure_report, write_report
from gatewise.utils import set_random_seed

SCRIPT = "<script>alert(1)</script>"
LABELS = (SCRIPT, "b & \"b\" 'c' {{ 7 * 7 }}")
FEATURES = ("<img src=x onerror=alert(1)>", "$\\frac$")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def series(count: int = 14, task: Any = "classification") -> SeriesData:
    """Series of 3 to 7 steps whose every name would be markup if it were not escaped."""
    random = np.random.default_rng(0)
    x = [random.normal(size=(3 + row % 5, 2)) for row in range(count)]
    y: Any = np.arange(count) % 2 if task == "classification" else random.normal(size=count)
    return SeriesData(
        SCRIPT, task, x, y, [f"{SCRIPT} {row}" for row in range(count)], FEATURES,
        labels=LABELS if task == "classification" else (),
    )  # fmt: skip


def model_for(data: SeriesData, *layers: Any) -> Sequential:
    set_random_seed(0)
    preprocessing = prepare(data)
    classes = data.task == "classification"
    model = Sequential(
        [*layers, Dense(preprocessing.outputs, activation="softmax" if classes else "linear")]
    )
    model.compile(loss="sparse_categorical_crossentropy" if classes else "mse", optimizer="adam")
    model.preprocessing = preprocessing
    return model


def report_of(data: SeriesData, model: Sequential, predictions: Any, **more: Any) -> Report:
    given: dict[str, Any] = {
        "settings": {
            "run": {"seed": 0, "note": SCRIPT},
            "settings": {"units": 5, "clipnorm": None},
        },
        "history": {"loss": [0.7, 0.5], "val_loss": [0.6, 0.65]},
    }
    if "figures" not in more:
        own = score(data, predictions)
        worse = dict.fromkeys(own, 1e9 if "mae" in own else -1.0)
        given["figures"] = {"this model": own, f"{SCRIPT} baseline": worse}
    return measure_report(model, data, predictions, **given | more)


@pytest.fixture(scope="session")
def make() -> SimpleNamespace:
    """What builds data, a model for them and its report: `make.series()` and so on."""
    return SimpleNamespace(series=series, model_for=model_for, report_of=report_of)


@pytest.fixture(scope="session")
def report() -> Report:
    data = series()
    model = model_for(
        data, Bidirectional(LSTM(5, return_sequences=True), input_shape=(None, 2)), GRU(4)
    )
    return report_of(data, model, np.arange(14) % 3 // 2)


@pytest.fixture(scope="session")
def page(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_report(report, tmp_path_factory.mktemp("report") / "report.html")


def _missing() -> str:
    """Return why no browser can be started; empty if one can."""
    try:
        import playwright.sync_api  # noqa: F401
    except ImportError:
        return "playwright is not installed"
    return "" if shutil.which("chromium") else "there is no chromium on this machine"


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    """Start the system's browser; where CI is set, a missing one is a failure and no skip."""
    reason = _missing()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"{reason}, and here the page must be tested: see .ci/run.")
    if reason:
        pytest.skip(reason)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        path = shutil.which("chromium")
        browser = playwright.chromium.launch(executable_path=path, args=list(FLAGS))
        yield browser
        browser.close()
