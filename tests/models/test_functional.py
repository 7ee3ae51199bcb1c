"""Models drawn as graphs: the same numbers as Keras's, before and after training; parts; files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import gatewise
from gatewise import Input, Model, Sequential, layers, load_model
from gatewise.errors import InputError, UnsupportedError
from gatewise.models import Functional

pytestmark = [
    # Keras's own variables do not know NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    # Keras says where a mask ends; so does our documentation.
    pytest.mark.filterwarnings("ignore:Layer '.*' .*does not support masking:UserWarning"),
]
CLOSE = {"rtol": 1e-9, "atol": 1e-11}


@pytest.fixture(autouse=True)
def in_float64(keras_in_float64: None) -> Iterator[None]:
    ours = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(ours)


def series(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape)


def ids(*shape: int, seed: int = 0) -> np.ndarray:
    drawn = np.random.default_rng(seed).integers(1, 9, size=shape)
    drawn[:, -2:] = 0
    drawn[0, 2:] = 0
    return drawn


def two_inputs(k: Any) -> Any:
    words, facts = k.Input((None, 4)), k.Input((3,))
    joined = k.layers.Concatenate()([k.layers.LSTM(5)(words), facts])
    return k.Model([words, facts], k.layers.Dense(2)(k.layers.Dense(3, "tanh")(joined)))


def shared(k: Any) -> Any:
    one, two = k.Input((None, 4)), k.Input((None, 4))
    lstm = k.layers.LSTM(3)
    ends = [lstm(two), lstm(one)]
    return k.Model([one, two], k.layers.Dense(2)(k.layers.Multiply()(ends)))


def encoder_decoder(k: Any) -> Any:
    source, target = k.Input((None, 4)), k.Input((None, 3))
    _, h, c = k.layers.LSTM(5, return_state=True)(source)
    decoder = k.layers.LSTM(5, return_sequences=True, return_state=True)
    outputs, _, _ = decoder(target, initial_state=[h, c])
    return k.Model([source, target], k.layers.Dense(2, "softmax")(outputs))


def masked(k: Any) -> Any:
    words = k.Input((None,), dtype="int32")
    x = k.layers.Embedding(9, 4, mask_zero=True)(words)
    x = k.layers.GRU(5, return_sequences=True)(x)
    x = k.layers.TimeDistributed(k.layers.Dense(4))(x)
    x = k.layers.LayerNormalization()(x)
    return k.Model(words, k.layers.Dense(2)(k.layers.GlobalAveragePooling1D()(x)))


def per_step(k: Any) -> Any:
    words = k.Input((None,), dtype="int32")
    x = k.layers.Embedding(9, 4, mask_zero=True)(words)
    two_ways = k.layers.Bidirectional(k.layers.LSTM(3, return_sequences=True))(x)
    x = k.layers.Concatenate()([two_ways, x])
    return k.Model(words, k.layers.Dense(2)(k.layers.BatchNormalization()(x)))


def residual(k: Any) -> Any:
    x = start = k.Input((6, 4))
    for _ in range(2):
        x = k.layers.Add()([x, k.layers.Conv1D(4, 3, padding="causal", activation="relu")(x)])
    return k.Model(start, k.layers.Dense(2)(k.layers.Flatten()(x)))


def attention(k: Any) -> Any:
    words = k.Input((None,), dtype="int32")
    asked = k.Input((None, 4))
    x = k.layers.Embedding(9, 4, mask_zero=True)(words)
    values = k.layers.LSTM(4, return_sequences=True)(x)
    seen = k.layers.AdditiveAttention()([asked, values])
    seen = k.layers.Attention(use_scale=True)([seen, values])
    return k.Model([words, asked], k.layers.Dense(2)(k.layers.GlobalMaxPooling1D()(seen)))


def nested(k: Any) -> Any:
    inner_in = k.Input((None, 4))
    inner = k.Model(inner_in, k.layers.GRU(3)(inner_in))
    head = k.Sequential([k.Input((6,)), k.layers.Dense(4, "tanh"), k.layers.Dense(2)])
    one, two = k.Input((None, 4)), k.Input((None, 4))
    both = k.layers.Concatenate()([inner(one), inner(two)])
    return k.Model([one, two], head(both))


MODELS: dict[str, tuple[Callable[[Any], Any], list[np.ndarray], np.ndarray]] = {
    "two inputs": (two_inputs, [series(6, 5, 4), series(6, 3)], series(6, 2)),
    "shared": (shared, [series(6, 5, 4), series(6, 7, 4, seed=1)], series(6, 2)),
    "encoder, decoder": (encoder_decoder, [series(6, 5, 4), series(6, 4, 3)], series(6, 4, 2)),
    "masked": (masked, [ids(6, 7)], series(6, 2)),
    "masked per step": (per_step, [ids(6, 7)], series(6, 7, 2)),
    "residual": (residual, [series(6, 6, 4)], series(6, 2)),
    "attention": (attention, [ids(6, 7), series(6, 3, 4)], series(6, 2)),
    "nested": (nested, [series(6, 5, 4), series(6, 5, 4, seed=1)], series(6, 2)),
}


def both(kind: str) -> tuple[Any, Any, Any, np.ndarray]:
    """Return the model in both libraries with equal weights, and data."""
    build, x, y = MODELS[kind]
    keras.utils.set_random_seed(3)
    ours, theirs = build(gatewise), build(keras)
    ours.set_weights([w + 0.1 * series(*w.shape) for w in theirs.get_weights()])
    theirs.set_weights(ours.get_weights())
    return ours, theirs, x if len(x) > 1 else x[0], y


@pytest.mark.parametrize("kind", MODELS)
def test_outputs_training_and_layers_are_keras_s(kind: str) -> None:
    ours, theirs, x, y = both(kind)
    assert isinstance(ours, Functional)
    assert [type(one).__name__ for one in ours.layers] == [
        type(one).__name__ for one in theirs.layers
    ]
    np.testing.assert_allclose(
        ours.predict(x, verbose=0), theirs.predict(x, verbose=0), err_msg="outputs", **CLOSE
    )
    for model in (ours, theirs):
        model.compile(loss="mse", optimizer="sgd", metrics=["mae"])
    for _ in range(3):
        np.testing.assert_allclose(
            ours.train_on_batch(x, y)[0], theirs.train_on_batch(x, y)[0], **CLOSE
        )
    for our, their in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_allclose(our, their, **CLOSE)
    np.testing.assert_allclose(
        ours.evaluate(x, y, batch_size=6, verbose=0),
        theirs.evaluate(x, y, batch_size=6, verbose=0),
        **CLOSE,
    )


@pytest.mark.parametrize("kind", MODELS)
def test_a_file_keeps_the_graph_and_every_bit(kind: str, tmp_path: Path) -> None:
    ours, _, x, y = both(kind)
    ours.compile(loss="mse", optimizer="adam")
    ours.fit(x, y, epochs=1, batch_size=4, verbose=0)
    ours.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert type(loaded) is Functional
    assert loaded.get_config() == ours.get_config()
    assert np.array_equal(loaded.predict(x, verbose=0), ours.predict(x, verbose=0))
    for model in (ours, loaded):
        gatewise.utils.set_random_seed(0)
        model.fit(x, y, epochs=1, batch_size=4, verbose=0)
    assert all(map(np.array_equal, ours.get_weights(), loaded.get_weights()))


def test_fit_takes_lists_dictionaries_and_datasets() -> None:
    losses = []
    x, y = [series(8, 5, 4), series(8, 3)], series(8, 2)
    named = {"facts": x[1], "words": x[0]}
    pairs = [((x[0][i], x[1][i]), y[i]) for i in range(8)]
    loader = torch.utils.data.DataLoader(pairs, batch_size=8)  # pyright: ignore
    for data in ((x, y), (named, y), (loader, None)):
        gatewise.utils.set_random_seed(0)
        words, facts = Input((None, 4), name="words"), Input((3,), name="facts")
        joined = layers.Concatenate()([layers.LSTM(3)(words), facts])
        model = Model([words, facts], layers.Dense(2)(joined))
        model.compile(loss="mse", optimizer="sgd")
        history = model.fit(*data, epochs=2, shuffle=False, verbose=0)
        losses.append(history.history["loss"])
    assert losses[0] == losses[1] == losses[2]
    assert losses[0][1] < losses[0][0]
    assert np.array_equal(model.predict(x, verbose=0), model.predict(named, verbose=0))
    history = model.fit(x, y, validation_split=0.25, batch_size=3, verbose=0).history
    assert sorted(history) == ["loss", "val_loss"]
    assert model(named).shape == (8, 2)


def test_several_outputs_each_with_loss_and_metrics_as_in_keras() -> None:
    x = series(9, 5, 4)
    y = {"value": series(9, 2), "kind": np.arange(9) % 3}
    results = []
    weights: list[np.ndarray] = []
    for k in (keras, gatewise):
        start = k.Input((None, 4))
        h = k.layers.LSTM(3)(start)
        ends = [k.layers.Dense(2, name="value")(h), k.layers.Dense(3, "softmax", name="kind")(h)]
        model = k.Model(start, ends)
        model.set_weights(weights) if weights else weights.extend(model.get_weights())
        model.compile(
            optimizer="sgd",
            loss={"value": "mse", "kind": "sparse_categorical_crossentropy"},
            loss_weights={"value": 1.0, "kind": 0.5},
            metrics={"kind": ["accuracy"]},
        )
        given = {"shuffle": False, "batch_size": 4, "verbose": 0}
        history = model.fit(x, y, epochs=2, validation_data=(x, y), **given).history
        results.append((history, model.predict(x, verbose=0), model.get_weights()))
    (theirs, their_outputs, their_weights), (ours, our_outputs, our_weights) = results
    assert sorted(ours) == sorted(theirs)
    for name, values in theirs.items():
        np.testing.assert_allclose(ours[name], values, err_msg=name, rtol=1e-6)
    for our, their in zip(
        [*our_outputs, *our_weights], [*their_outputs, *their_weights], strict=True
    ):
        np.testing.assert_allclose(our, their, **CLOSE)


def test_outputs_keep_their_names() -> None:
    start = Input((3,))
    model = Model(start, {"a": layers.Dense(2)(start), "b": layers.Dense(1)(start)})
    found = model.predict(series(4, 3), verbose=0)
    assert {name: value.shape for name, value in found.items()} == {"a": (4, 2), "b": (4, 1)}
    assert model(torch.zeros(2, 3))["b"].shape == (2, 1)


def test_encoder_and_decoder_are_cut_out_of_the_trained_model() -> None:
    """The inference models of Keras's sequence-to-sequence example, step by step."""
    model, _, (source, target), y = both("encoder, decoder")
    model.compile(loss="mse", optimizer="adam")
    model.fit([source, target], y, verbose=0)
    _, h, c = model.layers[2].output
    encoder = Model(model.input[0], [h, c])
    states_in = [Input((5,)), Input((5,))]
    outputs, *states = model.layers[3](model.input[1], initial_state=states_in)
    decoder = Model([model.input[1], *states_in], [model.layers[4](outputs), *states])
    states = encoder.predict(source, verbose=0)
    steps = []
    for t in range(target.shape[1]):
        step, *states = decoder.predict([target[:, t : t + 1], *states], verbose=0)
        steps.append(step)
    np.testing.assert_allclose(
        np.concatenate(steps, axis=1), model.predict([source, target], verbose=0), **CLOSE
    )


