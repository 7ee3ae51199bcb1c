"""‖dL/dh_t‖ and ‖dL/dc_t‖, over t and against lag, against autograd on the unrolled equation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatewise.nn
from gatewise.errors import InputError, NonFiniteError
from gatewise.inspect import (
    GradientFlow,
    SetFlow,
    StateFlow,
    measure_gradient_flow,
    render_gradient_flow,
)
from gatewise.inspect import state_norms as state_norms_module
from gatewise.inspect.layout import cell_width
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Embedding, SimpleRNN
from gatewise.models import Sequential

BATCH, STEPS, FEATURES, UNITS = 4, 7, 3, 5
SQUASH = {"tanh": torch.tanh, "relu": torch.relu, "elu": nn.functional.elu}


class Chain(nn.Module):
    """Layers one after the other; all of them see the one mask."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.chain = nn.ModuleList(layers)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        for layer in self.chain:
            x = layer(x, mask=mask)
        return x


class Torchlike(nn.Module):
    """A gatewise.nn layer, which returns a tuple, by its outputs and its final states."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.recurrent = layer

    def forward(self, x: Tensor) -> Tensor:
        outputs, final = self.recurrent(x)
        states = final if isinstance(final, tuple) else (final,)
        return outputs.mean(dim=1) + sum(state.sum(dim=(0, 2), keepdim=True)[0] for state in states)


def built(layer: Any, features: int = FEATURES) -> Any:
    layer.build((None, None, features))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer.double()


def oracle(one: Any, x: Tensor, mask: Tensor | None) -> tuple[Tensor, list[tuple[Tensor, ...]]]:
    """Run the equation step by step; return the outputs and the state after each time step."""
    specification, weights = one.specification, one.weights
    W, U = weights["kernel"].detach(), weights["recurrent_kernel"].detach()
    b = weights["bias"].detach() if "bias" in weights else torch.zeros(W.shape[1]).double()
    squash = SQUASH[specification.activation]
    h, c = x.new_zeros(len(x), U.shape[0]), x.new_zeros(len(x), U.shape[0])
    states: dict[int, tuple[Tensor, ...]] = {}
    steps = range(x.shape[1])
    for t in reversed(steps) if specification.reverse else steps:
        now = x[:, t] if mask is None else torch.where(mask[:, t, None], x[:, t], 0)
        new_c = c
        if specification.cell == "lstm":
            i, f, g, o = (now @ W + h @ U + b).chunk(4, dim=-1)
            new_c = f.sigmoid() * c + i.sigmoid() * squash(g)
            new_h = o.sigmoid() * squash(new_c)
        elif specification.cell == "gru":
            rows = b if b.dim() == 2 else torch.stack((b, torch.zeros_like(b)))
            a_z, a_r, a_h = (now @ W + rows[0]).chunk(3, dim=-1)
            u_z, u_r, u_h = U.chunk(3, dim=-1)
            b_z, b_r, b_h = rows[1].chunk(3)
            z, r = (a_z + h @ u_z + b_z).sigmoid(), (a_r + h @ u_r + b_r).sigmoid()
            inner = r * (h @ u_h + b_h) if specification.reset_after else (r * h) @ u_h
            new_h = z * h + (1 - z) * squash(a_h + inner)
        else:
            new_h = squash(now @ W + h @ U + b)
        if mask is not None:
            real = mask[:, t, None]
            new_h, new_c = torch.where(real, new_h, h), torch.where(real, new_c, c)
        # A view of its own, so that a carried state still counts apart.
        h = new_h.view_as(new_h) if new_h.requires_grad else new_h.requires_grad_()
        c = new_c.view_as(new_c) if new_c.requires_grad else new_c.requires_grad_()
        states[t] = (h, c) if specification.cell == "lstm" else (h,)
    outputs = torch.stack([states[t][0] for t in steps], dim=1)
    return outputs, [states[t] for t in steps]


def gradients(end: Tensor, states: list[Tensor]) -> tuple[Tensor, ...]:
    return torch.autograd.grad(end, states, retain_graph=True, materialize_grads=True)


def norms_of(grads: Any) -> Tensor:
    return torch.stack([grad.norm(dim=-1) for grad in grads], dim=-1)


def expected_flow(
    states: list[tuple[Tensor, ...]], entering: Tensor, mask: Tensor | None, reverse: bool
) -> tuple[Tensor, Tensor]:
    """Return the norms (B, T, S), and the mean against lag (K, S) over the later half of s."""
    count = len(states[0])
    flat = [part for state in states for part in state]
    hidden = torch.stack([state[0] for state in states], dim=1)
    whole = gradients((hidden * entering).sum(), flat)
    order = list(reversed(range(STEPS))) if reverse else list(range(STEPS))
    real = torch.ones(BATCH, STEPS, dtype=torch.bool) if mask is None else mask
    active = [p for p, s in enumerate(order) if entering[:, s].any()]
    found: dict[int, list[Tensor]] = {}
    pairs = 0
    for position in active:
        if position < active[-1] // 2:
            continue
        s = order[position]
        end = (states[s][0] * entering[:, s]).sum()
        grads = gradients(end, flat)
        norms = norms_of(grads).unflatten(-1, (STEPS, count))
        for b in range(BATCH):
            if not entering[b, s].any():
                continue
            pairs += 1
            back = [t for t in reversed(order[: position + 1]) if real[b, t]]
            for lag, t in enumerate(back):
                found.setdefault(lag, []).append(norms[b, t])
    by_lag = [
        torch.stack(found[lag]).mean(0) for lag in sorted(found) if 2 * len(found[lag]) >= pairs
    ]
    return norms_of(whole).unflatten(-1, (STEPS, count)), torch.stack(by_lag)


LAYERS: dict[str, Any] = {
    "lstm": lambda **more: LSTM(UNITS, **more),
    "gru reset after": lambda **more: GRU(UNITS, **more),
    "gru reset before": lambda **more: GRU(UNITS, reset_after=False, **more),
    "simple rnn": lambda **more: SimpleRNN(UNITS, **more),
    "no bias": lambda **more: LSTM(UNITS, use_bias=False, **more),
    "relu": lambda **more: LSTM(UNITS, activation="relu", **more),
    "elu, which no kernel knows": lambda **more: GRU(UNITS, activation="elu", **more),
    "backwards": lambda **more: GRU(UNITS, go_backwards=True, **more),
    "the elu backwards": lambda **more: LSTM(UNITS, activation="elu", go_backwards=True, **more),
}


def mask_of(kind: str) -> Tensor | None:
    if kind == "none":
        return None
    lengths = torch.tensor([STEPS, 0, 5, 2])
    after = torch.arange(STEPS) < lengths[:, None]
    holes = torch.tensor([[1, 1, 0, 1, 0, 0, 1]] * BATCH, dtype=torch.bool)
    return {"right padding": after, "left padding": after.flip(1), "holes": holes}[kind]


@pytest.mark.parametrize("mask_kind", ["none", "right padding", "left padding", "holes"])
@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_flow_is_autograd_s(kind: str, sequences: bool, mask_kind: str) -> None:
    torch.manual_seed(1)
    layer = built(LAYERS[kind](return_sequences=sequences))
    model, mask = Chain(layer), mask_of(mask_kind)
    x, y = torch.randn(BATCH, STEPS, FEATURES).double(), torch.randn(BATCH, UNITS).double()
    if mask is not None:
        x[~mask] = math.nan
    y = y[:, None].expand(BATCH, STEPS, UNITS) if sequences else y

    [one] = measure_gradient_flow(model, x if mask is None else (x, mask), y, loss="mse").sets

    [weights] = layer.weight_sets()
    outputs, states = oracle(weights, x, mask)
    reverse = weights.specification.reverse
    end = 0 if reverse else -1
    # Keras returns a backward layer's sequence in the order in which it ran.
    prediction = (outputs.flip(1) if reverse else outputs) if sequences else outputs[:, end]
    loss = (prediction - y).square().mean()
    [entering] = torch.autograd.grad(loss, outputs, retain_graph=True)
    norms, by_lag = expected_flow(states, entering.detach(), mask, reverse)
    real = torch.ones(BATCH, STEPS, dtype=torch.bool) if mask is None else mask
    for position, name in enumerate(weights.specification.states):
        flow = one.states[name]
        expected = torch.where(real, norms[..., position], math.nan)
        np.testing.assert_allclose(flow.by_sample, expected, rtol=1e-9, atol=1e-18)
        per_step = torch.where(real, norms[..., position], 0).norm(dim=0)
        per_step[~real.any(0)] = math.nan
        np.testing.assert_allclose(flow.by_step, per_step, rtol=1e-9, atol=1e-18)
        np.testing.assert_allclose(flow.by_lag, by_lag[:, position], rtol=1e-9, atol=1e-18)
    assert one.steps == STEPS


@pytest.mark.parametrize("kind", ["lstm", "gru reset after", "gru reset before", "simple rnn"])
def test_float32_agrees_with_float64(kind: str) -> None:
    torch.manual_seed(8)
    model = Chain(built(LAYERS[kind]()))
    x, y = torch.randn(BATCH, STEPS, FEATURES), torch.randn(BATCH, UNITS)
    exact = measure_gradient_flow(model, x, y, loss="mse").sets[0]
    single = measure_gradient_flow(model.float(), x, y, loss="mse").sets[0]
    np.testing.assert_allclose(single.by_lag, exact.by_lag, rtol=1e-5)
    for name, state in single.states.items():
        np.testing.assert_allclose(
            state.by_sample, exact.states[name].by_sample, rtol=1e-4, atol=1e-9
        )


def test_every_layer_of_a_stack_and_both_directions_are_measured() -> None:
    torch.manual_seed(2)
    first = built(Bidirectional(LSTM(UNITS, return_sequences=True)))
    second = built(GRU(UNITS), 2 * UNITS)
    x, y = torch.randn(BATCH, STEPS, FEATURES).double(), torch.randn(BATCH, UNITS).double()
    flow = measure_gradient_flow(Chain(first, second), x, y, loss="mse")
    forward, backward, last = flow.sets
    assert [one.label for one in flow.sets] == ["forward", "backward", ""]

    sets = [*first.weight_sets(), *second.weight_sets()]
    ahead, back = (oracle(one, x, None) for one in sets[:2])
    middle = torch.cat((ahead[0], back[0]), dim=-1)
    outputs, states = oracle(sets[2], middle, None)
    loss = (outputs[:, -1] - y).square().mean()
    for one, (_, own) in zip(
        (forward, backward, last), (ahead, back, (outputs, states)), strict=True
    ):
        grads = gradients(loss, [part for state in own for part in state])
        norms = norms_of(grads).unflatten(-1, (STEPS, -1))
        for position, name in enumerate(one.states):
            np.testing.assert_allclose(one.states[name].by_sample, norms[..., position], rtol=1e-9)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
def test_torch_style_layers_with_final_states_in_the_loss(kind: str) -> None:
    torch.manual_seed(3)
    layer = getattr(gatewise.nn, kind)(FEATURES, UNITS, batch_first=True, num_layers=2).double()
    model = Torchlike(layer)
    x, y = torch.randn(BATCH, STEPS, FEATURES).double(), torch.randn(BATCH, UNITS).double()
    flow = measure_gradient_flow(model, x, y, loss="mse")

    first, second = layer.weight_sets()
    below, states = oracle(first, x, None)
    outputs, above = oracle(second, below, None)
    totals = sum(state.sum(dim=1, keepdim=True) for own in (states, above) for state in own[-1])
    loss = (outputs.mean(dim=1) + totals - y).square().mean()
    for one, own in zip(flow.sets, (states, above), strict=True):
        leaves = [part for state in own for part in state]
        norms = norms_of(gradients(loss, leaves))
        for position, name in enumerate(one.states):
            expected = norms.unflatten(-1, (STEPS, -1))[..., position]
            np.testing.assert_allclose(one.states[name].by_sample, expected, rtol=1e-9)
        assert one.verdict in ("fine", "vanishing", "exploding")


def test_lengths_of_a_torch_style_layer_are_its_mask() -> None:
    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = gatewise.nn.LSTM(FEATURES, UNITS, batch_first=True)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            return self.lstm(x, lengths=lengths)[1][0][-1]

    torch.manual_seed(7)
    model, lengths = Last().double(), torch.tensor([7, 4, 5, 2])
    mask = torch.arange(STEPS) < lengths[:, None]
    x, y = torch.randn(BATCH, STEPS, FEATURES).double(), torch.randn(BATCH, UNITS).double()
    [one] = measure_gradient_flow(model, (x, lengths), y, loss="mse").sets

    outputs, states = oracle(model.lstm.weight_sets()[0], x, mask)
    loss = (outputs[:, -1] - y).square().mean()
    norms = norms_of(gradients(loss, [part for state in states for part in state]))
    for position, name in enumerate("hc"):
        expected = norms.unflatten(-1, (STEPS, -1))[..., position]
        expected = torch.where(mask, expected, math.nan)
        np.testing.assert_allclose(one.states[name].by_sample, expected, rtol=1e-9)
    assert len(one.by_lag) == 5  # half of the series have 5 steps or more


def test_pieces_give_the_same_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(4)
    model = Chain(built(LSTM(UNITS)))
    x, y = torch.randn(BATCH, STEPS, FEATURES).double(), torch.randn(BATCH, UNITS).double()
    whole = measure_gradient_flow(model, x, y, loss="mse").sets[0]
    monkeypatch.setattr(state_norms_module, "PIECE_BYTES", 1)
    pieces = measure_gradient_flow(model, x, y, loss="mse").sets[0]
    np.testing.assert_allclose(whole.by_lag, pieces.by_lag, rtol=1e-12)
    np.testing.assert_allclose(
        whole.states["c"].by_sample, pieces.states["c"].by_sample, rtol=1e-12
    )


def test_no_more_pairs_are_followed_than_asked_for() -> None:
    model = Chain(built(LSTM(UNITS, return_sequences=True)))
    x = torch.randn(BATCH, STEPS, FEATURES).double()
    for pairs in (1, 2, 9, 100):
        flow = measure_gradient_flow(
            model, x, x.new_zeros(BATCH, STEPS, UNITS), loss="mse", pairs=pairs
        )
        assert flow.sets[0].pairs == min(pairs, 16) or pairs == 9
        assert flow.sets[0].pairs <= pairs


def linear(factor: float, steps: int) -> Any:
    """A network of one unit whose gradient changes by ``factor`` a step, exactly."""
    model = Sequential(
        [SimpleRNN(1, activation="linear", use_bias=False, input_shape=(None, 1), name="rnn")]
    )
    model.set_weights([np.array([[1.0]]), np.array([[factor]])])
    model.compile(loss="mse", optimizer="sgd")
    return measure_gradient_flow(model, np.full((2, steps, 1), 0.5), np.zeros((2, 1))).sets[0]


def test_a_known_decay_has_its_half_life_reach_and_truncation() -> None:
    one = linear(0.5, 20)
    assert one.decay == pytest.approx(0.5, rel=1e-5)
    assert one.half_life == pytest.approx(1.0, rel=1e-5)
    assert one.reach == 10  # 2^-9 > 1e-3 > 2^-10
    assert one.suggested_k2 == 4  # 1 - 2^-4 > 0.9
    assert one.verdict == "vanishing"
    assert "LSTM or GRU" in one.cure and "k2 = 4" in one.cure


def test_short_series_do_not_blur_what_is_left() -> None:
    """Two series of 3 and 9 steps, the long one with a gradient 100 times as large."""
    model = Sequential([SimpleRNN(1, activation="linear", use_bias=False, input_shape=(None, 1))])
    model.set_weights([np.array([[1.0]]), np.array([[0.5]])])
    model.compile(loss="mse", optimizer="sgd")
    x, y = [np.ones((3, 1)), np.ones((9, 1))], np.array([[0.0], [200.0]])
    one = measure_gradient_flow(model, x, y).sets[0]
    np.testing.assert_allclose(one.left, 0.5 ** np.arange(9), rtol=1e-5)
    assert one.half_life == pytest.approx(1.0, rel=1e-4)
    assert one.by_lag[3] / one.by_lag[2] > 0.9  # the mean over all who are still there jumps


def test_a_growing_gradient_explodes_and_an_even_one_is_fine() -> None:
    growing = linear(1.3, 20)
    assert growing.growth == pytest.approx(1.3**19, rel=1e-4)
    assert growing.verdict == "exploding" and "clipnorm=1.0" in growing.cure
    assert math.isinf(growing.half_life)
    even = linear(1.0, 20)
    assert (even.verdict, even.cure, even.suggested_k2) == ("fine", "", 18)
    assert linear(0.5, 1).verdict == "one step"


def test_a_layer_without_gradient_is_named() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.idle = gatewise.nn.LSTM(FEATURES, 2, batch_first=True)
            self.used = gatewise.nn.GRU(FEATURES, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            self.idle(x)
            return self.used(x)[0][:, -1]

    x = torch.randn(BATCH, STEPS, FEATURES)
    flow = measure_gradient_flow(Idle(), x, torch.zeros(BATCH, 2), loss="mse")
    idle = flow["idle (layer 0)"]
    assert (idle.verdict, idle.reach, idle.suggested_k2, idle.growth) == ("no gradient", 0, 0, 0.0)
    assert not idle.states["c"].by_step.any()
    assert "None reaches idle (layer 0)." in render_gradient_flow(flow)
    with pytest.raises(InputError, match=r"No weight set is called 'x'\. Known: 'idle"):
        flow["x"]


def test_the_model_stays_as_it_was_and_a_frozen_layer_is_measured() -> None:
    model = Sequential([LSTM(UNITS, input_shape=(None, FEATURES), trainable=False), Dense(1)])
    model.compile(loss="mse", optimizer="adam")
    x, y = np.random.default_rng(0).normal(size=(BATCH, STEPS, FEATURES)), np.ones((BATCH, 1))
    before = [weight.copy() for weight in model.get_weights()]
    flow = measure_gradient_flow(model, x, y)
    assert flow.sets[0].states["h"].by_step.all()
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(parameter.requires_grad for parameter in model.layers[0].parameters())
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_ids_and_series_of_different_lengths() -> None:
    model = Sequential([Embedding(9, 4, mask_zero=True), LSTM(UNITS), Dense(1)])
    model.build((None, None))
    model.compile(loss="mse", optimizer="sgd")
    ids = np.array([[1, 2, 3, 0, 0], [4, 5, 6, 7, 0]])
    one = measure_gradient_flow(model, ids, np.zeros((2, 1))).sets[0]
    ragged = measure_gradient_flow(model, [[1, 2, 3], [4, 5, 6, 7]], np.zeros((2, 1))).sets[0]
    np.testing.assert_allclose(ragged.by_lag, one.by_lag, rtol=1e-6)
    assert np.isnan(one.states["h"].by_step).tolist() == [False] * 4 + [True]
    assert len(one.by_lag) == 4
    assert one.states["h"].by_lag[0] > 0


def test_bad_use_gets_a_clear_error() -> None:
    x, y = torch.randn(BATCH, STEPS, FEATURES), torch.zeros(BATCH, UNITS)
    with pytest.raises(InputError, match="has no weights yet"):
        measure_gradient_flow(Sequential([LSTM(UNITS)]), x, y, loss="mse")
    with pytest.raises(InputError, match="has no loss"):
        measure_gradient_flow(Sequential([LSTM(UNITS, input_shape=(None, FEATURES))]), x, y)
    model = Chain(LSTM(UNITS, input_shape=(None, FEATURES)))
    model(x)
    with pytest.raises(InputError, match="pairs must be at least 1 but got 0"):
        measure_gradient_flow(model, x, y, loss="mse", pairs=0)
    with pytest.raises(InputError, match=r"expected input \(B, T, 3\)"):
        measure_gradient_flow(model, torch.randn(BATCH, STEPS, 9), y, loss="mse")
    with pytest.raises(NonFiniteError):
        measure_gradient_flow(model, x * math.nan, y, loss="mse")
    with pytest.raises(InputError, match="no recurrent layer"):
        measure_gradient_flow(nn.Linear(3, 5), x, y, loss="mse")


def drawn(by_lag: list[float], cell: str = "lstm") -> GradientFlow:
    """A measure with given numbers, for its text."""
    lags = np.array(by_lag)
    state = StateFlow(lags[::-1].copy(), lags[None, ::-1].copy(), lags)
    states = {"h": state, "c": state} if cell == "lstm" else {"h": state}
    one = SetFlow("layer", "", "LSTM", cell, 1, 1, len(lags), 2, states, lags, lags / lags[0])
    return GradientFlow((one,), 0.25, 2)


def test_the_text_answers_first_and_fits_80_columns() -> None:
    text = render_gradient_flow(drawn([0.5**k for k in range(20)]))
    assert text.startswith("Does the gradient reach back through time? It vanishes in layer.")
    assert max(map(cell_width, text.splitlines())) <= 80
    words = " ".join(text.split())
    assert "it halves every step, a thousandth after 10 of 20; 4 steps keep" in words
    assert "16 1.5e-05 1.5e-05 0.0015%" in words
    assert "unit_forget_bias=True" in text
    fine = render_gradient_flow(drawn([1.0, 0.9, 0.8], "gru"))
    assert "Yes, to the first step, in layer." in fine and "cure" not in fine
    assert "It explodes in layer." in render_gradient_flow(drawn([1.0, 5.0, 50.0]))


def test_the_notebook_shows_the_text_escaped() -> None:
    flow = drawn([1.0, 0.5])
    page = flow._repr_html_()
    assert page.startswith("<pre") and "Does the gradient reach back" in page
