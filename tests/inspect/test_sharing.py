"""Contributions of the time steps, against autograd on as many untied copies of the weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import gatewise.nn
from gatewise import losses
from gatewise.cells import GATES, WeightSet, gate_slice
from gatewise.errors import InputError, NonFiniteError
from gatewise.inspect import contributions as contributions_module
from gatewise.inspect import measure_sharing, render_sharing
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, SimpleRNN

NAMES = ("kernel", "recurrent_kernel", "bias")
Copies = list[dict[str, Tensor]]


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
    """A gatewise.nn layer, which returns a tuple, by its outputs alone."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.recurrent = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.recurrent(x)[0]


class Twice(nn.Module):
    """One layer used twice in a forward pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x)[:, :-1])


def built(layer: Any, features: int) -> Any:
    """Build a layer for (B, T, features) with weights in which every number matters."""
    layer.build((None, None, features))
    for parameter in layer.parameters():
        nn.init.normal_(parameter, std=0.5)
    return layer


def untied_copies(weights: WeightSet, steps: int) -> Copies:
    """Return T leaves of their own for each of W, U and b."""
    return [
        {name: weight.detach().clone().requires_grad_() for name, weight in weights.weights.items()}
        for _ in range(steps)
    ]


def unrolled(weights: WeightSet, x: Tensor, mask: Tensor | None, copies: Copies) -> Tensor:
    """Run the cell's equation with other weights at every time step; return h at its own step."""
    specification = weights.specification
    batch, steps, _ = x.shape
    units = weights.weights["recurrent_kernel"].shape[0]
    h, c = x.new_zeros(batch, units), x.new_zeros(batch, units)
    squash = {"tanh": torch.tanh, "relu": torch.relu, "elu": nn.functional.elu}[
        str(specification.activation)
    ]
    outputs: dict[int, Tensor] = {}
    for t in reversed(range(steps)) if specification.reverse else range(steps):
        W, U = copies[t]["kernel"], copies[t]["recurrent_kernel"]
        b = copies[t].get("bias", x.new_zeros(()))
        if specification.cell == "lstm":
            i, f, g, o = (x[:, t] @ W + h @ U + b).chunk(4, dim=-1)
            new_c = f.sigmoid() * c + i.sigmoid() * squash(g)
            new_h = o.sigmoid() * squash(new_c)
        elif specification.cell == "gru":
            new_c, new_h = c, gru_step(x[:, t] @ W, h, U, b, specification.reset_after)
        else:
            new_c, new_h = c, squash(x[:, t] @ W + h @ U + b)
        if mask is not None:
            new_h = torch.where(mask[:, t, None], new_h, h)
            new_c = torch.where(mask[:, t, None], new_c, c)
        h, c = new_h, new_c
        outputs[t] = h
    return torch.stack([outputs[t] for t in range(steps)], dim=1)


def gru_step(product: Tensor, h: Tensor, U: Tensor, b: Tensor, reset_after: bool) -> Tensor:
    product_z, product_r, product_h = product.chunk(3, dim=-1)
    U_z, U_r, U_h = U.chunk(3, dim=-1)
    rows = b.expand(2, -1) if reset_after else torch.stack((b, torch.zeros_like(b)))
    (b_z, b_r, b_h), (c_z, c_r, c_h) = rows[0].chunk(3), rows[1].chunk(3)
    z = torch.sigmoid(product_z + h @ U_z + b_z + c_z)
    r = torch.sigmoid(product_r + h @ U_r + b_r + c_r)
    if reset_after:
        candidate = torch.tanh(product_h + b_h + r * (h @ U_h + c_h))
    else:
        candidate = torch.tanh(product_h + b_h + (r * h) @ U_h)
    return z * h + (1 - z) * candidate


