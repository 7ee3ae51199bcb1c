"""The measures as text: golden files, Keras's own table, 80 columns; and as HTML."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatewise.nn
from gatewise.errors import InputError
from gatewise.inspect import (
    ParameterLedger,
    measure_parameters,
    measure_sharing,
    measure_training,
    render_gates,
    render_sharing,
    render_summary,
    render_training,
)
from gatewise.inspect.layout import bar, cell_width, columns, joined, number, shortened, size_text
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Dropout, Embedding, SimpleRNN
from gatewise.models import Sequential

GOLDEN = Path(__file__).parent / "golden"


@pytest.fixture(autouse=True)
def eighty_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def with_kernel(ledger: ParameterLedger) -> ParameterLedger:
    """Put one kernel and reason in place of what this machine happens to choose."""
    layers = tuple(
        dataclasses.replace(
            layer,
            sets=tuple(
                dataclasses.replace(one, kernel="cpu", kernel_reason="native, avx2")
                for one in layer.sets
            ),
        )
        for layer in ledger.layers
    )
    return dataclasses.replace(ledger, layers=layers)


def the_program() -> Sequential:
    return Sequential(
        [LSTM(128, input_shape=(None, 100)), Dropout(0.5), Dense(1, activation="sigmoid")]
    )


def with_embedding() -> Sequential:
    model = Sequential(
        [
            Embedding(20_000, 100, mask_zero=True),
            LSTM(128),
            Dropout(0.5),
            Dense(1, activation="sigmoid", trainable=False),
        ]
    )
    model.build((None, None))
    return model


def many_kinds() -> Sequential:
    return Sequential(
        [
            Bidirectional(GRU(16, return_sequences=True), input_shape=(None, 12)),
            GRU(8, reset_after=False, return_sequences=True, trainable=False),
            SimpleRNN(4, use_bias=False, name="a_rather_long_name_for_a_layer_that_has_to_wrap"),
            Dense(9, activation="softmax"),
        ]
    )


@pytest.mark.parametrize("model", [the_program, with_embedding, many_kinds])
def test_summary_and_gates_are_as_in_the_golden_file(model: Any) -> None:
    ledger = with_kernel(measure_parameters(model()))
    text = f"{render_summary(ledger)}\n\n{render_gates(ledger)}\n"
    assert text == (GOLDEN / f"{model.__name__}.txt").read_text(encoding="utf-8")


def test_the_golden_files_hold_the_numbers_that_must_be_there() -> None:
    program = (GOLDEN / "the_program.txt").read_text(encoding="utf-8")
    for expected in (
        "(None, 128)            │       117,248 │",
        "(None, 128)            │             0 │",
        "(None, 1)              │           129 │",
        " Total params: 117,377 (458.50 KB)",
        " Trainable params: 117,377 (458.50 KB)",
        " Non-trainable params: 0 (0.00 B)",
        "4·(128·100 + 128·128) + 4·128 = 117,248",
        "one set, used by every time step",
        "117,760",
    ):
        assert expected in program
    embedded = (GOLDEN / "with_embedding.txt").read_text(encoding="utf-8")
    assert " Total params: 2,117,377 (8.08 MB)" in embedded


@pytest.mark.parametrize("terminal", ["80", "100", "64"])
def test_the_summary_is_keras_own_table(monkeypatch: pytest.MonkeyPatch, terminal: str) -> None:
    keras = pytest.importorskip("keras")
    monkeypatch.setenv("COLUMNS", terminal)
    name = "a_rather_long_name_for_a_layer_that_has_to_wrap"
    theirs = keras.Sequential(name="sequential")
    theirs.add(keras.layers.Input((None,)))
    theirs.add(keras.layers.Embedding(20_000, 100, mask_zero=True, name="embedding"))
    theirs.add(
        keras.layers.Bidirectional(keras.layers.LSTM(128, return_sequences=True), name="both")
    )
    theirs.add(keras.layers.GRU(8, name=name))
    theirs.add(keras.layers.Dropout(0.5, name="dropout"))
    theirs.add(keras.layers.Dense(1, name="dense", trainable=False))
    ours = Sequential(
        [
            Embedding(20_000, 100, mask_zero=True),
            Bidirectional(LSTM(128, return_sequences=True), name="both"),
            GRU(8, name=name),
            Dropout(0.5),
            Dense(1, trainable=False),
        ]
    )
    ours.build((None, None))
    printed: list[str] = []
    theirs.summary(print_fn=lambda text, line_break=True: printed.append(text))
    assert render_summary(measure_parameters(ours)) == "".join(printed).rstrip("\n")


def test_an_unbuilt_model_has_question_marks_as_in_keras() -> None:
    text = render_summary(measure_parameters(Sequential([LSTM(3)])))
    assert "│ lstm (LSTM)                     │ ?                      │   0 (unbuilt) │" in text


def test_a_summary_needs_some_width() -> None:
    ledger = measure_parameters(the_program())
    assert {len(line) for line in render_summary(ledger, 50).splitlines()[1:-3]} == {50}
    with pytest.raises(InputError, match="at least 32 characters but got 20"):
        render_summary(ledger, 20)


def test_a_model_without_recurrence_has_no_gates() -> None:
    assert render_gates(measure_parameters(nn.Linear(2, 3))) == "No recurrent layer: no gates."


class Encoder(nn.Module):
    """One layer used twice, one frozen, one of several sets, with long and wide names."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding_of_the_words_of_the_text = nn.Embedding(50_000, 64)
        self.shared = LSTM(64, return_sequences=True)
        stack = gatewise.nn.GRU(64, 32, num_layers=2, bidirectional=True, batch_first=True)
        self.add_module("層_with_a_name_that_is_longer_than_the_column_it_stands_in", stack)
        self.frozen = SimpleRNN(4, trainable=False)

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embedding_of_the_words_of_the_text(ids)
        x = self.shared(self.shared(x))
        for name, module in self.named_children():
            if name.startswith("層"):
                x = module(x)[0]
        return self.frozen(x)


