"""What goes wrong is said plainly: the messages, word for word."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from gatewise import layers
from gatewise.errors import InputError, UnknownArgumentError, UnknownNameError


def lstm(**arguments: Any) -> layers.LSTM:
    layer = layers.LSTM(8, **arguments)
    layer.build((None, None, 12))
    return layer


def assert_message(action: Callable[[], Any], message: str, kind: type = InputError) -> Any:
    with pytest.raises(kind, match=f"^{re.escape(message)}$") as raised:
        action()
    return raised.value


def test_two_axes() -> None:
    message = "LSTM expected input (B, T, 12) but got (32, 12). Add a time axis: x[:, None, :]."
    error = assert_message(lambda: lstm()(torch.zeros(32, 12)), message)
    assert isinstance(error, layers.RankError)
    assert error.shape == (32, 12)
    message = "LSTM expected input (B, T, I) but got (None, 12). Add a time axis: x[:, None, :]."
    for name in ("build", "compute_output_shape"):
        layer = layers.LSTM(8)
        error = assert_message(lambda: getattr(layer, name)((None, 12)), message)  # noqa: B023
        assert isinstance(error, layers.RankError)
        assert error.layer is layer


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (
            [[["a", "b"]]],
            "holds <U1 values, but only numbers are accepted. Encode text with "
            "gatewise.data.Vocabulary, and categories as whole numbers.",
        ),
        (
            [[[None, 1.0]]],
            "holds object values, but only numbers are accepted. Encode text with "
            "gatewise.data.Vocabulary, and categories as whole numbers.",
        ),
        (
            np.ones((1, 1, 2), dtype=complex),
            "holds complex128 values, but only real numbers are accepted. Give real and imaginary "
            "parts as two features.",
        ),
        (
            torch.ones(1, 1, 2, dtype=torch.complex64),
            "holds torch.complex64 values, but only real numbers are accepted. Give real and "
            "imaginary parts as two features.",
        ),
        (
            [[[1.0, 2.0]], [[1.0, 2.0], [3.0, 4.0]]],
            "is no rectangular array: its rows have different lengths. x, mask = "
            "gatewise.data.pad(series) lays series of any lengths together.",
        ),
    ],
)
def test_what_are_no_real_numbers(data: Any, message: str) -> None:
    layer = layers.LSTM(3, input_shape=(None, 2))
    layer.build((None, None, 2))
    assert_message(lambda: layer(data), f"The data {message}")
    assert_message(lambda: layers.Dense(3)(data), f"The data {message}")
    assert_message(lambda: layer.stream().steps(data), f"The data {message}")


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((12,), "(12,). Add a batch and a time axis: x[None, None, :]."),
        ((2, 3, 4, 3), "(2, 3, 4, 3). Flatten the axes after the time axis: x.flatten(2)."),
    ],
)
def test_other_ranks(shape: tuple[int, ...], message: str) -> None:
    expected = f"LSTM expected input (B, T, 12) but got {message}"
    assert_message(lambda: lstm()(torch.zeros(shape)), expected)
    expected = f"SimpleRNN expected input (B, T, I) but got {message}"
    assert_message(lambda: layers.SimpleRNN(2)(torch.zeros(shape)), expected)


def test_another_number_of_features() -> None:
    assert_message(
        lambda: lstm()(torch.zeros(2, 5, 7)),
        "LSTM expected input (B, T, 12) but got (2, 5, 7): every time step must hold the 12 "
        "features that the layer was built for.",
    )
    dense = layers.Dense(3)
    dense.build((None, 4))
    assert_message(
        lambda: dense(torch.zeros(2, 5)),
        "Dense expected 4 features on the last axis but got 5: input (2, 5).",
    )


def test_no_steps_and_no_series() -> None:
    assert_message(
        lambda: lstm()(torch.zeros(2, 0, 12)),
        "LSTM got series of length 0: input (2, 0, 12). Every series needs at least one time "
        "step: leave the empty ones out.",
    )
    assert_message(
        lambda: lstm()(torch.zeros(0, 5, 12)),
        "LSTM got an empty batch: input (0, 5, 12). Pass at least one series.",
    )


@pytest.mark.parametrize("wrap", [False, True])
@pytest.mark.parametrize("shape", [(2, 4), (5, 2), (2, 5, 1), (2,)])
def test_a_mask_of_another_shape(wrap: bool, shape: tuple[int, ...]) -> None:
    layer = layers.Bidirectional(layers.LSTM(3)) if wrap else lstm()
    mask = np.ones(shape, dtype=bool)
    assert_message(
        lambda: layer(torch.zeros(2, 5, 12), mask=mask),
        f"LSTM got a mask of shape {shape} for input (2, 5, 12). A mask has one value for each "
        "time step: (2, 5).",
    )


def test_a_mask_of_floats() -> None:
    assert_message(
        lambda: lstm()(torch.zeros(2, 5, 12), mask=torch.zeros(2, 5)),
        "LSTM got a mask of torch.float32 but a mask is boolean, True at real steps. Compare "
        "first, for example mask > 0.",
    )


def test_initial_states() -> None:
    x, h = torch.zeros(2, 5, 12), torch.zeros(2, 8)
    assert_message(
        lambda: lstm()(x, initial_state=[h]),
        "LSTM expected initial_state with h (2, 8), c (2, 8) but got 1 tensors.",
    )
    assert_message(
        lambda: lstm()(x, initial_state=[h, torch.zeros(3, 8)]),
        "LSTM expected initial_state with h (2, 8), c (2, 8) but c has the shape (3, 8).",
    )
    assert_message(
        lambda: layers.Bidirectional(layers.GRU(8))(x, initial_state=h),
        "Bidirectional expected initial_state with 2 tensors, the states of the forward layer and "
        "then those of the backward layer, but got Tensor.",
    )


def test_arguments() -> None:
    assert_message(
        lambda: layers.Dense(8, activasion="relu"),
        "Dense has no argument 'activasion'. Did you mean 'activation'? It takes activation, "
        "activity_regularizer, bias_initializer, bias_regularizer, input_shape, "
        "kernel_initializer, kernel_regularizer, name, trainable, units, use_bias.",
        UnknownArgumentError,
    )
    for bad in (0, -1, 2.5, True, "8"):
        assert_message(
            lambda: layers.GRU(bad),  # noqa: B023
            f"GRU expected units to be a positive whole number but got {bad!r}.",
        )
    for bad in (1.0, -0.1, float("nan")):
        assert_message(
            lambda: layers.LSTM(8, recurrent_dropout=bad),  # noqa: B023
            f"LSTM expected recurrent_dropout to be at least 0 and below 1 but got {bad!r}.",
        )
    assert_message(
        lambda: layers.Dropout(1.5), "Dropout expected a rate between 0 and 1 but got 1.5."
    )
    assert_message(
        lambda: layers.Dropout(0.5, seed=0.5), "A seed is a whole number or None but got 0.5."
    )
    assert_message(
        lambda: layers.LSTM(8, input_shape=(None, "100")),
        "A shape is a tuple of whole numbers and None, such as (None, 100), but got (None, '100').",
    )
    with pytest.raises(UnknownNameError, match=r"Unknown activation 'thanh'\. Did you mean 'tanh'"):
        layers.LSTM(8, "thanh")
    with pytest.raises(UnknownNameError, match=r"Unknown kernel 'cpuu'\. Did you mean 'cpu'"):
        layers.LSTM(8, use_kernel="cpuu")
    with pytest.raises(UnknownNameError, match=r"Unknown merge_mode 'cat'"):
        layers.Bidirectional(layers.LSTM(8), "cat")
    with pytest.raises(TypeError, match="Did you mean 'return_sequences'"):
        layers.LSTM(8, return_sequence=True)


def test_bidirectional_of_a_stack_names_the_way_round() -> None:
    stack = layers.RNN([layers.LSTMCell(2), layers.LSTMCell(2)])
    with pytest.raises(InputError, match=r"runs a StackedRNNCells.*go_backwards=True"):
        layers.Bidirectional(stack)


def test_bidirectional_pairs() -> None:
    assert_message(
        lambda: layers.Bidirectional(layers.LSTM(3), backward_layer=layers.LSTM(3)),
        "Bidirectional needs one layer with go_backwards=True and one without, but both have "
        "go_backwards=False.",
    )
    assert_message(
        lambda: layers.Bidirectional(
            layers.LSTM(3),
            backward_layer=layers.LSTM(3, return_sequences=True, go_backwards=True),
        ),
        "Bidirectional needs two layers with the same return_sequences but layer has False and "
        "backward_layer has True.",
    )
    with pytest.raises(InputError, match=r"^Bidirectional wraps a recurrent layer .* got Dense\("):
        layers.Bidirectional(layers.Dense(3))


def test_weights_of_another_shape() -> None:
    layer = lstm()
    before = layer.get_weights()
    zeros = [np.zeros_like(weight) for weight in before]
    assert_message(
        lambda: layer.set_weights([*zeros[:2], np.zeros(31)]),
        "lstm.bias has the shape (32,) but got (31,).",
    )
    assert_message(
        lambda: layer.set_weights(zeros[:2]),
        "lstm has 3 weights (kernel (12, 32), recurrent_kernel (8, 32), bias (32,)) but got 2.",
    )
    for old, new in zip(before, layer.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_before_the_weights_are_made() -> None:
    for method in (layers.LSTM(8).count_params, lambda: layers.LSTM(8).set_weights([np.zeros(3)])):
        with pytest.raises(InputError, match=r"^lstm has no weights yet, so \w+ cannot serve\. "):
            method()
    assert layers.Dropout(0.5).count_params() == 0
    assert_message(
        lambda: layers.LSTM(8).build((None, None, None)),
        "LSTM needs the number of features to make its weights but the last axis of "
        "(None, None, None) is unknown. Give it, as in input_shape=(None, 100).",
    )
    wrong = layers.Dense(3, kernel_initializer=lambda shape, dtype: torch.zeros(2, 2))
    assert_message(
        lambda: wrong(torch.zeros(1, 4)),
        "The initializer of dense.kernel returned the shape (2, 2) where (4, 3) was asked for.",
    )


def test_other_layers() -> None:
    assert_message(
        lambda: layers.Dense(3)(torch.zeros(4)),
        "Dense expected input (B, ..., I) but got (4,). Add a batch axis for one sample: "
        "x[None, :].",
    )
    assert_message(
        lambda: layers.Masking()(torch.zeros(2, 3)),
        "Masking expected input (B, T, I) but got (2, 3). Add the missing axis, for example "
        "x[:, :, None] for series of one feature.",
    )
    with pytest.raises(InputError, match="Masking cannot find NaN by comparison"):
        layers.Masking(float("nan"))
    assert_message(
        lambda: layers.Dropout(0.5, (None, 1)).train()(torch.zeros(2, 3, 4)),
        "Dropout got input with 3 axes, (2, 3, 4), but noise_shape has 2: (None, 1). Give one size "
        "(or None) for each axis.",
    )
    assert_message(
        lambda: layers.Embedding(0, 3),
        "Embedding expected input_dim to be a positive whole number but got 0.",
    )