def mask_of(kind: str, batch: int, steps: int) -> Tensor | None:
    """Return a mask (B, T) whose rows hold from no to all steps, or None."""
    if kind == "none":
        return None
    lengths = torch.arange(batch) * steps // max(1, batch - 1)
    after = torch.arange(steps) < lengths[:, None]
    if kind == "right padding":
        return after
    if kind == "left padding":
        return after.flip(1)
    holes = torch.rand(batch, steps) < 0.6
    holes[0] = False
    return holes


def assert_equal_step_by_step(use, copies: Copies, cell: str) -> None:
    """Compare every contribution, and its norm gate by gate, with the untied copies' gradients."""
    for name in copies[0]:
        scale = max(copy[name].grad.norm().item() for copy in copies)
        assert scale > 0
        for t, copy in enumerate(copies):
            gradient = copy[name].grad.numpy()
            np.testing.assert_allclose(
                use.contributions[name][t], gradient, rtol=0, atol=1e-13 * max(1.0, scale)
            )
            units = gradient.shape[-1] // len(GATES[cell])
            for gate in GATES[cell]:
                part = gradient[..., gate_slice(cell, gate, units)]
                norm = np.linalg.norm(part.ravel())
                assert use.norms[name][gate][t] == pytest.approx(norm, rel=1e-11, abs=1e-14)


CELLS: dict[str, Callable[[int], nn.Module]] = {
    "lstm": lambda units: LSTM(units, return_sequences=True),
    "lstm without bias": lambda units: LSTM(units, return_sequences=True, use_bias=False),
    "lstm with relu": lambda units: LSTM(units, return_sequences=True, activation="relu"),
    "lstm with elu": lambda units: LSTM(units, return_sequences=True, activation="elu"),
    "gru reset after": lambda units: GRU(units, return_sequences=True),
    "gru reset before": lambda units: GRU(units, return_sequences=True, reset_after=False),
    "simple rnn": lambda units: SimpleRNN(units, return_sequences=True),
}


@pytest.mark.parametrize("mask_kind", ["none", "right padding", "left padding", "holes"])
@pytest.mark.parametrize("kind", CELLS)
def test_contributions_are_the_gradients_of_untied_copies(kind: str, mask_kind: str) -> None:
    torch.manual_seed(0)
    layer = built(CELLS[kind](4), 5).double()
    x, y = torch.randn(3, 7, 5).double(), torch.randn(3, 7, 4).double()
    mask = mask_of(mask_kind, 3, 7)
    [weights] = layer.weight_sets()
    copies = untied_copies(weights, 7)
    prediction = unrolled(weights, x, mask, copies)
    losses.objective(losses.get("mse"), y, prediction).backward()

    inputs = x if mask is None else (x, mask)
    measure = measure_sharing(Chain(layer), inputs, y, loss="mse", keep=True)

    [one] = measure.sets
    [use] = one.uses
    assert_equal_step_by_step(use, copies, one.cell)
    assert measure.relative_error < 1e-12
    if mask is not None:
        assert use.masked_steps == int((~mask.any(dim=0)).sum())


@pytest.mark.parametrize(("batch", "steps", "units"), [(1, 1, 1), (1, 1, 63), (2, 9, 63)])
def test_odd_sizes(batch: int, steps: int, units: int) -> None:
    torch.manual_seed(1)
    layer = built(LSTM(units, return_sequences=True), 3).double()
    x, y = torch.randn(batch, steps, 3).double(), torch.randn(batch, steps, units).double()
    measure = measure_sharing(Chain(layer), x, y, loss="mse", keep=True)
    [weights] = layer.weight_sets()
    copies = untied_copies(weights, steps)
    losses.objective(losses.get("mse"), y, unrolled(weights, x, None, copies)).backward()
    use = measure.sets[0].uses[0]
    assert use.contributions is not None
    for name in ("kernel", "bias"):
        for t, copy in enumerate(copies):
            np.testing.assert_allclose(use.contributions[name][t], copy[name].grad, atol=1e-13)
    assert measure.relative_error < 1e-12


