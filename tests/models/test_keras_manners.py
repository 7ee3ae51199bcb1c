"""What programs written for Keras do with models and layers of their own, and with torch's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch
from torch import nn

import gatewise
from gatewise import Input, Model, Sequential, layers, load_model
from gatewise.errors import InputError, UnsupportedError
from gatewise.models.mask_path import mask_path

X = np.random.default_rng(0).normal(size=(6, 5, 3)).astype("float32")
Y = np.random.default_rng(1).normal(size=(6, 1)).astype("float32")


class Scaled(Model):
    """Layers, a weight of the model's own from build, and a regularizer."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = layers.LSTM(4)
        self.dense = layers.Dense(1)

    def build(self, input_shape: Any) -> None:
        self.factor = self.add_weight(
            shape=(1,), initializer="ones", regularizer="l2", name="factor"
        )
        super().build(input_shape)
        self.built = True

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.dense(self.lstm(inputs)) * self.factor


@pytest.mark.parametrize("first", ["build", "fit", "call"])
def test_a_model_of_one_s_own_makes_its_weights_once(first: str, tmp_path: Path) -> None:
    model = Scaled()
    model.compile(optimizer="adam", loss="mse")
    if first == "build":
        model.build((None, 5, 3))
    elif first == "call":
        model(X)
    model.fit(X, Y, epochs=2, verbose=0)
    assert sorted(model.state_dict()) == [
        "dense.bias",
        "dense.kernel",
        "factor",
        "lstm.bias",
        "lstm.kernel",
        "lstm.recurrent_kernel",
    ]
    assert model.factor.item() != 1
    assert model.regularization().item() == pytest.approx(0.01 * model.factor.item() ** 2)
    model.save_weights(tmp_path / "w.safetensors")
    other = Scaled()
    other.build((None, 5, 3))
    other.load_weights(tmp_path / "w.safetensors")
    np.testing.assert_array_equal(other.predict(X, verbose=0), model.predict(X, verbose=0))


def test_training_for_one_call() -> None:
    dropout = layers.Dropout(0.5, seed=1)
    assert torch.equal(dropout(torch.ones(9)), torch.ones(9))
    assert set(dropout(torch.ones(99), training=True).tolist()) == {0.0, 2.0}
    assert not dropout.training
    begin = Input((9,))
    always = Model(begin, layers.Dropout(0.5)(begin, training=True))
    assert (always(torch.ones(5, 9)) == 0).any()
    again = Model.__new__(type(always)).from_config(always.get_config())
    assert (again(torch.ones(5, 9)) == 0).any()


def test_a_layer_s_own_arguments_are_its_configuration(
    tmp_path: Path, clean_register: None
) -> None:
    @layers.register
    class Power(layers.Layer):
        def __init__(self, exponent: int, shift: float = 0.0, **keywords: Any) -> None:
            super().__init__(**keywords)
            self.exponent, self.shift = exponent, shift

        def call(self, x: torch.Tensor) -> torch.Tensor:
            return x**self.exponent + self.shift

    model = Sequential([Input((3,)), Power(3, shift=1.0, name="cube")])
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert (loaded.layers[0].exponent, loaded.layers[0].shift) == (3, 1.0)
    assert loaded.layers[0].name == "cube"
    with pytest.raises(UnsupportedError, match=r"exponent=tensor.*get_config"):
        Power(torch.ones(2)).get_config()


