"""Preprocessing learns from the training part alone, survives JSON, and gives own units back."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from gatewise.data import (
    Columns,
    MissingReport,
    SeriesData,
    SeriesPreprocessor,
    baselines,
    prepare,
    preprocessor_from_json,
    preprocessor_to_json,
    read,
    read_like,
    score,
    split,
)
from gatewise.errors import InputError

NUMBERS = np.random.default_rng(0)


def _again(preprocessor: SeriesPreprocessor) -> SeriesPreprocessor:
    stored = json.loads(json.dumps(preprocessor_to_json(preprocessor)))
    again = preprocessor_from_json(stored)
    assert isinstance(again, SeriesPreprocessor)
    assert again == preprocessor
    return again


def _mixed() -> SeriesData:
    x = [np.stack([NUMBERS.normal(50, 9, 6), np.arange(6) % 3], axis=1) for _ in range(10)]
    return SeriesData(
        "mixed",
        "classification",
        x,
        np.arange(10) % 2,
        [str(index) for index in range(10)],
        ("level", "kind"),
        labels=("no", "yes"),
        categories={"kind": ("red", "green", "blue")},
    )


def test_numbers_are_scaled_and_categories_one_hot():
    data = _mixed()
    preprocessor = _again(prepare(data))
    assert (preprocessor.channels, preprocessor.outputs) == (4, 2)
    assert preprocessor.categories == {"kind": ("blue", "green", "red")}
    x = preprocessor(data)
    assert {one.dtype for one in x} == {np.dtype(np.float32)}
    steps = np.concatenate(x)
    np.testing.assert_allclose(steps[:, 0].mean(), 0, atol=1e-6)
    np.testing.assert_allclose(steps[:, 0].std(), 1, atol=1e-6)
    np.testing.assert_array_equal(x[0][:4, 1:], [[0, 0, 1], [0, 1, 0], [1, 0, 0], [0, 0, 1]])
    assert preprocessor.targets(data).tolist() == data.y.tolist()
    assert preprocessor.class_names([1, 0]) == ["yes", "no"]


def test_many_names_come_as_numbers_in_the_last_channels():
    data = _mixed()
    preprocessor = _again(prepare(data, max_one_hot=2))
    assert (preprocessor.channels, preprocessor.embedded_sizes) == (2, (4,))
    assert preprocessor(data)[0][:4, 1].tolist() == [3, 2, 1, 3]
    new = replace(data, categories={"kind": ("red", "green", "violet")})
    assert preprocessor(new)[0][:4, 1].tolist() == [3, 2, 0, 3]
    data.x[0][0, 1] = np.nan
    assert preprocessor(data)[0][0, 1] == 0
    assert prepare(data, max_one_hot=3).embedded == ()


def test_only_the_training_part_teaches():
    data = _mixed()
    before = prepare(split(data, seed=0).train)
    for name in split(data, seed=0).validation.ids:
        data.x[int(name)][:, 0] = 1e6
    assert prepare(split(data, seed=0).train) == before
    assert prepare(split(data, seed=1).train) != before


def test_names_count_and_not_their_order():
    data = _mixed()
    preprocessor = prepare(data)
    codes = np.array([2.0, 1.0, 0.0])  # the same colours under other numbers
    moved = replace(
        data,
        x=[np.stack([one[:, 0], codes[one[:, 1].astype(int)]], axis=1) for one in data.x],
        y=1 - data.y,
        labels=("yes", "no"),
        categories={"kind": ("blue", "green", "red")},
    )
    np.testing.assert_array_equal(preprocessor(moved), preprocessor(data))
    np.testing.assert_array_equal(preprocessor.targets(moved), data.y)
    new = replace(data, categories={"kind": ("red", "green", "violet")})
    assert preprocessor(new)[0][2, 1:].tolist() == [0, 0, 0]
    numeric = replace(data, categories={})
    with pytest.raises(InputError, match="numbers, but in training it held categories such as"):
        preprocessor(numeric)


def test_gaps_become_the_mean_and_are_told():
    data = _mixed()
    data.x[0][1, 0] = np.nan
    data.x[1][2, 1] = np.nan
    data = replace(data, missing=MissingReport("mask", 2))
    preprocessor = _again(prepare(data))
    assert preprocessor.channels == 5
    x = preprocessor(data)
    np.testing.assert_array_equal(x[0][1], [0, 0, 1, 0, 1])
    assert x[1][2, 1:].tolist() == [0, 0, 0, 0]
    assert sum(one[:, 4].sum() for one in x) == 1
    steps = np.concatenate(x)[:, 0][np.concatenate(x)[:, 4] == 0]
    np.testing.assert_allclose([steps.mean(), steps.std()], [0, 1], atol=1e-6)
    raw = replace(prepare(_mixed()), missing="mask")
    with pytest.raises(InputError, match="'level' has a gap, but it had none in training"):
        raw(replace(_mixed(), x=[np.array([[np.nan, 0.0]])]))


def test_regression_comes_back_in_its_own_units():
    data = replace(_mixed(), task="regression", y=NUMBERS.normal(300, 40, 10), labels=())
    preprocessor = _again(prepare(data))
    y = preprocessor.targets(data)
    assert (y.shape, y.dtype, preprocessor.outputs) == ((10, 1), np.float32, 1)
    np.testing.assert_allclose([y.mean(), y.std()], [0, 1], atol=1e-6)
    np.testing.assert_allclose(preprocessor.restore(y, data), data.y, rtol=1e-6)
    assert baselines(data, data)["mean"].tolist() == [data.y.mean()] * 10
    with pytest.raises(InputError, match="Classes have no units"):
        prepare(_mixed()).restore(y, _mixed())


def _forecasting(trend: float) -> SeriesData:
    steps = np.arange(300)
    level = 100 + 5 * np.sin(2 * np.pi * steps / 12) + trend * steps
    x = np.stack([level, np.cos(steps), 2 * level], axis=1)
    return SeriesData(
        "one",
        "forecasting",
        [x],
        None,
        ["s"],
        ("level", "other", "twice"),
        Columns(target=("level", "twice")),
        horizon=4,
    )


@pytest.mark.parametrize(("trend", "relative"), [(0.0, False), (0.5, True)])
def test_forecasts_come_back_in_their_own_units(trend, relative):
    parts = split(_forecasting(trend))
    preprocessor = _again(prepare(parts.train))
    assert preprocessor.relative is relative
    assert (preprocessor.channels, preprocessor.outputs) == (3, 8)
    assert parts.test is not None
    for part in (parts.train, parts.test):
        y = preprocessor.targets(part)
        assert y.shape == (len(part), 8)
        np.testing.assert_allclose(preprocessor.restore(y, part), part.y, rtol=1e-5)
        x = np.stack(preprocessor(part))
        assert np.abs(x).max() < (3.5 if relative else 3)  # also where the trend has led by then
        if relative:
            assert np.ptp(x[:, -1, 0]) < 1e-6


def test_new_series_are_forecast_from_their_last_window():
    data = _forecasting(0.0)
    preprocessor = prepare(split(data).train)
    (x,) = preprocessor(data)
    assert len(x) == preprocessor.window
    np.testing.assert_array_equal(preprocessor([data.x[0]])[0], x)
    forecast = preprocessor.restore(np.zeros((1, 8)), data)
    assert forecast.shape == (1, 4, 2)
    with pytest.raises(InputError, match="has 5 steps, but the model sees 24 before it forecasts"):
        preprocessor([data.x[0][:5]])
    with pytest.raises(InputError, match="Cut the series into windows first"):
        prepare(data)


def test_texts_become_ids():
    texts = ["the sea the sky", "a bee", "the bee"]
    data = SeriesData(
        "t", "classification", texts, np.array([0, 1, 1]), list("abc"), (), labels=("x", "y"),
        unit="word",
    )  # fmt: skip
    preprocessor = _again(prepare(data, max_words=4))
    assert preprocessor.vocabulary is not None and len(preprocessor.vocabulary) == 4
    assert preprocessor(data) == preprocessor(texts) == [[2, 1, 2, 1], [1, 3], [2, 3]]
    assert preprocessor.channels == 0


def test_a_file_read_for_prediction(tmp_path):
    path = tmp_path / "data.csv"
    rows = [f"s{i},{t},{i + t},{'ab'[t % 2]},{'xy'[i % 2]}" for i in range(10) for t in range(3)]
    path.write_text("id,time,a,kind,label\n" + "\n".join(rows))
    data = read(path, series="id")
    preprocessor = prepare(split(data).train)
    new = tmp_path / "new.csv"
    new.write_text("kind,a,id,time,more\nb,4,s9,1,0\na,3,s9,0,0\n")
    found = read_like(new, preprocessor)
    assert (found.y, found.task, found.ids) == (None, "classification", ["s9"])
    assert found.notes[0] == "Columns not used: more."
    alone = read_like(path, preprocessor)
    np.testing.assert_array_equal(preprocessor(found)[0], preprocessor(alone)[3][:2])
    np.testing.assert_array_equal(preprocessor.targets(alone), data.y)
    new.write_text("id,time,a,kind,label\ns,0,1,a,y\n")
    assert preprocessor.targets(read_like(new, preprocessor)).tolist() == [1]


def test_baselines_of_forecasts():
    steps = np.arange(240.0)
    season = np.tile(NUMBERS.normal(size=12), 20)
    data = SeriesData(
        "s", "forecasting", [(steps + season)[:, None]], None, ["s"], ("v",), horizon=14
    )
    parts = split(replace(data, window=24))
    test = parts.test
    assert test is not None
    answers = baselines(parts.train, test)
    assert list(answers) == ["last value", "seasonal (12)", "linear"]
    np.testing.assert_array_equal(answers["last value"][:, 13, 0], [one[-1, 0] for one in test.x])
    error = test.y - answers["seasonal (12)"]
    np.testing.assert_allclose(error[:, :12], 12, atol=1e-9)
    np.testing.assert_allclose(error[:, 12:], 24, atol=1e-9)
    assert score(test, answers["linear"])["mae"] < 0.01
    scores = score(test, test.y + np.arange(14)[None, :, None])
    assert (scores["mae_1"], scores["mae_14"], scores["rmse_14"]) == (0, 13, 13)
    assert scores["mae"] == 6.5


def test_scores_of_classes_agree_with_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    y, found = NUMBERS.integers(0, 4, 60), NUMBERS.integers(0, 5, 60)
    data = replace(_mixed(), y=y, labels=tuple("abcde"))
    scores = score(data, found)
    assert scores["accuracy"] == pytest.approx(metrics.accuracy_score(y, found))
    assert scores["macro_f1"] == pytest.approx(metrics.f1_score(y, found, average="macro"))
    tags = replace(data, task="tagging", y=[y[:20], y[20:]])
    assert score(tags, [found[:20], found[20:]]) == scores
    with pytest.raises(InputError, match=r"shape \(59,\), but the labels \(60,\)"):
        score(data, found[1:])


def test_the_majority_is_that_of_training():
    data = _mixed().take([0, 2, 4, 1])
    assert baselines(data, _mixed())["majority"].tolist() == [0] * 10
    tags = replace(data, task="tagging", y=[np.array([0, 1, 1, 1, 1, 1])] * 4)
    assert [one.tolist() for one in baselines(tags, tags.take([0]))["majority"]] == [[1] * 6]