@pytest.mark.parametrize("mask_kind", ["none", "left padding", "holes"])
def test_bidirectional_has_a_set_for_each_direction(mask_kind: str) -> None:
    torch.manual_seed(2)
    layer = built(Bidirectional(LSTM(4, return_sequences=True)), 5).double()
    x, y = torch.randn(3, 6, 5).double(), torch.randn(3, 6, 8).double()
    mask = mask_of(mask_kind, 3, 6)
    sets = layer.weight_sets()
    copies = [untied_copies(weights, 6) for weights in sets]
    outputs = [unrolled(w, x, mask, own) for w, own in zip(sets, copies, strict=True)]
    prediction = torch.cat(outputs, dim=-1)
    if mask is not None:
        prediction = torch.where(mask[..., None], prediction, 0)
    losses.objective(losses.get("mse"), y, prediction).backward()

    inputs = x if mask is None else (x, mask)
    measure = measure_sharing(Chain(layer), inputs, y, loss="mse", keep=True)

    assert [one.label for one in measure.sets] == ["forward", "backward"]
    for one, own in zip(measure.sets, copies, strict=True):
        assert_equal_step_by_step(one.uses[0], own, "lstm")
    assert measure.relative_error < 1e-12
    assert len(measure.separate_pairs) == 1


def test_stacked_layers_have_a_set_each() -> None:
    torch.manual_seed(3)
    first = built(GRU(4, return_sequences=True), 5).double()
    second = built(LSTM(3, return_sequences=True, go_backwards=True), 4).double()
    x, y = torch.randn(2, 6, 5).double(), torch.randn(2, 6, 3).double()
    [[lower], [upper]] = first.weight_sets(), second.weight_sets()
    copies = untied_copies(lower, 6), untied_copies(upper, 6)
    hidden = unrolled(lower, x, None, copies[0])
    prediction = unrolled(upper, hidden, None, copies[1]).flip(1)  # as go_backwards shows it
    losses.objective(losses.get("mse"), y, prediction).backward()

    measure = measure_sharing(Chain(first, second), x, y, loss="mse", keep=True)

    assert_equal_step_by_step(measure.sets[0].uses[0], copies[0], "gru")
    assert_equal_step_by_step(measure.sets[1].uses[0], copies[1], "lstm")
    assert measure.separate_pairs == (("chain.0", "chain.1"),)
    assert measure.sets[0].storage_shared_with == ()


def test_a_layer_used_twice_shares_its_set() -> None:
    torch.manual_seed(4)
    layer = built(LSTM(4, return_sequences=True), 4).double()
    x, y = torch.randn(2, 6, 4).double(), torch.randn(2, 5, 4).double()
    [weights] = layer.weight_sets()
    copies = untied_copies(weights, 6), untied_copies(weights, 5)
    between = unrolled(weights, x, None, copies[0])[:, :-1]
    prediction = unrolled(weights, between, None, copies[1])
    losses.objective(losses.get("mse"), y, prediction).backward()

    measure = measure_sharing(Twice(layer), x, y, loss="mse", keep=True)

    [one] = measure.sets
    assert [use.steps for use in one.uses] == [6, 5]
    assert measure.used_again == (one,)
    for use, own in zip(one.uses, copies, strict=True):
        assert_equal_step_by_step(use, own, "lstm")
    assert measure.relative_error < 1e-12
    # Neither use alone makes up the gradient.
    for use in one.uses:
        assert use.contributions is not None
        alone = use.contributions["kernel"].sum(axis=0)
        assert np.linalg.norm(alone - one.gradients["kernel"]) > 1e-3