def test_super_call_and_layer_call_run_what_the_layer_does() -> None:
    class Doubled(layers.Dense):
        def call(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * super().call(x)

    x = torch.ones(2, 3)
    layer = Doubled(2, kernel_initializer="ones")
    assert layer(x).tolist() == [[6.0, 6.0]] * 2
    plain = layers.Dense(2, kernel_initializer="ones")
    assert plain.call(x).tolist() == [[3.0, 3.0]] * 2


def test_modules_of_torch_as_layers(tmp_path: Path) -> None:
    gatewise.utils.set_random_seed(0)
    model = Sequential(
        [
            Input((None, 3)),
            nn.Linear(3, 4),
            layers.LSTM(4),
            nn.Sequential(nn.Linear(4, 2), nn.Tanh(), nn.Linear(2, 1)),
        ]
    )
    assert model.output_shape == (None, 1)
    model.compile(optimizer=torch.optim.Adam, loss=nn.MSELoss())
    before = model.get_weights()
    model.fit(X, Y, verbose=0)
    for old, new in zip(before, model.get_weights(), strict=True):
        assert not np.array_equal(old, new)
    assert model.count_params() == 3 * 4 + 4 + 144 + (4 * 2 + 2) + (2 + 1)
    model.summary(print_fn=lambda text: None)
    model.layers[0].trainable = False
    assert len(model.trainable_weights) == len(model.weights) - 2
    model.save_weights(tmp_path / "w.safetensors")
    with pytest.raises(UnsupportedError, match="save_weights"):
        model.save(tmp_path / "m.safetensors")
    begin = Input((5, 3))
    with pytest.raises(UnsupportedError, match="TorchLayer"):
        nn.Linear(3, 2)(begin)
    drawn = Model(begin, layers.TorchLayer(nn.Linear(3, 2))(begin))
    assert drawn.output_shape == (None, 5, 2)
    with pytest.raises(InputError, match=r"takes a torch\.nn\.Module"):
        layers.TorchLayer(layers.LSTM(3))


def test_a_mask_ends_at_a_module_of_torch_unless_it_works_on_steps() -> None:
    for passes in (False, True):
        model = Sequential([Input((None, 3)), layers.Masking()])
        model.add(layers.TorchLayer(nn.Linear(3, 2), supports_masking=passes))
        mask = model.forward_with_mask(torch.zeros(1, 2, 3))[1]
        assert (mask is not None) == passes


def summary_of(model: Model) -> str:
    texts: list[str] = []
    model.summary(print_fn=texts.append)
    return texts[0]


def test_summary_shows_where_a_mask_ends() -> None:
    ids = [Input((None,)), layers.Embedding(9, 4, mask_zero=True)]
    model = Sequential([*ids, layers.LSTM(3, return_sequences=True), layers.LSTM(2)])
    assert summary_of(model).endswith(" Mask: begins at embedding; passes lstm; ends at lstm_1")
    unused = Sequential(
        [Input((None, 2)), layers.Masking(), layers.Dense(3), layers.GlobalMaxPooling1D()]
    )
    assert summary_of(unused).endswith(
        " Mask: begins at masking; passes dense; ends unused at global_max_pooling1d"
    )
    to_the_loss = Sequential(
        [Input((None, 2)), layers.Masking(), layers.GRU(3, return_sequences=True)]
    )
    assert summary_of(to_the_loss).endswith(
        " Mask: begins at masking; passes gru, and goes on to the loss"
    )
    assert "Mask" not in summary_of(Sequential([Input((None, 2)), layers.GRU(3)]))


def test_a_model_with_a_stateful_layer_is_built_without_a_state() -> None:
    class Own(Model):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = layers.LSTM(2, stateful=True)

        def call(self, x: Any) -> Any:
            return self.lstm(x)

    model = Own()
    model.build((None, 5, 3))
    assert model.lstm.kept_h is None
    assert model(X).shape == (6, 2)


def test_a_mask_s_way_through_a_graph_leaves_no_trace() -> None:
    words, facts = Input((None,), dtype="int32", name="words"), Input((4,), name="facts")
    h = layers.Embedding(9, 4, mask_zero=True, name="embedding")(words)
    h = layers.LSTM(3, stateful=True, name="lstm")(h)
    model = Model([words, facts], layers.Dense(1)(layers.Concatenate()([h, facts])))
    drawn = torch.get_rng_state()
    steps = mask_path(model)
    assert [(step.layer, step.received, step.made) for step in steps[:2]] == [
        ("embedding", False, True),
        ("lstm", True, False),
    ]
    assert torch.equal(drawn, torch.get_rng_state())
    assert model.get_layer("lstm").kept_h is None
    assert not model.training


@pytest.mark.parametrize(
    "name", ["add", "average", "maximum", "minimum", "multiply", "subtract", "concatenate", "dot"]
)
def test_lower_case_merging(name: str) -> None:
    parts = [torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 5.0]])]
    arguments = {"axes": 1} if name == "dot" else {}
    ours = getattr(layers, name)(parts, **arguments)
    theirs = getattr(keras.layers, name)(parts, **arguments)
    assert ours.tolist() == theirs.tolist()


def test_input_with_its_batch_axis() -> None:
    assert Input(batch_shape=(2, None, 3)).shape == (2, None, 3)
    for bad in ({}, {"shape": (3,), "batch_shape": (2, 3)}):
        with pytest.raises(InputError, match="or a batch_shape"):
            Input(**bad)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("merge", ["Multiply", "Maximum", "Minimum", "Add", "Concatenate"])
def test_masks_go_through_a_merge_as_in_keras(merge: str) -> None:
    made = []
    for library in (gatewise, keras):
        one, other = library.Input((4,), dtype="int32"), library.Input((4,), dtype="int32")
        embed = [library.layers.Embedding(7, 3, mask_zero=True) for _ in range(2)]
        merged = getattr(library.layers, merge)()([embed[0](one), embed[1](other)])
        made.append(library.Model([one, other], library.layers.LSTM(2)(merged)))
    ours, theirs = made
    ours.set_weights(theirs.get_weights())
    ids = [np.array([[1, 2, 0, 0], [3, 0, 4, 0]]), np.array([[5, 0, 6, 0], [1, 2, 3, 0]])]
    wanted = theirs.predict(ids, verbose=0)
    np.testing.assert_allclose(ours.predict(ids, verbose=0), wanted, rtol=1e-5, atol=1e-6)