def test_parts_of_models_share_their_weights() -> None:
    model, _, x, _ = both("masked")
    features = Model(model.inputs, model.get_layer(index=2).output)
    assert features.predict(x, verbose=0).shape == (6, 7, 5)
    assert features.layers[2] is model.layers[2]
    tail = Model(model.layers[3].output, model.output)
    assert tail.layers[0].name.startswith("input_layer")
    stack = Sequential([layers.LSTM(3, input_shape=(None, 4)), layers.Dense(2)])
    hidden = Model(stack.inputs, stack.layers[0].output)
    data = series(2, 5, 4)
    np.testing.assert_allclose(
        hidden.predict(data, verbose=0), stack.layers[0](data).detach(), **CLOSE
    )


def test_the_summary_tells_what_feeds_each_layer(capsys: pytest.CaptureFixture[str]) -> None:
    encoder_decoder(gatewise).summary(line_length=100)
    text = capsys.readouterr().out
    assert "Connected to" in text
    assert all(source in text for source in ("input_layer_1[0][0],", "lstm[0][1],", "lstm[0][2]"))
    masked(gatewise).summary()
    assert "Connected to" not in capsys.readouterr().out


def test_a_graph_deeper_than_the_stack_of_python() -> None:
    x = start = Input((2,))
    for _ in range(1200):
        x = layers.Activation("linear")(x)
    assert Model(start, x)(torch.ones(1, 2)).tolist() == [[1.0, 1.0]]


