"""SnAp-1 and e-prop equal autograd through equations with `detach`; see the oracles in conftest."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gatewise.errors import UnsupportedError
from gatewise.gradients import BPTT, EProp, SnAp1
from gatewise.layers import GRU, LSTM, Dense, Embedding, SimpleRNN
from gatewise.models import Sequential

STEPS = 7
SERVED = [
    *((SnAp1, cell) for cell in ("lstm", "gru", "simple_rnn")),
    (EProp, "lstm"),
    (EProp, "gru"),
]


def expected(
    tools: Any, model: Any, algorithm: Any, cell: str, x: Any, y: Any, mask: Any
) -> dict[str, Any]:
    """Each layer learns through its own restricted memory and, above it, through one step."""
    oracle = tools.Oracle(model, cell)
    product = tools.diagonal if algorithm is SnAp1 else tools.constant
    real = torch.ones(x.shape[:2], dtype=torch.bool) if mask is None else mask
    states = [oracle.zeros(len(x)), *oracle.run(x, oracle.zeros(len(x)), mask=real)[1]]
    grads: dict[str, Any] = {}
    for number, layer in enumerate(oracle.layers):
        predictions, own = [], states[0][number]
        for t in range(x.shape[1]):
            below = x[:, t] if number == 0 else states[t + 1][number - 1][0].detach()
            new = oracle.step(layer, below, own, product)
            here = real[:, t : t + 1]
            own = tuple(torch.where(here, n, s) for n, s in zip(new, own, strict=True))
            h = own[0]
            for above in range(number + 1, len(oracle.layers)):
                held = tuple(part.detach() for part in states[t][above])
                new = oracle.step(oracle.layers[above], h, held, tools.full)
                h = torch.where(here, new[0], held[0])
            predictions.append(oracle.head(h))
        errors = (torch.stack(predictions, dim=1) - y).square().squeeze(-1)
        loss = (errors * real).sum() / real.sum()
        names = [f"{layer.name}.{name}" for name, _ in layer.named_parameters()]
        weights = list(layer.parameters())
        if number == len(oracle.layers) - 1:
            names += [f"{oracle.head.name}.{name}" for name, _ in oracle.head.named_parameters()]
            weights += list(oracle.head.parameters())
        grads |= zip(names, torch.autograd.grad(loss, weights), strict=True)
        grads["the loss"] = loss.detach()
    return grads


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize(("algorithm", "cell"), SERVED)
def test_the_gradient_equals_the_oracle(
    tools: Any, algorithm: Any, cell: str, depth: int, masked: bool
) -> None:
    model = tools.build(cell, depth)
    x, y = tools.series(steps=STEPS)
    mask = torch.arange(STEPS) < torch.tensor([[STEPS], [5], [1]]) if masked else None
    oracle = expected(tools, model, algorithm, cell, x, y, mask)
    for every in (1, 3, STEPS):
        found = tools.gradients_of(model, algorithm(every), x, y, mask)
        tools.assert_same(found, oracle, 1e-12)


@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_snap_is_exact_where_u_is_diagonal(tools: Any, cell: str) -> None:
    model = tools.build(cell, 1)
    x, y = tools.series(steps=STEPS)
    U = model.layers[0].recurrent_kernel
    with torch.no_grad():
        U.mul_(torch.eye(len(U)).repeat(1, U.shape[1] // len(U)))
    exact = tools.gradients_of(model, BPTT(), x, y)
    for every in (1, 3, STEPS):
        tools.assert_same(tools.gradients_of(model, SnAp1(every), x, y), exact, 1e-12)


def test_snap_is_another_gradient_where_u_is_not(tools: Any) -> None:
    model = tools.build("lstm", 1)
    x, y = tools.series(steps=STEPS)
    exact = tools.gradients_of(model, BPTT(), x, y)["lstm.recurrent_kernel"]
    snap = tools.gradients_of(model, SnAp1(), x, y)["lstm.recurrent_kernel"]
    assert (snap - exact).abs().max() > 1e-3


def test_eprop_follows_the_published_trace(tools: Any) -> None:
    """The formulas of the module's first lines, written out for W of one LSTM."""
    model = tools.build("lstm", 1)
    x, y = tools.series(batch=1, steps=STEPS)
    found = tools.gradients_of(model, EProp(), x, y)["lstm.kernel"]
    layer, head = model.layers
    W, U, b = (weight.detach() for weight in layer.parameters())
    h, c = torch.zeros(1, 3), torch.zeros(1, 3)
    trace, total = torch.zeros(2, 9), torch.zeros(2, 12)
    for t in range(STEPS):
        i, f, g, o = (x[:, t] @ W + h @ U + b).chunk(4, dim=1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        a = torch.cat((g * i * (1 - i), c * f * (1 - f), i * (1 - g * g)), dim=1)
        trace = f.repeat(1, 3) * trace + a * x[0, t].unsqueeze(1)
        c = f * c + i * g
        h = o * c.tanh()
        signal = 2 * (h @ head.kernel + head.bias - y[:, t]) @ head.kernel.t() / STEPS
        total[:, :9] += (signal * o * (1 - c.tanh() ** 2)).repeat(1, 3) * trace
        total[:, 9:] += x[0, t].unsqueeze(1) * (signal * c.tanh() * o * (1 - o))
    torch.testing.assert_close(found, total.detach(), rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("algorithm", [SnAp1, EProp])
def test_a_loss_at_the_end_reaches_short_series_too(tools: Any, algorithm: Any) -> None:
    model = tools.build("lstm", 2, sequences=False)
    x, y = tools.series(batch=1, steps=3, sequences=False)
    expected = tools.gradients_of(model, algorithm(), x, y)
    assert expected["lstm.kernel"].abs().sum() > 0
    padded = torch.cat((x, torch.full((1, 4, 2), torch.nan)), dim=1)
    mask = torch.arange(7).unsqueeze(0) < 3
    for every in (1, 2, 7):
        found = tools.gradients_of(model, algorithm(every), padded, y, mask)
        tools.assert_same(found, expected, 1e-14)


def test_an_embedding_learns_from_its_own_step(tools: Any) -> None:
    model = Sequential([Embedding(6, 3), LSTM(3, return_sequences=True), Dense(1)])
    ids, y = torch.randint(0, 6, (2, 5)), torch.randn(2, 5, 1)
    one = tools.gradients_of(model, SnAp1(), ids, y)
    assert one["embedding.embeddings"].abs().sum() > 0
    tools.assert_same(tools.gradients_of(model, SnAp1(5), ids, y), one, 1e-14)


def test_what_has_no_traces_is_refused_with_the_alternative() -> None:
    mixing = Sequential([GRU(3, reset_after=False, input_shape=(None, 2)), Dense(1)])
    for algorithm in (SnAp1(), EProp()):
        with pytest.raises(UnsupportedError, match="reset_after=True"):
            algorithm.supports(mixing)
    plain = Sequential([SimpleRNN(3, input_shape=(None, 2)), Dense(1)])
    SnAp1().supports(plain)
    with pytest.raises(UnsupportedError, match="SnAp1"):
        EProp().supports(plain)
    unusual = Sequential([LSTM(3, activation="gelu", input_shape=(None, 2)), Dense(1)])
    with pytest.raises(UnsupportedError, match="BPTT"):
        SnAp1().supports(unusual)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("algorithm", "cell"), SERVED)
def test_every_kernel_carries_the_same_traces(
    tools: Any, algorithm: Any, cell: str, masked: bool
) -> None:
    x, y = tools.series(steps=40)
    mask = torch.arange(40) < torch.tensor([[40], [23], [2]]) if masked else None
    found = []
    for kernel in ("reference", "auto"):
        torch.manual_seed(1)
        kind = tools.CELLS[cell]
        options = {"return_sequences": True, "use_kernel": kernel}
        model = Sequential([kind(5, name="one", **options), kind(4, name="two", **options)])
        model.add(Dense(1, name="head"))
        found.append(tools.gradients_of(model, algorithm(15), x, y, mask))
    tools.assert_same(*found, 1e-13)