def all_texts(model: nn.Module, x: Any, y: Any, optimizer: Any = None) -> dict[str, str]:
    ledger = measure_parameters(model)
    training = measure_training(model, x, y, loss="mse", optimizer=optimizer)
    return {
        "summary": render_summary(ledger),
        "gates": render_gates(ledger),
        "training": render_training(training),
        "sharing": render_sharing(measure_sharing(model, x, y, loss="mse")),
    }


def test_everything_fits_eighty_columns() -> None:
    torch.manual_seed(0)
    model, ids = Encoder(), torch.randint(0, 50_000, (2, 1000))
    model(ids)
    optimizer = torch.optim.Adam(model.parameters())
    texts = all_texts(model, ids, torch.randn(2, 4), optimizer)
    for text in texts.values():
        for line in text.splitlines():
            assert cell_width(line) <= 80, line
            assert line == line.rstrip()
        assert "\x1b" not in text


def unwrapped(text: str) -> str:
    return re.sub(r"\s+", " ", text)


def test_training_answers_first() -> None:
    torch.manual_seed(0)
    model = the_program()
    model.compile(optimizer="rmsprop", loss="binary_crossentropy")
    x, y = torch.randn(4, 6, 100), torch.tensor([0, 1, 1, 0])
    text = render_training(measure_training(model, x, y))
    assert text.startswith(
        "Trained by backpropagation? Yes: W, U and b of every gate of lstm get a\n"
        "gradient, and one step moves them.\n"
    )
    assert "one step of RMSprop" in text
    assert len(re.findall(r"^  [ifgo]     [WUb] .*trained$", text, re.MULTILINE)) == 12
    assert re.search(r"^dense.kernel +128×1 .*trained$", text, re.MULTILINE)


def test_training_says_what_is_not_trained_and_why() -> None:
    model = the_program()
    model.compile(optimizer="rmsprop", loss="binary_crossentropy")
    x, y = torch.randn(4, 1, 100), torch.tensor([0, 1, 1, 0])
    text = render_training(measure_training(model, x, y))
    assert "Trained by backpropagation? In part: 6 of 12 gate weights are trained, 6 dead." in (
        unwrapped(text)
    )
    assert "W of f, U of f and b of f dead: one real step from a zero state" in text
    model.layers[0].trainable = False
    text = render_training(measure_training(model, x, y))
    assert "? No: of the 12 gate weights of lstm, 12 frozen." in text
    assert "  All frozen: requires_grad is False" in text