def test_torch_s_tools_work_on_a_graph() -> None:
    model, _, x, _ = both("two inputs")
    given = [torch.tensor(part) for part in x]
    expected = model(given)
    exported = torch.export.export(model, (given,), strict=False)
    torch.testing.assert_close(exported.module()(given), expected)


MISTAKES: dict[str, tuple[Callable[[], Any], str]] = {
    "missing input": (
        lambda: Model(Input((2,)), layers.Dense(1)(Input((2,)))),
        "not among the inputs",
    ),
    "numbers": (lambda: Model(np.zeros(2), np.zeros(2)), "must be an Input"),
    "torch": (lambda: torch.relu(Input((2,))), "write a layer of your own"),  # pyright: ignore
    "too few": (lambda: two_inputs(gatewise).predict([series(2, 5, 4)], verbose=0), "2 inputs"),
    "no name": (lambda: two_inputs(gatewise)({"a": series(2, 5, 4)}), "is missing"),
    "unpacked": (lambda: [*layers.LSTM(2)(Input((None, 2)))], "return_state=True"),
    "merged": (
        lambda: layers.Add()([Input((3, 2)), Input((3, 4))]),
        "the sizes \\[2, 4\\] do not go together",
    ),
    "one": (lambda: layers.Concatenate()(torch.zeros(2, 2)), "a list of at least two"),
    "features": (
        lambda: layers.Attention()([Input((3, 2)), Input((3, 4))]),
        "put a Dense layer before one",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_are_named(mistake: str) -> None:
    make, message = MISTAKES[mistake]
    with pytest.raises((InputError, UnsupportedError), match=message):
        make()
