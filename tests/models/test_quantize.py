"""Models with weights of 8 bits: what still works, what is refused, and what it costs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import gatewise
from gatewise import Input, Model, Sequential
from gatewise.errors import InputError, ModelFileError, UnsupportedError
from gatewise.gradients import backward
from gatewise.inspect import measure_gates, measure_parameters
from gatewise.layers import GRU, LSTM, Bidirectional, Concatenate, Dense, Dropout, Embedding
from gatewise.models import clone_model, load_model
from gatewise.optimizers import Adam
from gatewise.seq2seq import Seq2Seq


def _trained() -> tuple[Sequential, np.ndarray, np.ndarray]:
    """A model that has learnt which half of a series of 12 holds the larger sum."""
    gatewise.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(400, 12, 2)).astype("float32")
    y = (x[:, :6, 0].sum(1) > x[:, 6:, 0].sum(1)).astype("float32")[:, None]
    model = Sequential([LSTM(16, input_shape=(None, 2)), Dropout(0.1), Dense(1, "sigmoid")])
    model.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    model.optimizer.learning_rate = 0.02
    model.fit(x, y, epochs=12, verbose=0)
    return model, x, y


@pytest.fixture(scope="module")
def pair() -> tuple[Sequential, Sequential, np.ndarray, np.ndarray]:
    """A trained model, its quantized copy, and data."""
    model, x, y = _trained()
    small = clone_model(model)
    small.set_weights(model.get_weights())
    small.compile("adam", "binary_crossentropy", metrics=["accuracy"])
    small.quantize("int8")
    return model, small, x, y


def test_a_trained_model_loses_next_to_nothing(pair) -> None:
    model, small, x, y = pair
    loss, accuracy = model.evaluate(x, y, verbose=0)
    small_loss, small_accuracy = small.evaluate(x, y, verbose=0)
    assert accuracy > 0.9
    assert abs(small_accuracy - accuracy) <= 0.01 and abs(small_loss - loss) < 0.02
    off = np.abs(small.predict(x, verbose=0) - model.predict(x, verbose=0))
    assert 0 < off.max() < 0.05


def test_a_stream_of_the_model(pair) -> None:
    _, small, x, _ = pair
    stream = small.stream(4)
    for t in range(12):
        y = stream.step(x[:4, t])
    assert np.array_equal(y, small.predict(x[:4], verbose=0))


def test_a_file_holds_the_integers_and_runs_nothing_else(pair, tmp_path: Path) -> None:
    model, small, x, y = pair
    big, path = tmp_path / "big.safetensors", tmp_path / "small.safetensors"
    model.save(big, include_optimizer=False)
    small.save(path)
    again = load_model(path)
    assert np.array_equal(again.predict(x, verbose=0), small.predict(x, verbose=0))
    assert again.evaluate(x, y, verbose=0) == small.evaluate(x, y, verbose=0)
    assert again.layers[0].kernel.dtype == torch.int8 and again.count_params() == 1233
    again.load_weights(path)
    with pytest.raises(ModelFileError, match=r"lacks lstm\.kernel_scale"):
        again.load_weights(big)
    with pytest.raises(ModelFileError, match="too many"):
        model.load_weights(path)


def test_a_file_with_another_mode_is_refused(pair, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    pair[1].save(path)
    path.write_bytes(path.read_bytes().replace(b'\\"int8\\"', b'\\"int4\\"'))
    with pytest.raises(ModelFileError, match="Unknown quantization mode 'int4'"):
        load_model(path)


def test_training_is_refused_with_the_reason(pair) -> None:
    _, small, x, y = pair
    before = small.predict(x, verbose=0)
    for train in (
        lambda: small.fit(x, y, verbose=0),
        lambda: small.train_on_batch(x, y),
        lambda: backward(small, x, y),
        lambda: small.learn_one(x[0, 0], y[0]),
    ):
        with pytest.raises(UnsupportedError, match="rounding has no gradient"):
            train()
    given = torch.tensor(x, requires_grad=True)
    with pytest.raises(UnsupportedError, match="There is no way back through these layers"):
        small(given).sum().backward()
    with pytest.raises(UnsupportedError, match="no gates are kept"):
        measure_gates(small, torch.tensor(x[:2]))
    with pytest.raises(UnsupportedError, match="beside scales of other numbers"):
        small.set_weights([np.zeros_like(weight) for weight in small.get_weights()])
    assert np.array_equal(small.predict(x, verbose=0), before)


def test_the_ledger_and_the_summary_tell_the_truth(pair) -> None:
    model, small, _, _ = pair
    before, after = measure_parameters(model), measure_parameters(small)
    assert (after.count, after.trainable_count) == (before.count, 0)
    assert before.bytes == 4 * before.count
    # W and U take a byte each, 2 · 64 scales, the bias and the head four.
    assert after.bytes == (2 + 16) * 64 + 4 * (2 * 64 + 64 + 17)
    (one,) = after.layers[0].sets
    assert (one.dtype, one.bytes, one.count) == ("int8", (2 + 16) * 64 + 4 * 3 * 64, 1216)
    printed: list[str] = []
    small.summary(print_fn=printed.append, gates=True)
    assert "lstm (LSTM, int8)" in printed[0] and "weights of 8 bits" in printed[0]
    assert f"Non-trainable params: {before.count:,}" in printed[0]


def test_every_recurrent_layer_of_a_graph() -> None:
    torch.manual_seed(0)
    inputs = Input((None, 3))
    ahead = Bidirectional(GRU(5))(inputs)
    back = LSTM(4, go_backwards=True)(LSTM(6, return_sequences=True)(inputs))
    model = Model(inputs, Dense(2)(Concatenate()([ahead, back])))
    x = torch.randn(4, 9, 3)
    before = model(x).detach()
    model.quantize()
    names = [name for name, one in model.named_parameters() if one.dtype == torch.int8]
    assert len(names) == 8 and not any(one.requires_grad for one in model.parameters())
    torch.testing.assert_close(model(x), before, rtol=0, atol=0.03)


def test_token_ids() -> None:
    torch.manual_seed(0)
    model = Sequential([Embedding(20, 6, mask_zero=True), LSTM(8), Dense(3)])
    ids = torch.tensor([[3, 1, 4, 0], [1, 5, 9, 2]])
    before = model(ids).detach()
    model.quantize()
    torch.testing.assert_close(model(ids), before, rtol=0, atol=0.02)
    assert model.layers[0].weights[0].dtype == torch.float32


def test_an_encoder_and_a_decoder_write_what_they_wrote() -> None:
    gatewise.utils.set_random_seed(0)
    encoder = [Embedding(9, 16, mask_zero=True), LSTM(32)]
    decoder = [Embedding(9, 16, mask_zero=True), LSTM(32), Dense(9, activation="softmax")]
    model = Seq2Seq(encoder=encoder, decoder=decoder, attention="luong", start=1, stop=2)
    model.compile(Adam(0.01), "sparse_categorical_crossentropy")
    random = np.random.default_rng(0)
    sources = [random.integers(3, 9, size=random.integers(1, 5)).tolist() for _ in range(300)]
    given, said = model.teacher_forced(sources, [source[::-1] for source in sources])
    model.fit(list(given), said, epochs=15, verbose=0)
    before = [one.tolist() for one in model.generate(sources[:20])]
    model.quantize()
    assert [one.tolist() for one in model.generate(sources[:20])] == before
    with pytest.raises(UnsupportedError, match="rounding has no gradient"):
        model.fit(list(given), said, verbose=0)


def test_what_cannot_be_quantized_stays_as_it_was() -> None:
    with pytest.raises(UnsupportedError, match="has none of them"):
        Sequential([Dense(3, input_shape=(4,))]).quantize()
    with pytest.raises(InputError, match="needs the weights"):
        Sequential([LSTM(3)]).quantize()
    model = Sequential([LSTM(3, input_shape=(None, 2), return_sequences=True), LSTM(3)])
    model.layers[1].double()
    with pytest.raises(UnsupportedError, match=r"torch\.float64"):
        model.quantize()
    assert model.layers[0].kernel.dtype == torch.float32 and model.layers[0].trainable
