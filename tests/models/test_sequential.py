"""Sequential: shapes, names, sharing, masks, and the errors that name the layer to change."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import gatewise
from gatewise.errors import InputError, UnsupportedError
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Dropout, Embedding, Input, Masking
from gatewise.models import Sequential


def program() -> Sequential:
    model = Sequential()
    model.add(LSTM(128, input_shape=(None, 100)))
    model.add(Dropout(0.5))
    model.add(Dense(1, activation="sigmoid"))
    return model


def test_the_program_has_its_117_377_parameters() -> None:
    model = program()
    assert [layer.count_params() for layer in model.layers] == [117_248, 0, 129]
    assert model.count_params() == 117_377
    assert model.output_shapes == [(None, 128), (None, 128), (None, 1)]
    assert model.input_shape == (None, None, 100)
    assert list(model.state_dict()) == [
        "lstm.kernel", "lstm.recurrent_kernel", "lstm.bias", "dense.kernel", "dense.bias",
    ]  # fmt: skip


def test_an_embedding_in_front_needs_no_input_shape() -> None:
    model = Sequential([Embedding(20_000, 100, mask_zero=True)])
    for layer in program().layers:
        model.add(layer.from_config(layer.get_config() | {"input_shape": None}))
    assert model.count_params() == 2_000_000 + 117_377
    assert model.input_shape == (None, None)


def test_a_second_layers_input_shape_must_agree() -> None:
    model = Sequential([Embedding(10, 100), LSTM(3, input_shape=(None, 100))])
    assert model.output_shape == (None, 3)
    with pytest.raises(
        InputError, match=r"'lstm' was given input_shape=\(None, 7\).*only the first"
    ):
        Sequential([Embedding(10, 100), LSTM(3, input_shape=(None, 7))])


@pytest.mark.parametrize("first", [Input(shape=(None, 3)), None], ids=["Input", "input_shape"])
def test_input_and_input_shape_are_the_same(first: Input | None) -> None:
    layers = [LSTM(4), Dense(2)] if first else [LSTM(4, input_shape=(None, 3)), Dense(2)]
    model = Sequential([first, *layers] if first else layers)
    assert model.built
    assert model.input_shape == (None, None, 3)
    assert model.output_shape == (None, 2)


def test_without_a_shape_the_first_data_builds_it() -> None:
    model = Sequential([LSTM(4, return_sequences=True), Dense(2)])
    assert not model.built
    assert model.output_shape is None
    assert model(torch.zeros(2, 5, 3)).shape == (2, 5, 2)
    assert model.input_shape == (None, None, 3)
    assert model(torch.zeros(1, 1, 3)).shape == (1, 1, 2)


def test_build_and_its_refusals() -> None:
    model = Sequential([LSTM(4)])
    with pytest.raises(InputError, match=r"count_params\(\) needs the weights.*Input\(shape="):
        model.count_params()
    model.build((None, None, 3))
    model.build((None, 7, 3))
    with pytest.raises(InputError, match=r"was built for inputs \(None, None, 3\)"):
        model.build((None, None, 5))
    with pytest.raises(InputError, match="has no layers"):
        Sequential().build((None, 3))


def test_names_are_unique_in_the_model_and_start_anew_in_the_next() -> None:
    for _ in range(2):
        model = Sequential(
            [LSTM(2, return_sequences=True, input_shape=(None, 3)), LSTM(2), Dense(1), Dense(1)]
        )
        assert model.layer_names == ["lstm", "lstm_1", "dense", "dense_1"]
        assert [layer.name for layer in model.layers] == model.layer_names
    with pytest.raises(InputError, match="Two layers are called 'head'"):
        Sequential([Dense(1, name="head"), Dense(1, name="head")])


@pytest.mark.parametrize("name", ["layers", "forward", "compiled", "a.b", "a/b", "training"])
def test_a_name_that_cannot_be_a_module_is_refused(name: str) -> None:
    model = Sequential([Dense(2, input_shape=(3,))])
    with pytest.raises(InputError, match="name"):
        model.add(Dense(1, name=name))
    assert model.layer_names == ["dense"]
    assert model.output_shape == (None, 2)


def test_pop_and_add_again() -> None:
    model = program()
    model.compile(loss="mse")
    bound = model.optimizer
    removed = model.pop()
    assert isinstance(removed, Dense)
    assert model.output_shape == (None, 128)
    assert "dense.kernel" not in model.state_dict()
    model.add(Dense(3))
    assert model.output_shape == (None, 3)
    assert model.compiled is not None
    assert model.compiled.bind(model) is not bound
    for _ in range(3):
        model.pop()
    with pytest.raises(InputError, match="no layers to pop"):
        model.pop()


def test_a_layer_added_twice_shares_its_weights() -> None:
    shared = Dense(4, activation="tanh", input_shape=(4,))
    model = Sequential([shared, shared])
    assert model.layers == [shared, shared]
    assert model.count_params() == 20
    x = torch.randn(3, 4)
    model(x).sum().backward()
    once = shared.kernel.grad.clone()
    model.zero_grad()
    shared(shared(x)).sum().backward()
    assert torch.equal(once, shared.kernel.grad)
    model.pop()
    assert model.layer_names == ["dense"]
    assert "dense.kernel" in model.state_dict()


def test_a_shared_layer_of_another_size_is_refused() -> None:
    shared = Dense(5)
    with pytest.raises(InputError, match="4 features"):
        Sequential([Input(shape=(4,)), shared, shared])


def test_the_layer_without_return_sequences_is_named() -> None:
    message = (
        r"lstm_1 \(LSTM\) needs \(B, T, I\) but lstm returns \(None, 128\)\. "
        r"Set return_sequences=True on 'lstm'\."
    )
    with pytest.raises(InputError, match=message):
        Sequential([LSTM(128, input_shape=(None, 100)), LSTM(64)])
    with pytest.raises(InputError, match=r"gru \(GRU\) needs .* bidirectional returns \(None, 6\)"):
        Sequential([Bidirectional(LSTM(3), input_shape=(None, 2)), Dropout(0.1), GRU(2)])
    model = Sequential([LSTM(8), Dropout(0.5), LSTM(4)])
    with pytest.raises(InputError, match="Set return_sequences=True on 'lstm'"):
        model(torch.zeros(1, 2, 3))
    assert not model.built


def test_two_dimensional_input_shape_is_refused_with_the_cure() -> None:
    with pytest.raises(InputError, match="time axis"):
        Sequential([Input(shape=(12,)), LSTM(3)])
    with pytest.raises(InputError, match=r"x\[:, None, :\]"):
        Sequential([LSTM(3, input_shape=(None, 12))])(torch.zeros(32, 12))


def test_what_a_stack_cannot_pass_on_is_refused() -> None:
    with pytest.raises(UnsupportedError, match="'lstm' returns several tensors"):
        Sequential([LSTM(3, return_state=True, input_shape=(None, 2))])
    with pytest.raises(UnsupportedError, match="merge_mode=None"):
        Sequential([Bidirectional(LSTM(3), merge_mode=None, input_shape=(None, 2))])
    with pytest.raises(InputError, match=r"Call the class"):
        Sequential([LSTM])  # type: ignore[list-item]
    with pytest.raises(InputError, match="Input must come first"):
        Sequential([Dense(1), Input(shape=(2,))])


def test_a_model_is_in_inference_mode_and_training_is_one_call() -> None:
    model = Sequential([Dropout(0.5, input_shape=(1000,))])
    x = torch.ones(1, 1000)
    assert torch.equal(model(x), x)
    assert not torch.equal(model(x, training=True), x)
    assert not model.training
    assert not model.layers[0].training
    model.train()
    assert torch.equal(model(x, training=False), x)
    assert model.training
    assert model.layers[0].training


def test_arrays_are_taken_like_tensors() -> None:
    model = Sequential([LSTM(3, input_shape=(None, 2))])
    x = np.random.default_rng(0).normal(size=(2, 4, 2))
    assert torch.equal(model(x), model(torch.tensor(x, dtype=torch.float32)))


def test_masks_travel_to_the_last_layer_that_has_steps() -> None:
    ids = torch.tensor([[3, 1, 0], [2, 0, 0]])
    model = Sequential([Embedding(5, 4, mask_zero=True), LSTM(3, return_sequences=True), Dense(2)])
    y, mask = model.forward_with_mask(ids)
    assert y.shape == (2, 3, 2)
    assert mask is not None
    assert torch.equal(mask, ids != 0)
    model.add(LSTM(2))
    assert model.forward_with_mask(ids)[1] is None


def test_a_masked_step_changes_nothing() -> None:
    model = Sequential([LSTM(3, input_shape=(None, 2)), Dense(1)])
    x = torch.randn(2, 5, 2)
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]]).bool()
    spoiled = x.clone()
    spoiled[0, 3:] = torch.nan
    assert torch.equal(model(x, mask), model(spoiled, mask))
    assert torch.allclose(model(x, mask)[0], model(x[:, :3])[0])


@pytest.mark.parametrize("first", [Masking(-1.0, input_shape=(None, 2)), Embedding(5, 2)])
def test_a_callers_mask_survives_layers_that_make_masks(first: gatewise.layers.Layer) -> None:
    model = Sequential([first, LSTM(3, return_sequences=True)])
    x = (
        torch.ones(1, 3, dtype=torch.int64)
        if isinstance(first, Embedding)
        else torch.zeros(1, 3, 2)
    )
    given = torch.tensor([[True, True, False]])
    assert torch.equal(model.forward_with_mask(x, given)[1], given)


def test_a_model_inside_a_model() -> None:
    inner = Sequential([LSTM(3, return_sequences=True), LSTM(3)], name="encoder")
    model = Sequential([Input(shape=(None, 2)), inner, Dense(1)])
    assert model.output_shape == (None, 1)
    assert "encoder.lstm_1.kernel" in model.state_dict()
    x = torch.randn(2, 4, 2)
    assert torch.equal(model(x), model.layers[1](inner(x)))


def test_weights_by_list() -> None:
    model, twin = program(), program()
    twin.set_weights(model.get_weights())
    x = torch.randn(1, 2, 100)
    assert torch.equal(model(x), twin(x))
    with pytest.raises(InputError, match=r"4 arrays but sequential has 5 weights: lstm.kernel"):
        twin.set_weights(model.get_weights()[:-1])
    wrong = model.get_weights()
    wrong[1] = wrong[1][:, :-1]
    before = twin.get_weights()
    with pytest.raises(
        InputError, match=r"lstm.recurrent_kernel has shape \(128, 512\).*\(128, 511\)"
    ):
        twin.set_weights(wrong)
    assert all(np.array_equal(a, b) for a, b in zip(before, twin.get_weights(), strict=True))


def test_trainable_reaches_every_layer() -> None:
    model = Sequential([LSTM(2, input_shape=(None, 2)), Dense(1)], trainable=False)
    assert model.trainable_weights == []
    model.get_layer("dense").trainable = True
    assert len(model.trainable_weights) == 2
    assert model.trainable


def test_get_layer() -> None:
    model = program()
    assert model.get_layer("dense") is model.get_layer(index=-1) is model.layers[2]
    with pytest.raises(InputError, match="No layer 'gru' in sequential: lstm, dropout, dense"):
        model.get_layer("gru")
    with pytest.raises(InputError, match="none at 3"):
        model.get_layer(index=3)


def test_config_makes_the_same_model() -> None:
    shared = Dense(3, input_shape=(3,))
    inner = Sequential([Dense(3, use_bias=False)], name="inner")
    model = Sequential([shared, shared, inner], name="whole")
    again = Sequential.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert list(again.state_dict()) == list(model.state_dict())
    assert again.layers[0] is again.layers[1]


def test_summary_prints_what_print_fn_gets() -> None:
    lines: list[str] = []
    program().summary(print_fn=lines.append, line_length=80)
    text = lines[0]
    for part in ("117,248", "117,377", "(None, 128)", "Trainable params: 117,377"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 80
    program().summary(gates=True, print_fn=lines.append)
    assert "4·(128·100 + 128·128) + 4·128 = 117,248" in lines[1]
    assert "117,377" in program()._repr_html_()
    Sequential([LSTM(3)]).summary(print_fn=lines.append)
    assert "unbuilt" in lines[2]
