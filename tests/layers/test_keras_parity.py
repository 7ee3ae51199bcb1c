"""Every recurrent layer against the real Keras: outputs, states and all gradients, in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gatewise import layers

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]

STATES = {"LSTM": 2, "GRU": 1, "SimpleRNN": 1}
MERGES = ("concat", "sum", "mul", "ave", None)
MASKS = {
    "holes": [[1, 0, 1, 1, 0], [0, 1, 0, 0, 1], [1, 1, 1, 1, 1]],
    "left padding": [[0, 0, 1, 1, 1], [0, 0, 0, 0, 1], [1, 1, 1, 1, 1]],
    "right padding": [[1, 1, 1, 0, 0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 1]],
    "fully masked rows": [[0, 0, 0, 0, 0], [1, 0, 1, 1, 0], [0, 0, 0, 0, 0]],
    "everything masked": [[0, 0, 0, 0, 0]] * 3,
}


def pair(cell: str, units: int, **arguments: Any) -> tuple[Any, Any]:
    theirs = getattr(keras.layers, cell)(units, dtype="float64", **arguments)
    return getattr(layers, cell)(units, **arguments), theirs


def tolerance(arguments: dict[str, Any]) -> dict[str, float]:
    """Return how far the two may differ.

    torch's derivative of hardsigmoid, which Keras uses, holds 1/6 in single precision.
    """
    hard = "hard_sigmoid" in (arguments.get("activation"), arguments.get("recurrent_activation"))
    return {"rtol": 1e-5, "atol": 1e-6} if hard else {"rtol": 1e-10, "atol": 1e-12}


def series(steps: int = 5, batch: int = 3, features: int = 4) -> np.ndarray:
    return np.random.default_rng(7).normal(size=(batch, steps, features))


@pytest.mark.parametrize("cell", STATES)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("zeroed", [False, True])
@pytest.mark.parametrize("mask", MASKS)
@pytest.mark.parametrize("with_state", [False, True])
def test_masks(
    assert_as_keras: Callable[..., None],
    cell: str,
    sequences: bool,
    backwards: bool,
    zeroed: bool,
    mask: str,
    with_state: bool,
) -> None:
    ours, theirs = pair(
        cell,
        3,
        return_sequences=sequences,
        return_state=True,
        go_backwards=backwards,
        zero_output_for_mask=zeroed,
    )
    assert_as_keras(
        ours,
        theirs,
        series(),
        mask=np.array(MASKS[mask], dtype=bool),
        state_sizes=(3,) * STATES[cell] if with_state else (),
    )


@pytest.mark.parametrize(
    ("cell", "arguments"),
    [
        ("LSTM", {}),
        ("LSTM", {"use_bias": False}),
        ("LSTM", {"activation": "relu", "recurrent_activation": "hard_sigmoid"}),
        ("LSTM", {"activation": "elu", "recurrent_activation": "softmax"}),
        ("LSTM", {"activation": None, "recurrent_activation": "tanh"}),
        ("LSTM", {"unroll": True, "return_sequences": True}),
        ("LSTM", {"implementation": 1, "return_sequences": True}),
        ("GRU", {}),
        ("GRU", {"use_bias": False}),
        ("GRU", {"reset_after": False, "return_sequences": True}),
        ("GRU", {"reset_after": False, "use_bias": False, "return_sequences": True}),
        ("GRU", {"activation": "softsign", "recurrent_activation": "hard_sigmoid"}),
        ("GRU", {"activation": "gelu", "reset_after": False}),
        ("SimpleRNN", {}),
        ("SimpleRNN", {"use_bias": False, "return_sequences": True}),
        ("SimpleRNN", {"activation": "relu"}),
        ("SimpleRNN", {"activation": "silu", "return_sequences": True}),
    ],
)
def test_arguments(
    assert_as_keras: Callable[..., None], cell: str, arguments: dict[str, Any]
) -> None:
    ours, theirs = pair(cell, 5, **arguments)
    assert_as_keras(ours, theirs, series(), tolerance=tolerance(arguments))


@pytest.mark.parametrize("cell", STATES)
@pytest.mark.parametrize(("batch", "steps", "units"), [(1, 1, 1), (1, 9, 7), (5, 1, 2), (2, 3, 63)])
def test_odd_sizes(
    assert_as_keras: Callable[..., None], cell: str, batch: int, steps: int, units: int
) -> None:
    ours, theirs = pair(cell, units, return_sequences=True, return_state=True)
    assert_as_keras(ours, theirs, series(steps, batch))


@pytest.mark.parametrize("cell", STATES)
@pytest.mark.parametrize("merge_mode", MERGES)
@pytest.mark.parametrize("sequences", [False, True])
@pytest.mark.parametrize("mask", [None, "holes", "fully masked rows"])
@pytest.mark.parametrize("with_state", [False, True])
def test_bidirectional(
    assert_as_keras: Callable[..., None],
    cell: str,
    merge_mode: str | None,
    sequences: bool,
    mask: str | None,
    with_state: bool,
) -> None:
    ours, theirs = pair(cell, 3, return_sequences=sequences, return_state=True)
    assert_as_keras(
        layers.Bidirectional(ours, merge_mode=merge_mode),
        keras.layers.Bidirectional(theirs, merge_mode=merge_mode, dtype="float64"),
        series(),
        mask=None if mask is None else np.array(MASKS[mask], dtype=bool),
        state_sizes=(3,) * (2 * STATES[cell]) if with_state else (),
    )


@pytest.mark.parametrize("cell", STATES)
def test_bidirectional_rnn_of_a_cell(assert_as_keras: Callable[..., None], cell: str) -> None:
    ours, theirs = (
        library.RNN(
            getattr(library, f"{cell}Cell")(3, use_bias=False, **dtype),
            return_sequences=True,
            return_state=True,
            **dtype,
        )
        for library, dtype in ((layers, {}), (keras.layers, {"dtype": "float64"}))
    )
    assert_as_keras(
        layers.Bidirectional(ours),
        keras.layers.Bidirectional(theirs, dtype="float64"),
        series(),
        mask=np.array(MASKS["holes"], dtype=bool),
    )


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("mask", [None, "left padding"])
def test_own_backward_layer(
    assert_as_keras: Callable[..., None], swapped: bool, mask: str | None
) -> None:
    ours, theirs = pair("LSTM", 3, return_sequences=True, go_backwards=swapped)
    our_back, their_back = pair(
        "GRU", 3, activation="relu", return_sequences=True, go_backwards=not swapped
    )
    assert_as_keras(
        layers.Bidirectional(ours, merge_mode="sum", backward_layer=our_back),
        keras.layers.Bidirectional(
            theirs, merge_mode="sum", backward_layer=their_back, dtype="float64"
        ),
        series(),
        mask=None if mask is None else np.array(MASKS[mask], dtype=bool),
    )


@st.composite
def configurations(draw: st.DrawFn, kind: str) -> dict[str, Any]:
    cell = draw(st.sampled_from(sorted(STATES))) if kind == "Bidirectional" else kind
    activations = [
        "tanh",
        "relu",
        "sigmoid",
        "linear",
        "softsign",
        "hard_sigmoid",
        "elu",
        "softplus",
    ]
    arguments: dict[str, Any] = {
        "units": draw(st.integers(1, 5)),
        "activation": draw(st.sampled_from(activations)),
        "use_bias": draw(st.booleans()),
        "return_sequences": draw(st.booleans()),
        "return_state": draw(st.booleans()),
        "go_backwards": draw(st.booleans()),
        "zero_output_for_mask": draw(st.booleans()),
    }
    if cell != "SimpleRNN":
        gates = ["sigmoid", "hard_sigmoid", "tanh"]
        arguments["recurrent_activation"] = draw(st.sampled_from(gates))
    if cell == "GRU":
        arguments["reset_after"] = draw(st.booleans())
    batch, steps = draw(st.integers(1, 4)), draw(st.integers(1, 6))
    row = st.lists(st.booleans(), min_size=steps, max_size=steps)
    rows = st.lists(row, min_size=batch, max_size=batch)
    return {
        "cell": cell,
        "arguments": arguments,
        "shape": (batch, steps, draw(st.integers(1, 4))),
        "mask": draw(st.none() | rows),
        "with_state": draw(st.booleans()),
        "bidirectional": kind == "Bidirectional",
        "merge_mode": draw(st.sampled_from(MERGES)),
        "seed": draw(st.integers(0, 2**16)),
    }


@pytest.mark.parametrize("kind", [*STATES, "Bidirectional"])
@settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_any_configuration(
    assert_as_keras: Callable[..., None], kind: str, data: st.DataObject
) -> None:
    configuration = data.draw(configurations(kind))
    cell, arguments = configuration["cell"], configuration["arguments"]
    states = STATES[cell]
    if configuration["bidirectional"]:
        arguments["go_backwards"], states = False, 2 * states
    ours, theirs = pair(cell, **arguments)
    if configuration["bidirectional"]:
        merge_mode = configuration["merge_mode"]
        ours = layers.Bidirectional(ours, merge_mode)
        theirs = keras.layers.Bidirectional(theirs, merge_mode, dtype="float64")
    mask = configuration["mask"]
    assert_as_keras(
        ours,
        theirs,
        np.random.default_rng(configuration["seed"]).normal(size=configuration["shape"]),
        mask=None if mask is None else np.array(mask, dtype=bool),
        state_sizes=(arguments["units"],) * states if configuration["with_state"] else (),
        seed=configuration["seed"],
        tolerance=tolerance(arguments),
    )
