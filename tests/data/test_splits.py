"""Parts keep whole series or whole stretches of time; windows never tell a step of another part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data import Columns, SeriesData, make_windows, season, split
from gatewise.errors import InputError


def _classes(labels: list[int], parts: tuple[str, ...] | None = None) -> SeriesData:
    x = [np.full((2, 1), float(index)) for index in range(len(labels))]
    ids = [str(index) for index in range(len(labels))]
    names = tuple("abcdefgh"[: max(labels) + 1])
    return SeriesData(
        "some", "classification", x, np.array(labels), ids, ("v",), labels=names, parts=parts
    )


def _series(lengths: list[int], horizon: int = 1) -> SeriesData:
    """Series whose values tell their place: 1000 * series + step, and a second channel of zeros."""
    x = [
        np.stack([1000.0 * index + np.arange(length), np.zeros(length)], axis=1)
        for index, length in enumerate(lengths)
    ]
    ids = [str(index) for index in range(len(lengths))]
    columns = Columns(target=("place",))
    return SeriesData(
        "some", "forecasting", x, None, ids, ("place", "zero"), columns, horizon=horizon
    )


def test_classes_give_equal_shares():
    data = _classes([0] * 50 + [1] * 10 + [2] * 1)
    parts = split(data, validation=0.2, seed=3)
    assert parts.train.class_counts() == {"a": 40, "b": 8, "c": 1}
    assert parts.validation.class_counts() == {"a": 10, "b": 2, "c": 0}
    assert set(parts.train.ids) | set(parts.validation.ids) == set(data.ids)
    assert parts.test is None
    assert parts.how == "by series, classes in equal shares, seed 3"
    assert split(data, seed=3).validation.ids == parts.validation.ids
    assert split(data, seed=4).validation.ids != parts.validation.ids


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(0, 3), min_size=12, max_size=60),
    st.sampled_from([0.1, 0.3]),
    st.sampled_from([None, 0.2]),
    st.integers(0, 5),
)
def test_every_series_is_in_one_part(labels, validation, test, seed):
    data = _classes([0, 0, 0, 1, 1, 1, *labels])
    parts = split(data, validation=validation, test=test, seed=seed)
    found = [parts.train, parts.validation, *([parts.test] if parts.test else [])]
    assert sorted(int(name) for part in found for name in part.ids) == list(range(len(data)))
    for part in found:
        for name, one, label in zip(part.ids, part.x, part.y, strict=True):
            assert one[0, 0] == int(name)
            assert label == data.y[int(name)]


def test_given_parts_are_kept():
    named = ("train",) * 6 + ("validation",) * 2 + ("test",) * 2
    parts = split(_classes([0, 1] * 5, named))
    assert [parts.train.ids, parts.validation.ids] == [list("012345"), ["6", "7"]]
    assert parts.test is not None and parts.test.ids == ["8", "9"]
    official = ("train",) * 8 + ("test",) * 2
    parts = split(_classes([0, 1] * 5, official), seed=1)
    assert parts.test is not None and parts.test.ids == ["8", "9"]
    assert sorted(parts.train.ids + parts.validation.ids) == list("01234567")
    assert parts.validation.class_counts() == {"a": 1, "b": 1}


def test_a_tag_of_one_series_alone_stays_in_training():
    y = [np.array([0, 1])] * 6 + [np.array([0, 2]), np.array([3, 1])]
    x = [np.zeros((2, 1))] * 8
    data = SeriesData("s", "tagging", x, y, list("abcdefgh"), ("v",), labels=tuple("wxyz"))
    for seed in range(12):
        parts = split(data, validation=0.4, seed=seed)
        assert {"g", "h"} <= set(parts.train.ids)
        assert len(parts.validation) > 0


def test_a_single_tagged_series_is_cut_by_time():
    x = np.arange(250.0)[:, None]
    y = np.arange(250) % 2
    data = SeriesData("one", "tagging", [x], [y], ["series"], ("v",), labels=("a", "b"))
    parts = split(data, validation=0.2, test=0.1)
    assert parts.train.lengths.tolist() == [100, 75]
    assert parts.validation.lengths.tolist() == [50]
    assert parts.test is not None and parts.test.x[0][0, 0] == 225
    for part in (parts.train, parts.validation, parts.test):
        for one, labels in zip(part.x, part.y, strict=True):
            np.testing.assert_array_equal(one[:, 0] % 2, labels)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(30, 60), min_size=1, max_size=3),
    st.integers(1, 6),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_windows_by_time_share_no_told_step(lengths, window, horizon, stride):
    data = _series(lengths, horizon)
    parts = make_windows(data, window=window, stride=stride)
    assert parts.test is not None
    told = []
    for part in (parts.train, parts.validation, parts.test):
        assert all(one.shape == (window, 2) for one in part.x)
        assert part.y.shape == (len(part), horizon, 1)
        for one, answer in zip(part.x, part.y, strict=True):
            sequence = np.concatenate([one[:, 0], answer[:, 0]])
            np.testing.assert_array_equal(np.diff(sequence), 1)  # steps in a row, of one series
        told.append(set(part.y.ravel()))
    assert not told[0] & told[1] and not told[1] & told[2] and not told[0] & told[2]
    seen_in_training = {value for one in parts.train.x for value in one[:, 0]} | told[0]
    assert not seen_in_training & (told[1] | told[2])
    for series, length in enumerate(lengths):
        place = 1000 * series
        of_series = [{v - place for v in part if place <= v < place + 1000} for part in told]
        assert max(of_series[0]) < min(of_series[1]) and max(of_series[1]) < min(of_series[2])
        if stride == 1:
            assert max(of_series[2]) == length - 1


def test_windows_by_series_keep_series_apart():
    parts = make_windows(_series([20] * 10, 2), window=5, by="series", test=0.2, seed=2)
    assert parts.test is not None
    groups = [
        {int(one[0, 0]) // 1000 for one in part.x}
        for part in (parts.train, parts.validation, parts.test)
    ]
    assert [len(group) for group in groups] == [6, 2, 2]
    assert set.union(*groups) == set(range(10))
    named = replace(_series([20] * 3, 2), parts=("test", "train", "validation"))
    by_part = split(named)
    assert {int(one[0, 0]) // 1000 for one in by_part.train.x} == {1}
    assert by_part.test is not None and {int(one[0, 0]) // 1000 for one in by_part.test.x} == {0}


def test_windows_leave_out_what_cannot_be_told():
    data = _series([40, 3])
    data.x[0][10, 0] = np.nan
    parts = make_windows(data, window=4, horizon=2)
    assert parts.train.notes == (
        "1 of 2 series are too short for the train part.",
        "2 train windows with gaps in what they tell were left out.",
    )
    assert np.isfinite(parts.train.y).all()
    assert sum(np.isnan(one).any() for one in parts.train.x) == 4


def test_the_default_window_is_two_periods_of_the_training_part():
    steps = np.arange(400)
    values = np.sin(2 * np.pi * steps / 25) + 0.01 * steps
    data = SeriesData("one", "forecasting", [values[:, None]], None, ["s"], ("v",), horizon=3)
    assert split(data).train.window == 50
    assert split(replace(data, window=7)).train.window == 7
    flat = replace(data, x=[np.zeros((400, 1))])
    assert split(flat).train.window == 16


def test_season_with_gaps_and_without_any():
    steps = np.arange(120)
    waves = 3 * np.sin(2 * np.pi * steps / 12)
    waves[[3, 50]] = np.nan
    assert season([waves]) == 12
    assert season([waves, waves[:60]]) == 12
    assert season([np.random.default_rng(0).normal(size=500)]) is None
    assert season([np.ones(2)]) is None
    assert season([]) is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"validation": 1.0}, "validation=1.0 is not a share"),
        ({"test": -0.1}, "test=-0.1 is not a share"),
        ({"by": "row"}, "by='row' is not known. Use 'time' or 'series'"),
        ({"window": 0}, "window=0 is not a number of steps"),
        ({"horizon": 0}, "horizon=0 is not a number of steps"),
        ({"stride": 0}, "stride=0 is not a number of steps"),
        ({"window": 39}, "the train part holds no window of 39 steps and 1 to forecast"),
    ],
)
def test_wrong_windows(arguments, message):
    with pytest.raises(InputError) as error:
        make_windows(_series([40]), **arguments)
    assert message in str(error.value)
