"""Cells of the user's own and ours in RNN, stateful layers, layers by build and call."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import gatewise
from gatewise import Input, Model, Sequential, layers, load_model, models
from gatewise.errors import InputError, ModelFileError, UnsupportedError
from gatewise.layers.registered import OWN

pytestmark = [
    pytest.mark.usefixtures("float64"),
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
HYPOTHESIS = settings(
    max_examples=100,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
CLOSE = {"rtol": 1e-9, "atol": 1e-11}
SIZES = {"LSTMCell": 2, "GRUCell": 1, "SimpleRNNCell": 1}


def minimal(base: Any, name: str = "Minimal") -> Any:
    """Return Keras's example of a cell, on a base class of either library."""

    class Minimal(base):
        def __init__(self, units: int, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.units = units
            self.state_size = [units, units]

        def build(self, input_shape: Any) -> None:
            self.w = self.add_weight(
                shape=(input_shape[-1], self.units), initializer="uniform", name="kernel"
            )
            self.u = self.add_weight(shape=(self.units, self.units), initializer="uniform")

        def call(self, inputs: Any, states: Any) -> Any:
            h = torch.tanh(inputs @ _tensor(self.w) + states[0] @ _tensor(self.u))
            return h + states[1], [h, 0.5 * states[1] + h]

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "units": self.units}

    Minimal.__name__ = name
    return Minimal


def _tensor(weight: Any) -> Any:
    return getattr(weight, "value", weight)


@HYPOTHESIS
@given(
    cells=st.lists(st.sampled_from([*SIZES, "own"]), min_size=1, max_size=3),
    sequences=st.booleans(),
    backwards=st.booleans(),
    zeroed=st.booleans(),
    masked=st.booleans(),
    seed=st.integers(0, 99),
)
def test_rnn_of_any_cells(
    cells: list[str], sequences: bool, backwards: bool, zeroed: bool, masked: bool, seed: int
) -> None:
    def make(library: Any) -> Any:
        made = [
            minimal(library.layers.Layer)(3)
            if cell == "own"
            else getattr(library.layers, cell)(units)
            for cell, units in zip(cells, (3, 2, 4), strict=False)
        ]
        return library.layers.RNN(
            made if len(made) > 1 else made[0],
            return_sequences=sequences,
            return_state=True,
            go_backwards=backwards,
            zero_output_for_mask=zeroed,
        )

    ours, theirs = make(gatewise), make(keras)
    numbers = np.random.default_rng(seed)
    ours.build((None, 5, 3))
    theirs.build((None, 5, 3))
    weights = [numbers.normal(size=w.shape) * 0.7 for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = torch.tensor(numbers.normal(size=(2, 5, 3)), requires_grad=True)
    mask = torch.tensor(numbers.random((2, 5)) < 0.6) if masked else None
    found = [_flat(layer(x, mask=mask)) for layer in (ours, theirs)]
    for our, their in zip(*found, strict=True):
        np.testing.assert_allclose(our.detach(), their.detach(), **CLOSE)
    gradients = [torch.autograd.grad(sum((y**3).sum() for y in ys), x)[0] for ys in found]
    np.testing.assert_allclose(*gradients, **CLOSE)


def _flat(value: Any) -> list[torch.Tensor]:
    if isinstance(value, (list, tuple)):
        return [tensor for one in value for tensor in _flat(one)]
    return [value]


@pytest.mark.parametrize("kind", [*SIZES, "StackedRNNCells"])
@HYPOTHESIS
@given(data=st.data())
def test_a_cell_is_one_step_of_keras_s(kind: str, data: st.DataObject) -> None:
    below = data.draw(st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=2))
    names = [*below, "LSTMCell"] if kind == "StackedRNNCells" else [kind]
    drawn = [(name, data.draw(_cell_arguments(name))) for name in names]
    cells = [
        [getattr(library.layers, name)(**arguments) for name, arguments in drawn]
        for library in (gatewise, keras)
    ]
    ours, theirs = (
        library.layers.StackedRNNCells(made) if kind == "StackedRNNCells" else made[0]
        for library, made in zip((gatewise, keras), cells, strict=True)
    )
    numbers = np.random.default_rng(data.draw(st.integers(0, 2**16)))
    batch, features = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 4))
    ours.build((None, features))
    theirs.build((None, features))
    weights = [numbers.normal(size=w.shape) * 0.7 for w in theirs.get_weights()]
    ours.set_weights(weights)
    theirs.set_weights(weights)
    x = torch.tensor(numbers.normal(size=(batch, features)), requires_grad=True)
    states = _states_of(ours.state_size, batch, numbers)
    given_states = states if isinstance(states, list) else [states]
    sources = [x, *_flat(given_states)]
    found = []
    for cell, weights in ((ours, ours.weights), (theirs, [w.value for w in theirs.weights])):
        y, new = cell(x, given_states)
        results = [y, *_flat(new)]
        total = sum((one**3).sum() for one in results)
        found.append([*results, *torch.autograd.grad(total, [*sources, *weights])])
    for our, their in zip(*found, strict=True):
        np.testing.assert_allclose(our.detach(), their.detach(), **CLOSE)


@st.composite
def _cell_arguments(draw: st.DrawFn, cell: str) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "units": draw(st.integers(1, 4)),
        "activation": draw(st.sampled_from(["tanh", "relu", "linear"])),
        "use_bias": draw(st.booleans()),
    }
    if cell == "GRUCell":
        arguments["reset_after"] = draw(st.booleans())
    return arguments


