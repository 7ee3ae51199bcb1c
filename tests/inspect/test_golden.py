"""What the terminal shows of each measure, word for word, on a fixed model in double precision."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from gatewise.inspect import (
    measure_attention,
    measure_gates,
    measure_gradient_flow,
    measure_parameters,
    measure_sharing,
    measure_training,
    render_attention,
    render_conventions,
    render_gates_activity,
    render_gradient_flow,
    render_sharing,
    render_training,
)
from gatewise.layers import GRU, LSTM, Attention, Bidirectional, Dense, SimpleRNN
from gatewise.models import Sequential

GOLDEN = Path(__file__).parent / "golden"
# How exactly sums agree is rounding, which differs by machine; everything else has three digits.
ROUNDING = re.compile(r"\b\d(\.\d)?e-1\d\b")

X = np.random.default_rng(0).normal(size=(4, 9, 3))
Y = np.arange(4.0)[:, None] % 2
MASK = np.arange(9) < np.array([9, 6, 4, 1])[:, None]


class Looking(nn.Module):
    """Attention of the last state over all of them."""

    def __init__(self) -> None:
        super().__init__()
        self.recurrent = LSTM(3, return_sequences=True, input_shape=(None, 3))
        self.attention = Attention(use_scale=True)

    def forward(self, x: Tensor) -> Tensor:
        states = self.recurrent(x)
        return self.attention([states[:, -2:], states])


def fixed(model: nn.Module) -> Any:
    """Give every weight a value that no generator of random numbers decides."""
    model = model.double()
    for place, parameter in enumerate(model.parameters()):
        values = np.sin(1.0 + place + 1.7 * np.arange(parameter.numel()))
        parameter.data = torch.from_numpy(0.9 * values).view(parameter.shape)
    return model


@pytest.fixture(scope="module")
def model() -> Any:
    made = Sequential(
        [
            Bidirectional(LSTM(4, return_sequences=True), input_shape=(None, 3)),
            GRU(3, return_sequences=True, trainable=False),
            SimpleRNN(2),
            Dense(1, activation="sigmoid"),
        ]
    )
    made.compile(loss="binary_crossentropy", optimizer="adam")
    return fixed(made)


RENDERINGS = {
    "conventions": lambda model: render_conventions(measure_parameters(model)),
    "training": lambda model: render_training(measure_training(model, X, Y, mask=MASK)),
    "sharing": lambda model: render_sharing(measure_sharing(model, X, Y, mask=MASK)),
    "gradient_flow": lambda model: render_gradient_flow(
        measure_gradient_flow(model, X, Y, mask=MASK)
    ),
    "gates_activity": lambda model: render_gates_activity(
        measure_gates(model, X, mask=MASK, sample=1)
    ),
    "attention": lambda model: render_attention(measure_attention(looking(), X), sample=2),
}


def looking() -> Looking:
    model = Looking()
    model(torch.from_numpy(X))
    return fixed(model)


def text_of(name: str, model: Any) -> str:
    return ROUNDING.sub("(rounding)", RENDERINGS[name](model)) + "\n"


@pytest.mark.parametrize("name", RENDERINGS)
def test_the_terminal_shows_what_the_golden_file_holds(name: str, model: Any) -> None:
    text = text_of(name, model)
    assert text == (GOLDEN / f"{name}.txt").read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 80
