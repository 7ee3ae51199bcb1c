"""Padding: the meaning of Keras's `pad_sequences`, and ragged series with their mask."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data import check_series, pad, pad_sequences, pad_tensors
from gatewise.errors import InputError

SIDES = st.sampled_from(["pre", "post"])


@st.composite
def sequences(draw: st.DrawFn) -> list[np.ndarray]:
    """Sequences of ids, or of steps with channels; some of them empty."""
    lengths = draw(st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any))
    inner = draw(st.sampled_from([(), (1,), (3,), (2, 2)]))
    numbers = np.random.default_rng(draw(st.integers(0, 99)))
    return [numbers.integers(-50, 50, (length, *inner)) for length in lengths]


@settings(max_examples=150, deadline=None)
@given(
    sequences=sequences(),
    maxlen=st.none() | st.integers(1, 9),
    dtype=st.sampled_from(["int32", "float32", "float64"]),
    padding=SIDES,
    truncating=SIDES,
    value=st.sampled_from([0.0, -1, 2.5]),
)
def test_pad_sequences_means_what_keras_means(sequences, maxlen, dtype, padding, truncating, value):
    arguments = (maxlen, dtype, padding, truncating, value)
    expected = keras.utils.pad_sequences(sequences, *arguments)
    padded = pad_sequences(sequences, *arguments)
    assert padded.dtype == expected.dtype
    np.testing.assert_array_equal(padded, expected)


def test_pad_sequences_defaults_are_keras_s():
    ids = [[1], [2, 3], [4, 5, 6]]
    np.testing.assert_array_equal(pad_sequences(ids), keras.utils.pad_sequences(ids))
    np.testing.assert_array_equal(pad_sequences([[], []]), keras.utils.pad_sequences([[], []]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"sequences": [[1]], "padding": "left"},
            "padding='left' is not known. Use 'pre' or 'post'.",
        ),
        ({"sequences": [[1]], "truncating": "end"}, "truncating='end' is not known"),
        ({"sequences": [[1]], "maxlen": 0}, "maxlen=0 leaves no time step"),
        ({"sequences": []}, "got no sequences"),
        ({"sequences": [[1], 2]}, "Sequence 1 is 2, which has no length"),
        ({"sequences": [[1], ["a"]]}, "Sequence 1 cannot be read as an array of int32"),
        (
            {"sequences": [[[1, 2]], [[1]]]},
            "Sequence 1 has steps of shape (1,) but sequence 0 has (2,)",
        ),
    ],
)
def test_pad_sequences_refuses(arguments, message):
    with pytest.raises(InputError) as error:
        pad_sequences(**arguments)
    assert message in str(error.value)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.sampled_from([(), (1,), (4,)]))
def test_pad_keeps_every_step_and_masks_the_rest(lengths, inner):
    series = [torch.randn(length, *inner) for length in lengths]
    x, mask = pad(series)
    assert x.shape == (len(lengths), max(lengths), *inner)
    assert mask.dtype == torch.bool
    assert mask.sum(dim=1).tolist() == lengths
    for row, real, one in zip(x, mask, series, strict=True):
        torch.testing.assert_close(row[real], one, rtol=0, atol=0)
        assert row[~real].count_nonzero() == 0
        assert real.tolist() == sorted(real.tolist(), reverse=True)


def test_pad_of_arrays_lists_and_tensors_agrees():
    series = [[[1.0, 2.0]], [[3.0, 4.0], [5.0, 6.0]]]
    x, mask = pad(series)
    for kind in (np.array, torch.tensor):
        other_x, other_mask = pad([kind(one) for one in series])
        assert torch.equal(other_x, x)
        assert torch.equal(other_mask, mask)
    assert x.dtype == torch.float32
    assert pad(series, dtype=torch.float64)[0].dtype == torch.float64
    assert torch.equal(pad_tensors(check_series(series))[0], x)


def test_whole_numbers_stay_whole_and_mixed_become_fractions():
    assert pad([np.array([1, 2], dtype=np.uint8), [3]])[0].dtype == torch.int64
    assert pad([[1, 2], [0.5]])[0].dtype == torch.float32


def test_padding_does_not_alias_the_series():
    series = [torch.ones(3, 2)]
    pad(series)[0].zero_()
    assert torch.equal(series[0], torch.ones(3, 2))


@pytest.mark.parametrize(
    ("series", "message"),
    [
        ([np.ones((3, 2)), np.ones((0, 2))], "Series 1 has length 0"),
        ([[1, 2], []], "Series 1 has length 0"),
        (
            [np.ones((3, 12)), np.ones((4, 11))],
            "Series 1 has 11 channels (shape (4, 11)) but series 0 has 12",
        ),
        ([np.ones((3, 1)), np.ones(3)], "Series 1 has shape (3,) but series 0 has shape (3, 1)"),
        ([np.ones((3, 2, 2))], "Series 0 has shape (3, 2, 2), but a series is (T, I)"),
        ([np.ones((3, 0))], "no channels"),
        ([[1.0], 2.0], "Series 1 has shape ()"),
        ([["a", "b"]], "only numbers are accepted. Encode text with gatewise.data.Vocabulary"),
        ([[1], [None]], "Series 1 holds object values"),
        ([[[1.0, 2.0], [3.0]]], "Series 0 is no rectangular array"),
        ([torch.ones(2, dtype=torch.complex64)], "Series 0 holds torch.complex64 values"),
        ([np.ones(2, dtype=complex)], "Series 0 holds complex128 values"),
        ([], "got an empty one"),
        ("abc", "but got str"),
        (7, "but got int"),
    ],
)
def test_pad_refuses_and_names_the_series(series, message):
    with pytest.raises(InputError) as error:
        pad(series)
    assert message in str(error.value)