def _states_of(size: Any, batch: int, numbers: np.random.Generator) -> Any:
    if isinstance(size, (list, tuple)):
        return [_states_of(one, batch, numbers) for one in size]
    return torch.tensor(numbers.normal(size=(batch, size)), requires_grad=True)


def test_a_cell_may_start_where_it_likes_and_is_saved_by_name(
    tmp_path: Path, clean_register: None
) -> None:
    own = layers.register(minimal(layers.Layer, "Own"))
    start = Input((None, 3))
    stack = layers.RNN([own(4), layers.LSTMCell(2)], return_sequences=True)
    model = Model(start, layers.RNN(own(3))(stack(start)))
    model.save(tmp_path / "m.safetensors")
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    loaded = load_model(tmp_path / "m.safetensors")
    assert np.array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))
    OWN.clear()
    with pytest.raises(ModelFileError, match="register above class Own"):
        load_model(tmp_path / "m.safetensors")
    stranger = Sequential([layers.RNN(minimal(layers.Layer)(2), input_shape=(None, 3))])
    with pytest.raises(UnsupportedError, match=r"Register it: put @gatewise.layers.register"):
        stranger.save(tmp_path / "other.safetensors")


def test_a_layer_by_build_and_call(tmp_path: Path, clean_register: None) -> None:
    @layers.register
    class Scaled(layers.Layer):
        def __init__(self, power: int = 1, **arguments: Any) -> None:
            super().__init__(**arguments)
            self.power = power

        def build(self, input_shape: Any) -> None:
            self.factor = self.add_weight(
                shape=(input_shape[-1],), initializer="ones", regularizer="l2", name="f"
            )
            super().build(input_shape)

        def call(self, x: Any, training: bool = False) -> Any:
            return x * self.factor**self.power * (2 if training else 1)

        def get_config(self) -> dict[str, Any]:
            return {**super().get_config(), "power": self.power}

    model = Sequential([layers.GRU(3, input_shape=(None, 2)), Scaled(2)])
    assert model.output_shape == (None, 3)
    assert [name for name, _ in model.named_parameters()][-1] == "scaled.factor"
    assert model.regularization() is not None
    x = np.ones((2, 4, 2))
    assert torch.equal(model(x, training=True), 2 * model(x))
    model.save(tmp_path / "m.safetensors")
    assert load_model(tmp_path / "m.safetensors").layers[1].power == 2


@pytest.mark.parametrize("cell", ["LSTM", "GRU", "SimpleRNN"])
@pytest.mark.parametrize("masked", [False, True])
def test_stateful_layers_go_on_as_keras_s(cell: str, masked: bool) -> None:
    ours = getattr(layers, cell)(3, stateful=True, return_sequences=True)
    theirs = getattr(keras.layers, cell)(3, stateful=True, return_sequences=True)
    numbers = np.random.default_rng(0)
    theirs.build((2, 4, 3))
    ours.build((2, 4, 3))
    ours.set_weights(theirs.get_weights())
    for step in range(4):
        if step == 2:
            ours.reset_state()
            theirs.reset_state()
        x = torch.tensor(numbers.normal(size=(2, 4, 3)))
        mask = torch.tensor([[False, True, True, False], [True] * 4]) if masked else None
        np.testing.assert_allclose(
            ours(x, mask=mask).detach(), theirs(x, mask=mask).detach(), **CLOSE
        )


def test_a_stateful_model() -> None:
    model = Sequential([layers.LSTM(3, stateful=True, input_shape=(None, 2)), layers.Dense(1)])
    model.compile("sgd", "mse")
    x, y = np.random.default_rng(0).normal(size=(8, 5, 2)), np.zeros((8, 1))
    with pytest.raises(InputError, match="shuffle=False"):
        model.fit(x, y, verbose=0)
    model.fit(x, y, shuffle=False, batch_size=4, verbose=0)
    with pytest.raises(InputError, match="holds the state of 4 series, but the batch has 1"):
        model.predict(x[:1], verbose=0)
    model.reset_states()
    halves = [model.predict(x[:1, part], verbose=0) for part in (slice(0, 2), slice(2, 5))]
    model.reset_state()
    np.testing.assert_allclose(halves[1], model.predict(x[:1], verbose=0), **CLOSE)
    assert not [name for name in model.state_dict() if "kept" in name]


def test_clones_have_weights_of_their_own() -> None:
    start = Input((None, 2))
    model = Model(start, layers.Dense(1)(layers.LSTM(3)(start)))
    clone = models.clone_model(model)
    assert clone.get_config() == model.get_config()
    clone.set_weights([w + 1 for w in model.get_weights()])
    assert not np.array_equal(clone.get_weights()[0], model.get_weights()[0])


MISSING: dict[str, tuple[Callable[[], Any], str]] = {
    "layer": (lambda: layers.Conv2D, "no 'Conv2D'. The nearest is Conv1D"),  # pyright: ignore
    "cell": (lambda: layers.RNN(layers.Dense(2)), "state_size"),
    "size": (lambda: layers.LSTMCell(3, return_sequences=True), "give it to RNN"),
    "rank": (lambda: layers.LSTMCell(3)(torch.zeros(1, 2, 3), []), "one time step"),
}


@pytest.mark.parametrize("mistake", MISSING)
def test_mistakes_name_the_way_out(mistake: str) -> None:
    make, message = MISSING[mistake]
    with pytest.raises((InputError, AttributeError), match=message):
        make()
