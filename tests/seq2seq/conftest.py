"""Models to test, and the same equations once more in plain torch, step by step."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor

from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Embedding, SimpleRNN
from gatewise.seq2seq import Seq2Seq

CELLS = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}
SOURCES, TOKENS = 9, 7
States = list[tuple[Tensor, ...]]


@pytest.fixture(autouse=True)
def double() -> Iterator[None]:
    """Everything here is compared in float64."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def build(
    cell: str = "lstm",
    depth: int = 1,
    attention: str | None = None,
    *,
    both: bool = False,
    bridge: str = "copy",
    **keywords: Any,
) -> Seq2Seq:
    """A small model whose weights are far from zero, so that nothing cancels."""
    kind, units = CELLS[cell], 4

    def layer(width: int) -> Any:
        return kind(width, bias_initializer="random_normal")

    encoder = [
        Bidirectional(layer(units // 2)) if both else layer(units + number)
        for number in range(depth)
    ]
    decoder = [layer(units if both else units + number) for number in range(depth)]
    model = Seq2Seq(
        [Embedding(SOURCES, 3, mask_zero=True), *encoder],
        [Embedding(TOKENS, 3, mask_zero=True), *decoder, Dense(TOKENS, "softmax")],
        attention=attention,
        bridge=bridge,
        **({"start": 1, "stop": 2} | keywords),
    )
    with torch.no_grad():
        for weight in model.parameters():
            weight.add_(0.4 * torch.randn_like(weight))
    return model


def pairs(masked: bool = True) -> tuple[list[list[int]], list[list[int]]]:
    """Sources and targets; of different lengths where they are to be masked."""
    if masked:
        return [[3, 4, 5, 6, 7], [5, 8], [7]], [[3, 4, 5, 6, 3, 4], [6], [3, 4, 6]]
    return [[3, 4, 5, 6], [5, 8, 3, 3]], [[3, 4, 5, 6, 6], [6, 3, 5, 4, 3]]


class Oracle:
    """The model's equations, unrolled over its own weights."""

    def __init__(self, model: Seq2Seq, cell: str, attention: str | None) -> None:
        self.cell, self.attention = cell, attention
        self.layer: dict[str, Any] = {name: model.get_layer(name) for name in model.layer_names}
        config = model.get_config()
        self.hears, *self.encoder = [self.layer[name] for name in config["encoder"]]
        self.says, *self.decoder, self.head = [self.layer[name] for name in config["decoder"]]

    def step(self, layer: Any, x: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, ...]:
        W, U, b, h = layer.kernel, layer.recurrent_kernel, layer.bias, state[0]
        if self.cell == "simple_rnn":
            return (torch.tanh(x @ W + h @ U + b),)
        if self.cell == "lstm":
            i, f, g, o = (x @ W + h @ U + b).chunk(4, dim=1)
            c = f.sigmoid() * state[1] + i.sigmoid() * g.tanh()
            return o.sigmoid() * c.tanh(), c
        inputs, again = (x @ W + b[0]).chunk(3, dim=1), (h @ U + b[1]).chunk(3, dim=1)
        z, r = ((a + u).sigmoid() for a, u in zip(inputs[:2], again[:2], strict=True))
        return (z * h + (1 - z) * (inputs[2] + r * again[2]).tanh(),)

    def run(
        self, layer: Any, x: Tensor, real: Tensor, backwards: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        count = 2 if self.cell == "lstm" else 1
        state = tuple(x.new_zeros(len(x), layer.units) for _ in range(count))
        outputs: list[Tensor] = [x] * x.shape[1]
        order = range(x.shape[1])
        for t in reversed(order) if backwards else order:
            new = self.step(layer, x[:, t], state)
            now = real[:, t, None]
            state = tuple(torch.where(now, a, b) for a, b in zip(new, state, strict=True))
            outputs[t] = state[0]
        return torch.stack(outputs, dim=1), state

    def encode(self, source: Tensor) -> tuple[Tensor, Tensor, States]:
        real, x, states = source != 0, self.hears(source), []
        for layer in self.encoder:
            if isinstance(layer, Bidirectional):
                ahead, first = self.run(layer.forward_layer, x, real)
                back, second = self.run(layer.backward_layer, x, real, backwards=True)
                x = torch.cat([ahead, back], dim=-1) * real[..., None]
                state = tuple(torch.cat(both, dim=1) for both in zip(first, second, strict=True))
            else:
                x, state = self.run(layer, x, real)
            states.append(state)
        return x, real, states

    def attend(self, asks: Tensor, memory: Tensor, real: Tensor) -> Tensor:
        keys = self.layer["attention_keys"](memory)
        if self.attention == "luong":
            scores = torch.einsum("bh,bsh->bs", asks, keys)
        else:
            queries = self.layer["attention_queries"](asks)
            mixed = torch.tanh(queries[:, None] + keys)
            scores = mixed @ self.layer["bahdanau_attention"].scale
        weights = scores.masked_fill(~real, -torch.inf).softmax(-1)
        context = torch.cat([torch.einsum("bs,bsv->bv", weights, memory), asks], dim=1)
        if self.attention == "luong":
            return torch.tanh(context @ self.layer["attention_output"].kernel)
        return context

    def decode(
        self, token: Tensor, states: States, memory: Tensor, real: Tensor
    ) -> tuple[Tensor, States]:
        """One step: the probabilities (B, V) after one token each, and the new states."""
        x, new = self.says(token[:, None])[:, 0], []
        asks = {None: None, "luong": self.decoder[-1], "bahdanau": self.decoder[0]}[self.attention]
        for layer, state in zip(self.decoder, states, strict=True):
            found = self.step(layer, x, state)
            now = (token != 0)[:, None]
            state = tuple(torch.where(now, a, b) for a, b in zip(found, state, strict=True))
            new.append(state)
            x = state[0]
            if layer is asks:
                x = self.attend(x, memory, real)
        return self.head(x), new

    def probabilities(self, source: Tensor, heard: Tensor) -> Tensor:
        memory, real, states = self.encode(source)
        said = []
        for t in range(heard.shape[1]):
            one, states = self.decode(heard[:, t], states, memory, real)
            said.append(one)
        return torch.stack(said, dim=1)


@pytest.fixture
def tools() -> Any:
    """What stands above, for the tests: this folder is no package to import from."""
    return SimpleNamespace(build=build, pairs=pairs, Oracle=Oracle)