@pytest.mark.parametrize("kind", [gatewise.nn.LSTM, gatewise.nn.GRU, gatewise.nn.RNN])
def test_torchs_layout_is_measured_by_layer_and_direction(kind: Any) -> None:
    torch.manual_seed(5)
    layer = kind(5, 4, num_layers=2, bidirectional=True, batch_first=True).double()
    x, y = torch.randn(2, 6, 5).double(), torch.randn(2, 6, 8).double()
    sets = layer.weight_sets()
    copies = [untied_copies(weights, 6) for weights in sets]
    hidden = x
    for level in (0, 2):
        directions = [unrolled(sets[k], hidden, None, copies[k]) for k in (level, level + 1)]
        hidden = torch.cat(directions, dim=-1)
    losses.objective(losses.get("mse"), y, hidden).backward()

    measure = measure_sharing(Torchlike(layer), x, y, loss="mse", keep=True)

    for one, own in zip(measure.sets, copies, strict=True):
        assert_equal_step_by_step(one.uses[0], own, one.cell)
    assert measure.relative_error < 1e-12
    assert measure.sets[1].name == "recurrent (layer 0 reverse)"


@pytest.mark.parametrize("kind", [LSTM, GRU, SimpleRNN])
def test_single_precision_agrees_to_one_part_in_a_hundred_thousand(kind: type) -> None:
    torch.manual_seed(6)
    model = Chain(kind(63, return_sequences=True), kind(31))
    x, y = torch.randn(8, 50, 20), torch.randn(8, 31)
    model(x)
    measure = measure_sharing(model, x, y, loss="mse")
    assert measure.dtype == "float32"
    assert 0 < measure.relative_error < 1e-5
    assert measure.proved
    assert measure.sets[0].uses[0].contributing_steps.size == 50
    assert measure.sets[0].uses[0].contributions is None


def test_contributions_that_cancel_are_proved_all_the_same() -> None:
    torch.manual_seed(7)
    model = Chain(built(LSTM(16), 3))
    x = torch.randn(8, 20, 3)
    # Every sample stands there twice, with an error of 1 and of -1: what is left is rounding.
    twice = torch.cat((x, x))
    y = model(twice).detach() + torch.cat((torch.ones(8, 1), -torch.ones(8, 1)))
    measure = measure_sharing(model, twice, y, loss="mse")
    assert max(np.linalg.norm(part) for part in measure.sets[0].gradients.values()) < 1e-5
    assert measure.relative_error > 1e-3
    assert measure.rounding_error < 1e-6
    assert measure.proved
    assert "the contributions nearly cancel" in render_sharing(measure).replace("\n", " ")


def test_time_in_pieces_gives_the_same_contributions(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(7)
    layer = built(Bidirectional(GRU(4, return_sequences=True)), 5).double()
    x, y = torch.randn(3, 7, 5).double(), torch.randn(3, 7, 8).double()
    mask = mask_of("holes", 3, 7)
    whole = measure_sharing(Chain(layer), (x, mask), y, loss="mse", keep=True)
    for steps in (1, 3):
        size = sum(p.numel() * 8 for p in layer.forward_layer.parameters())
        monkeypatch.setattr(contributions_module, "CHUNK_BYTES", steps * size)
        pieces = measure_sharing(Chain(layer), (x, mask), y, loss="mse", keep=True)
        for one, other in zip(whole.sets, pieces.sets, strict=True):
            first, second = one.uses[0].contributions, other.uses[0].contributions
            assert first is not None
            assert second is not None
            for name in NAMES:
                np.testing.assert_allclose(first[name], second[name], atol=1e-14)


def test_regularizers_share_of_the_gradient_is_told_apart() -> None:
    torch.manual_seed(8)
    layer = LSTM(4, kernel_regularizer="l2", recurrent_regularizer="l1")
    model = Chain(layer)
    x, y = torch.randn(2, 5, 3), torch.randn(2, 4)
    model(x)
    model.double()
    measure = measure_sharing(model, x, y, loss="mse")
    assert measure.relative_error < 1e-12
    assert measure.sets[0].penalty_share > 0


def test_a_frozen_layer_is_measured_as_if_it_were_trained() -> None:
    torch.manual_seed(9)
    frozen = LSTM(4, return_sequences=True, trainable=False)
    model = Chain(frozen, LSTM(3))
    x, y = torch.randn(2, 5, 3), torch.randn(2, 3)
    model(x)
    measure = measure_sharing(model, x, y, loss="mse")
    assert [one.trainable for one in measure.sets] == [False, True]
    assert measure.sets[0].uses[0].contributing_steps.size == 5
    assert not frozen.kernel.requires_grad


def test_layers_that_hold_the_same_parameter_are_told() -> None:
    torch.manual_seed(10)
    first, second = LSTM(4, return_sequences=True), LSTM(4)
    model = Chain(first, second).double()
    x, y = torch.randn(2, 5, 4).double(), torch.randn(2, 4).double()
    model(x)
    model.double()
    second.recurrent_kernel = first.recurrent_kernel
    measure = measure_sharing(model, x, y, loss="mse")
    assert measure.separate_pairs == ()
    assert measure.sets[0].storage_shared_with == ("chain.1",)
    assert measure.relative_error < 1e-12


def test_the_model_stays_bit_for_bit_as_it_was() -> None:
    torch.manual_seed(11)
    model = Chain(LSTM(4, return_sequences=True, dropout=0.5, recurrent_dropout=0.5), GRU(3))
    x, y = torch.randn(2, 5, 3), torch.randn(2, 3)
    model(x)
    model.train()
    model(x).sum().backward()
    weights = {name: p.detach().clone() for name, p in model.named_parameters()}
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    state = torch.get_rng_state()
    measure_sharing(model, x, y, loss="mse")
    assert torch.equal(state, torch.get_rng_state())
    assert all(module.training for module in model.modules())
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, weights[name])
        assert torch.equal(parameter.grad, gradients[name])
        assert parameter.requires_grad
    assert all(not module._forward_hooks for module in model.modules())


