"""`compile(gradient=...)`: what `fit` does with it, what a file keeps, what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import gatewise
from gatewise.errors import InputError, NonFiniteError, UnknownNameError, UnsupportedError
from gatewise.gradients import (
    ARTBP,
    BPTT,
    RTRL,
    TBPTT,
    EProp,
    GradientAlgorithm,
    SnAp1,
    backward,
    get,
    serialize,
)
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Dropout
from gatewise.models import Sequential, load_model

ALL = [BPTT(), BPTT("sqrt"), TBPTT(3), TBPTT(2, 4), ARTBP(4), RTRL(2), SnAp1(2), EProp(3)]
ONLINE = [TBPTT(3), RTRL(), SnAp1(), EProp()]


@pytest.mark.parametrize("gradient", ALL, ids=repr)
@pytest.mark.parametrize("sequences", [True, False])
def test_fit_learns_with_every_algorithm(tools: Any, gradient: Any, sequences: bool) -> None:
    model = tools.build("lstm", 1, sequences, units=6)
    x = torch.randn(32, 6, 2)
    y = x.cumsum(1)[..., :1] / 3 if sequences else x[:, -2:, :1].sum(1)
    model.compile(optimizer=gatewise.optimizers.Adam(0.01), loss="mse", gradient=gradient)
    history = model.fit(x, y, batch_size=8, epochs=8, verbose=0).history["loss"]
    assert history[-1] < 0.7 * history[0]


def test_the_optimizer_steps_after_each_window(tools: Any) -> None:
    """As by hand: today's weights, the stored state, the window's share of the objective."""
    x, y = tools.series(steps=6)
    model = tools.build("gru", 1)
    model.compile(optimizer=gatewise.optimizers.SGD(0.5), loss="mse", gradient=TBPTT(2))
    by_hand = Sequential.from_config(model.get_config())
    by_hand.set_weights(model.get_weights())
    oracle = tools.Oracle(by_hand, "gru")
    states, total = oracle.zeros(3), 0.0
    for start in (0, 2, 4):
        prediction, kept = oracle.run(x[:, start : start + 2], tools.detached(states))
        loss = (prediction - y[:, start : start + 2]).square().mean() / 3
        grads = torch.autograd.grad(loss, list(by_hand.parameters()))
        with torch.no_grad():
            for weight, grad in zip(by_hand.parameters(), grads, strict=True):
                weight.sub_(0.5 * grad)
        states, total = kept[-1], total + float(loss.detach())
    history = model.fit(x, y, batch_size=3, shuffle=False, verbose=0)
    for one, other in zip(model.get_weights(), by_hand.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-12)
    assert history.history["loss"][0] == pytest.approx(total, rel=1e-12)


def test_weights_penalties_and_metrics_add_up_over_the_parts(tools: Any) -> None:
    layer = LSTM(3, return_sequences=True, input_shape=(None, 2), kernel_regularizer="l2")
    model = Sequential([layer, Dense(1)])
    model.compile(optimizer=gatewise.optimizers.SGD(0.0), loss="mse", weighted_metrics=["mae"])
    x, y = tools.series(batch=6, steps=7)
    mask = torch.arange(7) < torch.tensor([[7], [1], [4], [6], [2], [3]])
    for weight in (torch.rand(6), torch.rand(6, 7)):
        given = {"sample_weight": weight, "mask": mask, "epochs": 1, "verbose": 0}
        exact = model.fit(x, y, **given).history
        for gradient in (TBPTT(2, 3), SnAp1(3), RTRL(4), ARTBP(2)):
            options = {"loss": "mse", "weighted_metrics": ["mae"], "gradient": gradient}
            model.compile(optimizer=gatewise.optimizers.SGD(0.0), **options)
            found = model.fit(x, y, **given).history
            assert found["loss"] == pytest.approx(exact["loss"], rel=1e-12)
            assert found["mae"] == pytest.approx(exact["mae"], rel=1e-6)


def test_reductions_and_ignored_classes_share_the_loss_rightly(tools: Any) -> None:
    from gatewise import losses

    model = Sequential([LSTM(3, return_sequences=True, input_shape=(None, 2)), Dense(4)])
    x, labels = torch.randn(3, 7, 2), torch.randint(0, 4, (3, 7))
    sparse = losses.SparseCategoricalCrossentropy
    for loss in (
        sparse(from_logits=True, ignore_class=1),
        sparse(from_logits=True, reduction="sum"),
        sparse(from_logits=True, reduction="mean_with_sample_weight"),
    ):
        model.compile(loss=loss)
        weight = torch.rand(3, 7)
        results = []
        for gradient in (BPTT(), RTRL(2)):
            model.zero_grad()
            value = backward(model, x, labels, sample_weight=weight, gradient=gradient)
            results.append([value.detach(), *(w.grad.clone() for w in model.parameters())])
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_recurrent_dropout_holds_for_the_whole_series(tools: Any) -> None:
    layer = LSTM(
        4, dropout=0.5, recurrent_dropout=0.5, return_sequences=True, input_shape=(None, 2)
    )
    model = Sequential([layer, Dense(1)])
    model.train()
    x, y = tools.series(steps=6)
    results = []
    for gradient in (TBPTT(6), TBPTT(1, 6), TBPTT(2, 6)):
        torch.manual_seed(3)
        results.append(tools.gradients_of(model, gradient, x, y))
    tools.assert_same(results[1], results[0], 1e-14)
    tools.assert_same(results[2], results[0], 1e-14)
    torch.manual_seed(3)
    tools.assert_same(tools.gradients_of(model, BPTT(), x, y), results[0], 1e-14)


def test_ragged_series_train_with_every_algorithm(tools: Any) -> None:
    xs = [np.random.default_rng(n).normal(size=(n, 2)) for n in (5, 3, 6, 1)]
    ys = [x[:, :1] for x in xs]
    for gradient in ALL:
        model = tools.build("gru", 2)
        model.compile(optimizer="adam", loss="mse", gradient=gradient)
        history = model.fit(xs, ys, batch_size=2, epochs=2, verbose=0).history
        assert np.isfinite(history["loss"]).all()


def test_a_gradient_that_is_not_finite_stops_the_training(tools: Any) -> None:
    model = tools.build("lstm", 1)
    model.compile(optimizer="sgd", loss="mse", gradient=TBPTT(2))
    x, y = tools.series()
    before = model.get_weights()
    with pytest.raises(NonFiniteError, match="step 1 of epoch 1"):
        model.fit(x, y * 1e200, verbose=0)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("gradient", ALL, ids=repr)
def test_a_file_keeps_the_algorithm(tools: Any, gradient: Any, tmp_path: Path) -> None:
    assert get(serialize(gradient)) == gradient
    model = tools.build("lstm", 1)
    model.compile(loss="mse", gradient=gradient)
    model.save(tmp_path / "model.safetensors")
    assert load_model(tmp_path / "model.safetensors").compiled.gradient == gradient


def test_backward_fills_grad_without_fit(tools: Any) -> None:
    model = tools.build("lstm", 1)
    model.compile(loss="mse", gradient=TBPTT(2))
    x, y = tools.series()
    loss = backward(model, x.numpy(), y.numpy())
    expected = tools.gradients_of(model, TBPTT(2), x, y)
    assert float(loss) == pytest.approx(model.evaluate(x, y, verbose=0), rel=1e-12)
    once = backward(model, x, y)  # adds to what is there
    assert once == loss
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.grad, 2 * expected[name], rtol=1e-12, atol=1e-14)
    with pytest.raises(InputError, match="compile"):
        backward(tools.build("lstm", 1), x, y)


def test_each_class_states_its_contract() -> None:
    stated = {
        name: (kind.exact, kind.unbiased, kind.online)
        for name, kind in gatewise.gradients.ALGORITHMS.items()
    }
    assert stated == {
        "BPTT": (True, True, False),
        "TBPTT": (False, False, True),
        "ARTBP": (False, True, False),
        "RTRL": (True, True, True),
        "SnAp1": (False, False, True),
        "EProp": (False, False, True),
    }
    assert all(kind.cost for kind in gatewise.gradients.ALGORITHMS.values())


@pytest.mark.parametrize("gradient", ONLINE, ids=repr)
def test_bidirectional_layers_are_refused_with_the_alternative(gradient: Any) -> None:
    for layer in (Bidirectional(LSTM(2)), GRU(2, go_backwards=True)):
        model = Sequential()
        model.add(layer)
        model.build((None, None, 3))
        with pytest.raises(UnsupportedError, match=r"reads the sequence from its end.*BPTT"):
            model.compile(loss="mse", gradient=gradient)


@pytest.mark.parametrize("gradient", ONLINE, ids=repr)
def test_a_loss_over_the_whole_sequence_is_refused(tools: Any, gradient: Any) -> None:
    model = tools.build("lstm", 1)
    x, y = tools.series()
    for loss in (
        torch.nn.MSELoss(),
        lambda y_true, y_pred: (y_true - y_pred).mean((1, 2)).square(),
    ):
        model.compile(loss=loss, gradient=gradient)
        with pytest.raises(UnsupportedError, match=r"needs the whole sequence.*BPTT"):
            model.fit(x, y, verbose=0)
    last = tools.build("lstm", 1, sequences=False)
    last.compile(loss=torch.nn.MSELoss(), gradient=gradient)
    last.fit(x, y[:, 0], verbose=0)  # one loss, at the end: nothing to cut


def test_models_that_cannot_run_in_pieces_are_refused() -> None:
    plain = Sequential([Dense(1, input_shape=(3,))])
    with pytest.raises(UnsupportedError, match="has none"):
        plain.compile(loss="mse", gradient="tbptt")
    inputs = gatewise.Input(shape=(None, 2))
    drawn = gatewise.Model(inputs, LSTM(3)(inputs))
    with pytest.raises(UnsupportedError, match="Sequential models"):
        drawn.compile(loss="mse", gradient=TBPTT(2))
    drawn.compile(loss="mse", gradient=BPTT("sqrt"))


def test_a_layer_added_after_compile_is_looked_at_in_fit() -> None:
    model = Sequential()
    model.compile(loss="mse", gradient=SnAp1())
    model.add(Bidirectional(LSTM(2), input_shape=(None, 3)))
    with pytest.raises(UnsupportedError, match="bidirectional"):
        model.fit(np.zeros((2, 4, 3)), np.zeros((2, 4)), verbose=0)


def test_names_and_objects_of_gradient() -> None:
    assert get(None) == get("bptt") == BPTT()
    assert get("tbptt") == TBPTT(20)
    with pytest.raises(UnknownNameError, match="Did you mean 'bptt'"):
        get("bppt")
    assert get("snap-1") == SnAp1()
    with pytest.raises(InputError, match=r"give an object: RTRL"):
        get(RTRL)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="gradients"):
        get(3)  # type: ignore[arg-type]
    for kind in (RTRL, SnAp1, EProp):
        with pytest.raises(InputError, match="every"):
            kind(0)
    with pytest.raises(InputError, match="checkpoint"):
        BPTT(0)


def test_an_algorithm_of_ones_own_trains_but_is_not_saved(tools: Any, tmp_path: Path) -> None:
    class Sign(GradientAlgorithm):
        exact = unbiased = online = False
        cost = "3F"

        def supports(self, model: Any) -> None:
            pass

        def gradients(self, task: Any) -> Any:
            part = task.backward(task.whole())
            for weight in task.model.parameters():
                weight.grad.sign_()
            yield part

    model = tools.build("lstm", 1)
    model.compile(optimizer=gatewise.optimizers.SGD(0.25), loss="mse", gradient=Sign())
    before = model.get_weights()
    model.fit(*tools.series(), verbose=0)
    for one, other in zip(model.get_weights(), before, strict=True):
        np.testing.assert_allclose(np.abs(one - other), 0.25)
    with pytest.raises(UnsupportedError, match="Sign"):
        model.save(tmp_path / "model.safetensors")


def test_dropout_layers_work_in_pieces(tools: Any) -> None:
    layers = [LSTM(4, return_sequences=True, input_shape=(None, 2)), Dropout(0.5), Dense(1)]
    model = Sequential(layers)
    for gradient in ALL:
        model.compile(loss="mse", gradient=gradient)
        assert np.isfinite(model.fit(*tools.series(), verbose=0).history["loss"]).all()
