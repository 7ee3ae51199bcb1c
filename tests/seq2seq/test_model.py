"""A Seq2Seq is a model as any other: compiled, trained, saved, loaded, explained, refused."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatewise
from gatewise.errors import InputError, ModelFileError, UnknownNameError, UnsupportedError
from gatewise.gradients import TBPTT
from gatewise.kernels import run, steering
from gatewise.layers import (
    GRU,
    LSTM,
    RNN,
    Bidirectional,
    Conv1D,
    Dense,
    Dropout,
    Embedding,
    Layer,
    LSTMCell,
    Masking,
    SimpleRNN,
    register,
)
from gatewise.models import clone_model, load_model
from gatewise.optimizers import Adam
from gatewise.seq2seq import Seq2Seq
from gatewise.seq2seq.sampled import with_own_tokens

LOSS = "sparse_categorical_crossentropy"


def test_each_recurrent_layer_runs_once_over_the_whole_sequence(tools: Any) -> None:
    for attention in (None, "luong", "bahdanau"):
        model = tools.build("lstm", 2, attention)
        (source, heard), _ = model.teacher_forced(*tools.pairs())
        steps: list[int] = []

        def counted(given: Any, steps: list[int] = steps) -> Any:
            steps.append(given.x.shape[1])
            return run(given)

        with steering(counted):
            model([source, heard])
        assert sorted(steps) == [5, 5, 7, 7]


def test_it_learns_to_reverse() -> None:
    gatewise.utils.set_random_seed(0)
    torch.set_default_dtype(torch.float32)
    rng = np.random.default_rng(0)
    sources = [rng.integers(3, 9, size=rng.integers(1, 5)).tolist() for _ in range(300)]
    model = Seq2Seq(
        [Embedding(9, 16, mask_zero=True), LSTM(32)],
        [Embedding(9, 16, mask_zero=True), LSTM(32), Dense(9, "softmax")],
        attention="luong",
        start=1,
        stop=2,
    )
    model.compile(Adam(0.01), LOSS, metrics=["accuracy"])
    x, y = model.teacher_forced(sources, [source[::-1] for source in sources])
    model.fit(x, y, epochs=25, verbose=0)
    unseen = [[3, 4, 5], [8, 3, 8, 6], [7]]
    assert [one.tolist() for one in model.generate(unseen)] == [one[::-1] for one in unseen]
    assert [one.tolist() for one in model.generate(unseen, search="beam")] == [
        one[::-1] for one in unseen
    ]


@pytest.mark.parametrize("attention", [None, "luong", "bahdanau"])
@pytest.mark.parametrize("bridge", ["copy", "dense"])
def test_one_file_holds_it_and_training_goes_on(
    tools: Any, tmp_path: Path, attention: str | None, bridge: str
) -> None:
    model = tools.build("lstm", 2, attention, bridge=bridge, both=True, scheduled_sampling=0.25)
    model.compile("adam", LOSS, metrics=["accuracy"], gradient="bptt")
    x, y = model.teacher_forced(*tools.pairs())
    model.fit(x, y, epochs=2, verbose=0)
    path = tmp_path / "model.safetensors"
    model.save(path)
    loaded = load_model(path)
    assert type(loaded) is Seq2Seq and (loaded.start, loaded.stop) == (1, 2)
    assert loaded.scheduled_sampling == 0.25 and loaded.get_config() == model.get_config()
    assert torch.equal(loaded(x), model(x))
    for search in ("greedy", "beam"):
        pairs = [one.generate(tools.pairs()[0], search=search) for one in (model, loaded)]
        assert [a.tolist() for a in pairs[0]] == [b.tolist() for b in pairs[1]]
    for one in (model, loaded):
        torch.manual_seed(7)
        one.fit(x, y, epochs=2, verbose=0)
    assert torch.equal(loaded(x), model(x))


def test_layers_shared_and_frozen_stay_so_in_the_file(tmp_path: Path) -> None:
    words = Embedding(9, 4, mask_zero=True)
    model = Seq2Seq(
        [words, LSTM(4)], [words, LSTM(4), Dense(9)], attention="luong", start=1, stop=2
    )
    model.get_layer("attention_keys").trainable = False
    model.get_layer("lstm").trainable = False
    model.save(tmp_path / "m.safetensors")
    loaded = load_model(tmp_path / "m.safetensors")
    assert loaded.layers_in_pieces[0] is loaded.get_layer("embedding")
    assert loaded.count_params() == model.count_params()
    frozen = [name for name, p in loaded.named_parameters() if not p.requires_grad]
    assert frozen == [name for name, p in model.named_parameters() if not p.requires_grad]
    assert len(frozen) == 4
    clone = clone_model(loaded)
    assert clone.get_config() == model.get_config()


def test_a_file_that_asks_for_nonsense(tools: Any, tmp_path: Path) -> None:
    model = tools.build()
    for name, wrong in (("attention", "telepathy"), ("encoder", ["nobody"]), ("start", "one")):
        config = model.get_config() | {name: wrong}
        model.get_config = lambda config=config: config
        model.save(tmp_path / "m.safetensors")
        del model.get_config
        with pytest.raises(ModelFileError, match=r"telepathy|nobody|a token's id"):
            load_model(tmp_path / "m.safetensors")


def test_a_dictionary_of_inputs_and_a_loader_serve(tools: Any) -> None:
    model = tools.build()
    model.compile("sgd", LOSS)
    (source, heard), said = model.teacher_forced(*tools.pairs())
    listed = model.evaluate([source, heard], said, verbose=0)
    assert model.evaluate({"target": heard, "source": source}, said, verbose=0) == listed
    model.fit(iter([((source, heard), said)]), verbose=0)
    assert model.evaluate([source, heard], said, verbose=0) < listed


def test_the_loss_skips_what_is_padding(tools: Any) -> None:
    model = tools.build(attention="luong")
    model.compile(loss=LOSS)
    (source, heard), said = model.teacher_forced(*tools.pairs())
    p = model([source, heard]).gather(2, said[..., None])[..., 0]
    expected = -p[said != 0].log().mean().item()
    assert model.evaluate([source, heard], said, verbose=0) == pytest.approx(expected, abs=1e-12)


def test_alignment_sums_to_one_over_the_real_source(tools: Any) -> None:
    for attention in ("luong", "bahdanau"):
        model = tools.build("gru", 2, attention, both=True)
        (source, heard), _ = model.teacher_forced(*tools.pairs())
        weights = model.alignment(source, heard)
        assert weights.shape == (3, 7, 5)
        assert np.abs(weights.sum(-1) - 1).max() < 1e-12
        assert (weights[1, :, 2:] == 0).all() and (weights[1, :, :2] > 0).all()


def test_a_source_of_numbers(tools: Any) -> None:
    model = Seq2Seq(
        [Masking(input_shape=(None, 2)), GRU(4)],
        [Embedding(5, 3, mask_zero=True), GRU(4), Dense(5, "softmax")],
        attention="bahdanau",
        start=1,
        stop=2,
    )
    model.compile("adam", LOSS)
    sources = [np.ones((4, 2)), np.ones((2, 2))]
    model.fit(*model.teacher_forced(sources, [[3], [4, 3]]), verbose=0)
    together = model.generate(sources)
    assert [one.tolist() for one in together] == [
        model.generate([one])[0].tolist() for one in sources
    ]


def test_training_mode_and_gradients_are_left_as_they_were(tools: Any) -> None:
    model = tools.build()
    model.train()
    model.generate([[3]], 3)
    assert model.training and all(layer.training for layer in model.layers)
    assert all(weight.grad is None for weight in model.parameters())


def test_own_tokens_take_the_place_of_true_ones() -> None:
    heard = torch.tensor([[1, 3, 4, 5], [1, 3, 0, 0]])
    log_p = torch.full((2, 4, 7), -torch.inf)
    log_p[..., 6] = 0.0
    real = heard != 0
    assert with_own_tokens(heard, log_p, real, 0.0).tolist() == heard.tolist()
    assert with_own_tokens(heard, log_p, real, 1.0).tolist() == [[1, 6, 6, 6], [1, 6, 0, 0]]
    many = with_own_tokens(torch.ones(50, 100, dtype=torch.long), _six(50, 100), None, 0.3)
    assert abs((many == 6).double().mean().item() - 0.3) < 0.03


def _six(*shape: int) -> torch.Tensor:
    log_p = torch.full((*shape, 7), -torch.inf)
    log_p[..., 6] = 0.0
    return log_p


def test_scheduled_sampling_acts_in_training_alone(tools: Any) -> None:
    model = tools.build(attention="luong", scheduled_sampling=1.0)
    (source, heard), _ = model.teacher_forced(*tools.pairs())
    truth = model([source, heard])
    heard_too = model([source, heard], training=True)
    assert torch.equal(truth[:, 0], heard_too[:, 0]) and not torch.equal(truth, heard_too)
    model.scheduled_sampling = 0.0
    assert torch.equal(model([source, heard], training=True), truth)
    model.scheduled_sampling = 0.5
    model.compile("adam", LOSS, gradient=TBPTT(2))
    with pytest.raises(UnsupportedError, match="scheduled_sampling hears the whole target"):
        model.fit([source, heard], torch.ones_like(heard), verbose=0)
    for wrong in (-0.1, 1.5, True, "half"):
        with pytest.raises(InputError, match="from 0 to 1"):
            model.scheduled_sampling = wrong


WORDS, SAYS = Embedding(9, 3), Dense(9)


@pytest.mark.parametrize(
    ("encoder", "decoder", "keywords", "error", "message"),
    [
        ([], [WORDS, LSTM(4)], {}, InputError, "encoder is a list of layers"),
        ([WORDS, LSTM(4)], [WORDS, SAYS], {}, InputError, "decoder is a list of layers"),
        ([WORDS, LSTM(4)], [WORDS, LSTM(5)], {}, InputError, "2 of 4 units but needs 2 of 5"),
        ([WORDS, GRU(4)], [WORDS, LSTM(4)], {}, InputError, "Use the same cell in both"),
        ([WORDS, LSTM(4)], [WORDS, LSTM(4), LSTM(4)], {}, InputError, "1 recurrent layers and"),
        (
            [WORDS, Bidirectional(LSTM(4))],
            [WORDS, LSTM(4)],
            {},
            InputError,
            "2 of 8 units but needs 2 of 4 units. Give it 8 units",
        ),
        ([LSTM(4)], [WORDS, LSTM(4)], {}, InputError, r"input_shape=\(None, features\)"),
        ([WORDS, LSTM(4), Dropout(0.1)], [WORDS, LSTM(4)], {}, InputError, "Leave it out"),
        ([WORDS, Conv1D(3, 2), LSTM(4)], [WORDS, LSTM(4)], {}, UnsupportedError, "Conv1D"),
        (
            [WORDS, LSTM(4)],
            [WORDS, Bidirectional(LSTM(2))],
            {},
            InputError,
            "decoder is a list of layers",
        ),
        ([WORDS, LSTM(4, go_backwards=True)], [WORDS, LSTM(4)], {}, UnsupportedError, "::-1"),
        ([WORDS, LSTM(4)], [WORDS, LSTM(4, stateful=True)], {}, UnsupportedError, "stateful"),
        (
            [WORDS, LSTM(4)],
            [WORDS, LSTM(4)],
            {"attention": "loung"},
            UnknownNameError,
            "Did you mean 'luong'",
        ),
        ([WORDS, LSTM(4)], [WORDS, LSTM(4)], {"bridge": "rope"}, UnknownNameError, "bridge"),
        ([WORDS, LSTM(4)], [WORDS, LSTM(4)], {"start": -1}, InputError, "a token's id"),
        (
            [WORDS, LSTM(4)],
            [LSTM(4, input_shape=(None, 2)), Dense(2)],
            {"scheduled_sampling": 0.5},
            UnsupportedError,
            "fed with tokens",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    encoder: Any, decoder: Any, keywords: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        Seq2Seq(encoder, decoder, **keywords)


def test_bad_data(tools: Any) -> None:
    model = tools.build()
    with pytest.raises(InputError, match=r"The sources are .* but this is \(3,\)"):
        model.generate(np.array([3, 4, 5]))
    with pytest.raises(InputError, match="2 sources but 1 targets"):
        model.teacher_forced([[3], [4]], [[3]])
    with pytest.raises(InputError, match=r"Target 0 has the shape \(1, 2\)"):
        model.teacher_forced([[3]], [[[3, 4]]])
    with pytest.raises(InputError, match="Target 1 holds the id 0 between others"):
        model.teacher_forced([[3], [4]], [[3, 0], [3, 0, 4]])
    plain = Seq2Seq([Embedding(9, 3), LSTM(4)], [Embedding(9, 3), LSTM(4), Dense(9)], start=1)
    with pytest.raises(InputError, match="Give it mask_zero=True"):
        plain.teacher_forced([[3], [4, 5]], [[3], [4]])
    with pytest.raises(InputError, match="no tokens, and there is no stop token"):
        plain.teacher_forced([[3]], [[]])
    with pytest.raises(UnsupportedError, match="no attention to look at"):
        plain.alignment([[3]], [[1]])
    silent = Seq2Seq([Embedding(9, 3), LSTM(4)], [Embedding(9, 3), LSTM(4), Dense(9)])
    for call in (lambda: silent.generate([[3]]), lambda: silent.teacher_forced([[3]], [[3]])):
        with pytest.raises(InputError, match="without a start token"):
            call()


def test_the_bridge_lets_cells_and_sizes_differ() -> None:
    model = Seq2Seq(
        [Embedding(9, 3), Bidirectional(GRU(3)), SimpleRNN(5)],
        [Embedding(9, 3), LSTM(4), Dense(9)],
        bridge="dense",
        start=1,
        stop=2,
    )
    sizes = {n: tuple(p.shape) for n, p in model.named_parameters() if n.startswith("bridge")}
    assert sizes == {
        f"bridge_0_{state}.{weight}": shape
        for state in ("h", "c")
        for weight, shape in (("kernel", (11, 4)), ("bias", (4,)))
    }
    assert len(model.generate([[3, 4]], 4)) == 1


def test_summary_and_inspection_know_it(tools: Any) -> None:
    lines: list[str] = []
    model = tools.build(attention="luong")
    model.summary(print_fn=lines.append)
    assert "luong_attention" in lines[0] and f"{model.count_params():,}" in lines[0]
    assert [entry.name for entry in gatewise.inspect.measure_parameters(model).layers]


def test_a_copy_is_whole_and_its_own(tools: Any) -> None:
    model = tools.build(attention="luong")
    other = copy.deepcopy(model)
    sources, _ = tools.pairs()
    before = [one.tolist() for one in model.generate(sources)]
    with torch.no_grad():
        for weight in model.parameters():
            weight.zero_()
    assert [one.tolist() for one in other.generate(sources)] == before


@register
class Smoothed(Layer):
    """A cell of the user's own: s' = (s + tanh(x W)) / 2."""

    def __init__(self, units: int, **keywords: Any) -> None:
        super().__init__(**keywords)
        self.units = self.state_size = units

    def build(self, input_shape: Any) -> None:
        self.weight = self.add_weight("weight", (input_shape[-1], self.units), "glorot_uniform")

    def call(self, inputs: Any, states: Any) -> Any:
        state = (states[0] + torch.tanh(inputs @ self.weight)) / 2
        return state, [state]

    def get_config(self) -> dict[str, Any]:
        return super().get_config() | {"units": self.units}


@pytest.mark.parametrize(("bridge", "units"), [("copy", 4), ("dense", 5)])
def test_cells_of_your_own(tmp_path: Path, bridge: str, units: int) -> None:
    model = Seq2Seq(
        [Embedding(9, 3, mask_zero=True), RNN(Smoothed(4))],
        [Embedding(9, 3, mask_zero=True), RNN(Smoothed(units)), Dense(9, "softmax")],
        attention="luong",
        bridge=bridge,
        start=1,
        stop=2,
    )
    model.compile("adam", LOSS)
    x, y = model.teacher_forced([[3, 4], [5]], [[6], [7, 8]])
    model.fit(x, y, verbose=0)
    written = [one.tolist() for one in model.generate([[3, 4], [5]], 6)]
    assert written == [model.generate([one], 6)[0].tolist() for one in ([3, 4], [5])]
    path = tmp_path / "m.safetensors"
    model.save(path)
    assert [one.tolist() for one in load_model(path).generate([[3, 4], [5]], 6)] == written
    with pytest.raises(UnsupportedError, match=r"'rnn_1' \(RNN\) is none of"):
        model.compile("adam", LOSS, gradient=TBPTT(2))
    with pytest.raises(UnsupportedError, match="one RNN for each cell"):
        Seq2Seq(
            [Embedding(9, 3), RNN(Smoothed(4)), LSTM(4)],
            [Embedding(9, 3), RNN([LSTMCell(4), LSTMCell(4)]), Dense(9)],
            bridge="dense",
        )