def test_padding_may_be_nan() -> None:
    torch.manual_seed(12)
    layer = built(LSTM(4), 3)
    x, y = torch.randn(2, 5, 3), torch.randn(2, 4)
    mask = torch.ones(2, 5, dtype=torch.bool)
    mask[1, 3:] = False
    clean = measure_sharing(Chain(layer), (x, mask), y, loss="mse")
    x[1, 3:] = float("nan")
    dirty = measure_sharing(Chain(layer), (x, mask), y, loss="mse")
    assert np.array_equal(clean.sets[0].uses[0].totals, dirty.sets[0].uses[0].totals)


def test_bad_use_gets_a_clear_error() -> None:
    x, y = torch.ones(1, 2, 3), torch.ones(1, 4)
    with pytest.raises(InputError, match="holds no recurrent layer"):
        measure_sharing(nn.Linear(3, 4), x, y, loss="mse")
    with pytest.raises(InputError, match=r"'chain.0' has no weights yet"):
        measure_sharing(Chain(LSTM(4)), x, y, loss="mse")
    model = Chain(built(LSTM(4), 3))
    with pytest.raises(InputError, match="Chain has no loss"):
        measure_sharing(model, x, y)
    with pytest.raises(InputError, match="returned a tuple"):
        measure_sharing(gatewise.nn.LSTM(3, 4), x, y, loss="mse")
    with pytest.raises(NonFiniteError, match="The loss on this batch is nan"):
        measure_sharing(model, x * float("nan"), y, loss="mse")
    with pytest.raises(InputError, match="x is a list that is no rectangular array"):
        measure_sharing(model, [[1.0], [1.0, 2.0]], y, loss="mse")
    measure = measure_sharing(model, x, y, loss="mse")
    with pytest.raises(InputError, match=r"No weight set is called 'lstm'. Known: 'chain.0'"):
        measure["lstm"]
    assert measure["chain.0"] is measure.sets[0]


def test_an_output_that_the_loss_ignores_contributes_nothing() -> None:
    class Ignored(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = built(LSTM(4), 3)
            self.head = built(Dense(2), 3)

        def forward(self, x: Tensor) -> Tensor:
            self.lstm(x)
            return self.head(x[:, 0])

    measure = measure_sharing(Ignored(), torch.randn(2, 5, 3), torch.randn(2, 2), loss="mse")
    assert measure.sets[0].uses[0].contributing_steps.size == 0
    assert measure.relative_error == 0