def test_sharing_answers_first_and_shows_each_steps_part() -> None:
    torch.manual_seed(0)
    model = the_program()
    model.compile(optimizer="rmsprop", loss="binary_crossentropy")
    x, y = torch.randn(4, 30, 100), torch.tensor([0, 1, 1, 0])
    measure = measure_sharing(model, x, y)
    text = render_sharing(measure)
    assert unwrapped(text).startswith(
        "Shared by the time steps? Yes: one set of W, U and b, used at every step. "
        "The contributions of the T = 30 steps add up to the gradient that training uses, to "
        f"{measure.relative_error:.1e} (relative, float32)."
    )
    use = measure.sets[0].uses[0]
    assert bar(use.totals, 72) in text
    assert f"first, t = 0: {number(use.totals[0])}" in text
    assert f"last, t = 29: {number(use.totals[29])}" in text
    assert "a second layer after lstm would have its own set" in text


def test_sharing_shows_the_contrast() -> None:
    torch.manual_seed(0)
    model, ids = Encoder(), torch.randint(0, 50_000, (2, 5))
    model(ids)
    text = render_sharing(measure_sharing(model, ids, torch.randn(2, 4), loss="mse"))
    flat = unwrapped(text)
    assert "shared (LSTM), use 1 of 2: 5 of 5 steps contribute" in flat
    assert "A layer used again shares: shared is used 2 times in one pass" in flat
    assert "Layers do not: shared, 層_with" in flat
    assert "frozen (SimpleRNN): 5 of 5 steps contribute; frozen, measured as if trained" in flat


def test_sharing_tells_tied_layers_and_padding() -> None:
    model = Sequential([LSTM(4, return_sequences=True, input_shape=(None, 4)), LSTM(4), Dense(1)])
    model.compile(loss="mse")
    first, second = model.layers[:2]
    second.recurrent_kernel = first.recurrent_kernel
    mask = np.array([[True, True, False]] * 2)
    text = render_sharing(measure_sharing(model, np.ones((2, 3, 4)), np.ones(2), mask=mask))
    assert "Tied: lstm holds parameters of lstm_1." in text
    assert "steps that are padding everywhere and add exactly 0: 1" in text
    assert "last, t = 1" in text
    nothing = np.zeros((2, 3), dtype=bool)
    text = render_sharing(measure_sharing(model, np.ones((2, 3, 4)), np.ones(2), mask=nothing))
    assert "This batch cannot tell: no gradient reaches a recurrent layer." in unwrapped(text)


def test_a_weight_that_is_used_elsewhere_too_is_not_called_proved() -> None:
    class Leak(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = gatewise.nn.LSTM(3, 4, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0][:, -1] + self.lstm.weight_ih_l0.sum()

    measure = measure_sharing(Leak(), torch.randn(2, 5, 3), torch.randn(2, 4), loss="mse")
    assert not measure.proved
    assert "Not shown: the contributions" in render_sharing(measure)


def test_html_escapes_the_names_of_layers() -> None:
    model = nn.Sequential()
    model.add_module("<script>alert(1)<b>&", gatewise.nn.LSTM(3, 4, batch_first=True))

    class First(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = model

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x)[0]

    x, y = torch.randn(2, 5, 3), torch.randn(2, 5, 4)
    optimizer = torch.optim.SGD(model.parameters())
    for measure in (
        measure_parameters(First()),
        measure_training(built := First(), x, y, loss="mse", optimizer=optimizer),
        measure_sharing(built, x, y, loss="mse"),
    ):
        html = measure._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;alert(1)&lt;b&gt;&amp;" in html
        assert html.startswith("<pre")
        assert html.endswith("</pre>")


def test_square_brackets_in_a_name_are_no_markup() -> None:
    text = render_summary(measure_parameters(nn.Sequential(nn.ModuleDict({"[red]": nn.Tanh()}))))
    assert "0.[red] (Tanh)" in text


def test_layout() -> None:
    assert columns([["a", "12"], ["層", "1"]], "lr") == ["  a   12", "  層   1"]
    assert joined([]) == ""
    assert joined(["a"]) == "a"
    assert joined(["a", "b"]) == "a and b"
    assert shortened("層層層", 4) == "層…"
    assert size_text(2**60) == "1024.00 PB"
    assert bar(np.array([1.0, 2.0, 0.0, 0.0]), 2) == "█·"
    assert number(-1234.5) == "-1.2e+03"
