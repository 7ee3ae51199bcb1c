"""What the page is made of: the measures, the advice in words, the escaping, its size and time."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from gatewise.data import SeriesData, Vocabulary
from gatewise.errors import InputError, UnsupportedError
from gatewise.inspect import SharingMeasure
from gatewise.inspect.layout import number
from gatewise.layers import LSTM, Dense, Embedding, SimpleRNN
from gatewise.report import Confusion, Forecasts, Report, Residuals, measure_outcome, unroll
from gatewise.report import render_report as rendered
from gatewise.report.advice import Evidence, advise
from gatewise.report.gates import draw_gates
from gatewise.report.tokens import colour_tokens


def test_the_page_is_one_file_without_any_address(report: Report, page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    bare = re.sub(r"data:image/png;base64,[A-Za-z0-9+/=]+", "", html)
    # Names of the SVG format, which no browser fetches.
    assert set(re.findall(r"\w+://[^\s\"'<>]+", bare)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }
    assert not re.search(r"<link[^>]+href=\"(?!data:)|<script[^>]+src|@import|url\((?!#)", html)
    assert rendered(report) == html  # made twice, the same to the byte


def test_no_name_from_data_is_markup(page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    assert "<script>alert" not in html and "<img src=x" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7 * 7 }}" in html  # a name is no template either
    assert html.count("<script>") == 1


def test_it_shows_what_was_measured(report: Report, page: Path) -> None:
    html = page.read_text(encoding="utf-8")
    for one in report.ledger.layers:
        assert f"{one.count:,}" in html
        for weights in one.sets:
            assert weights.formula.replace("'", "&#39;") in html
    for one in report.training.sets:
        for weight in one.weights:
            assert f"<td>{number(weight.gradient_norm)}</td>" in html
    assert "units" in html and "clipnorm" not in html  # a setting that is None is none


def test_a_long_series_is_drawn_at_evenly_spread_steps(make: SimpleNamespace) -> None:
    from gatewise.inspect import measure_sharing

    model = make.model_for(make.series(), LSTM(3, input_shape=(None, 2)))
    measure = measure_sharing(model, np.ones((2, 200, 2)), np.zeros(2, int))
    [one] = unroll(measure)
    assert (len(one.steps), one.of) == (48, 200)
    assert (one.steps[0].t, one.steps[-1].t) == (0, 199)
    totals = measure.sets[0].uses[0].totals
    assert [step.total for step in one.steps] == [totals[step.t] for step in one.steps]
    assert one.steps[3].share == pytest.approx(one.steps[3].total / totals.sum())
    assert unroll(SharingMeasure((), 0.0, 0, "float32")) == ()


def test_gates_are_pictures_of_the_series_own_steps(report: Report) -> None:
    drawn = draw_gates(report.shown)
    assert len(drawn) == 3 * len(report.chosen)
    for one in drawn:
        assert one.steps == report.chosen[one.series].steps
        assert all(part.source.startswith("data:image/png;base64,") for part in one.pictures)
    assert [picture.name for picture in drawn[-1].pictures] == ["z", "r", "candidate", "h"]


def test_of_classes_half_of_the_chosen_series_are_wrong_ones(report: Report) -> None:
    assert len(report.chosen) == 6
    assert sum(one.right is False for one in report.chosen) >= 3
    assert all((one.truth == one.predicted) == one.right for one in report.chosen)


def outcome_of(task: Any, y: Any, predictions: Any, **more: Any) -> Any:
    """Return data of one channel and the outcome of predictions on them."""
    x = [np.ones((2, 1)) * row for row in range(len(y))]
    ids = [f"s{row}" for row in range(len(y))]
    data = SeriesData("d", task, x, y, ids, ("level",), **more)
    return data, measure_outcome(data, predictions)


def test_outcomes_of_every_task() -> None:
    labels = ("a", "b", "c")
    _, found = outcome_of("classification", np.array([0, 2, 2]), np.array([0, 0, 2]), labels=labels)
    assert isinstance(found, Confusion) and found.counts.tolist() == [
        [1, 0, 0],
        [0, 0, 0],
        [1, 0, 1],
    ]
    assert found.shares[2].tolist() == [0.5, 0.0, 0.5] and found.never_predicted == ()
    tags = [np.array([0, 1]), np.array([1, 1])]
    _, found = outcome_of("tagging", tags, [np.array([0, 0])] * 2, labels=labels)
    assert found.counted == "steps" and found.counts.sum() == 4
    assert found.never_predicted == ("b",)
    _, found = outcome_of("regression", np.array([1.0, 2.0]), np.array([1.5, 2.0]))
    assert isinstance(found, Residuals) and found.errors.tolist() == [0.5, 0.0]
    y = np.arange(12.0).reshape(4, 3, 1)
    late = y + np.array([[1.0], [2.0], [3.0]])
    _, found = outcome_of("forecasting", y, late, horizon=3, window=2)
    assert isinstance(found, Forecasts) and len(found.windows) == 3
    np.testing.assert_allclose(found.error_by_step, [1, 2, 3])
    assert found.windows[-1].name == "s3" and found.windows[-1].seen.tolist() == [3.0, 3.0]


def titles(evidence: Evidence) -> dict[str, str]:
    return {one.title: one.kind for one in advise(evidence)}


def test_advice_follows_from_what_was_measured(report: Report) -> None:
    evidence = Evidence(
        {"val_loss": [2.0, 1.0, 1.1]},
        {"this model": {"accuracy": 0.9}, "majority": {"accuracy": 0.5}},
        Confusion(("a", "b"), np.eye(2, dtype=int), "series"),
        report.training,
        report.sharing,
        report.flow,
        report.activity,
    )
    assert titles(evidence).get("No warning") == "good"
    worse = {"this model": {"mae": 2.0}, "last value": {"mae": 1.0}}
    assert titles(replace(evidence, figures=worse))["No better than a simple baseline"] == "warning"
    late = replace(evidence, history={"val_loss": [2.0, 1.0]})
    assert titles(late)["Still improving"] == "note"
    by_heart = replace(evidence, history={"val_loss": [1.0, 2.0, 4.0]})
    assert "It learnt the training part by heart in the end" in titles(by_heart)
    lost = replace(evidence, history={"val_loss": [np.nan, np.nan]})
    assert titles(lost) == {"No warning": "good"}
    never = Confusion(("a", "b"), np.array([[1, 0], [1, 0]]), "series")
    assert titles(replace(evidence, outcome=never))["Classes that are never predicted"] == "warning"
    flow = report.flow.sets[0]
    growing = replace(flow, left=flow.left * 0 + 20.0)
    exploding = replace(evidence, flow=replace(report.flow, sets=(growing,)))
    assert titles(exploding)[f"The gradient in {flow.name}: exploding"] == "warning"
    gates = report.activity.sets[0]
    dead = replace(report.activity, sets=(replace(gates, dead_units=np.arange(4)),))
    assert titles(replace(evidence, activity=dead))[f"4 of 5 units of {gates.name} are dead"]
    trained = report.training.sets[0]
    weights = tuple(replace(one, status="frozen", reason="why") for one in trained.weights)
    frozen = replace(report.training, sets=(replace(trained, weights=weights),))
    assert any("are not trained" in title for title in titles(replace(evidence, training=frozen)))


def test_words_are_coloured_by_the_states_of_units(make: SimpleNamespace) -> None:
    texts = ["to be or not to be", "<b>not</b> to be"]
    data = SeriesData(
        "texts", "classification", texts, np.array([0, 1]), ["a", "b"], (), labels=("x", "y"),
        unit="word",
    )  # fmt: skip
    model = make.model_for(data, Embedding(20, 3, mask_zero=True), LSTM(4))
    report = make.report_of(data, model, np.array([0, 1]))
    assert report.chosen[1].tokens == tuple(Vocabulary(()).split(texts[1]))
    first, _ = colour_tokens(report.shown, [one.tokens for one in report.chosen])
    states = report.shown.sets[0].signals["h"].values[0][report.shown.sets[0].real[0]]
    assert first.tokens == ("to", "be", "or", "not", "to", "be")
    for unit, values in first.values.items():
        np.testing.assert_allclose(np.array(values) / 100, states[:, unit], atol=0.0051)
    html = rendered(report)
    assert "Colour the text by h of unit" in html and "<b>not" not in html


def test_numbers_and_a_simple_rnn_have_a_page_too(make: SimpleNamespace) -> None:
    data = make.series(task="regression")
    model = make.model_for(data, SimpleRNN(3, input_shape=(None, 2)))
    html = rendered(make.report_of(data, model, np.zeros(14)))
    assert "Predicted and true" in html and "How often the gates are at their ends" not in html


def test_a_large_model_s_page_stays_small_and_quick(make: SimpleNamespace) -> None:
    random = np.random.default_rng(0)
    x = [random.normal(size=(300, 2)) for _ in range(8)]
    names = ("level", "speed")
    data = SeriesData(
        "large", "classification", x, np.arange(8) % 2, list("abcdefgh"), names, labels=("x", "y")
    )
    first = LSTM(64, return_sequences=True, input_shape=(None, 2))
    layers = [LSTM(64, return_sequences=True) for _ in range(3)]
    model = make.model_for(data, first, *layers, LSTM(64))
    begin = time.process_time()
    report = make.report_of(data, model, np.zeros(8, int))
    html = rendered(report)
    assert time.process_time() - begin < 10
    assert len(html.encode()) < 5_000_000


def test_bad_use_gets_a_clear_error(
    make: SimpleNamespace, report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = make.series()
    model = make.model_for(data, LSTM(3, input_shape=(None, 2)))
    with pytest.raises(InputError, match="holds no labelled series"):
        make.report_of(replace(data, y=None), model, None, figures={"m": {"accuracy": 1.0}})
    plain = make.model_for(data, LSTM(3, input_shape=(None, 2)))
    plain.preprocessing = None
    with pytest.raises(InputError, match="does not know how to read raw data"):
        make.report_of(data, plain, np.zeros(14, int))
    flat = make.model_for(data, Dense(3, input_shape=(None, 2)))
    with pytest.raises(InputError, match="no recurrent layer"):
        make.report_of(data, flat, np.zeros(14, int))
    from gatewise.report import render

    render._environment.cache_clear()
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(UnsupportedError, match=r"pip install 'gatewise\[report\]'"):
        rendered(report)
