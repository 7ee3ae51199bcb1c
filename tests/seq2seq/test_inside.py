"""The inspector on an encoder and a decoder: two sets of weights, each with steps of its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from gatewise import losses
from gatewise.errors import InputError
from gatewise.gradients import backward
from gatewise.inspect import (
    measure_attention,
    measure_gates,
    measure_gradient_flow,
    measure_sharing,
    measure_training,
    render_gates_activity,
    render_gradient_flow,
    render_sharing,
    render_training,
)
from gatewise.seq2seq import Seq2Seq
from gatewise.training import Several

SOURCES = [[3, 4, 5, 6, 7], [8, 3], [5, 6, 7]]
TARGETS = [[3, 4], [5, 6, 4, 3, 5, 6], [3]]
KINDS = [
    {"cell": "lstm"},
    {"cell": "gru", "depth": 2, "attention": "luong"},
    {"cell": "lstm", "attention": "bahdanau", "both": True},
    {"cell": "simple_rnn", "bridge": "dense"},
]


def compiled(tools: Any, **kind: Any) -> tuple[Seq2Seq, list[torch.Tensor], torch.Tensor]:
    model = tools.build(**kind)
    model.compile("sgd", "sparse_categorical_crossentropy")
    return model, *model.teacher_forced(SOURCES, TARGETS)


def trained(model: Seq2Seq, x: list[torch.Tensor], y: torch.Tensor) -> torch.Tensor:
    """Fill `.grad` as training does; return the loss."""
    model.zero_grad()
    return backward(model, x, y)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_the_steps_of_source_and_target_share_a_set_each(tools: Any, kind: dict[str, Any]) -> None:
    model, x, y = compiled(tools, **kind)
    sharing = measure_sharing(model, x, y, keep=True)
    assert sharing.proved and sharing.relative_error < 1e-10
    loss = trained(model, x, y)
    assert sharing.loss == pytest.approx(loss.item(), rel=1e-12)
    encoder = {layer.name for layer in model.encoder.layers}
    for one in sharing.sets:
        assert [use.steps for use in one.uses] == [5 if one.layer in encoder else 7]
    assert len(sharing.sets) == kind.get("depth", 1) * (3 if kind.get("both") else 2)
    own = dict(model.named_parameters())
    for one in sharing.sets:
        assert not one.storage_shared_with
        prefix = {"": "", "forward": "forward_layer.", "backward": "backward_layer."}[one.label]
        for weight, gradient in one.gradients.items():
            expected = own[f"{one.layer}.{prefix}{weight}"].grad
            assert expected is not None
            np.testing.assert_allclose(gradient, expected.numpy(), rtol=1e-10, atol=1e-13)
            parts = sum(use.contributions[weight].sum(0) for use in one.uses if use.contributions)
            np.testing.assert_allclose(parts, expected.numpy(), rtol=1e-9, atol=1e-12)
    assert "5 to 7" in " ".join(render_sharing(sharing).split())


def test_padding_of_either_side_contributes_nothing(tools: Any) -> None:
    model, x, y = compiled(tools)
    longer = [torch.nn.functional.pad(part, (0, 2)) for part in x]
    sharing = measure_sharing(model, longer, torch.nn.functional.pad(y, (0, 2)))
    plain = measure_sharing(model, x, y)
    for one, other, steps in zip(sharing.sets, plain.sets, (5, 7), strict=True):
        [use], [short] = one.uses, other.uses
        assert use.masked_steps == 2 and not use.totals[steps:].any()
        np.testing.assert_allclose(use.totals[:steps], short.totals, rtol=1e-12)


@pytest.mark.parametrize("kind", [KINDS[0], KINDS[3]], ids=str)
def test_what_reaches_the_source_is_what_the_handed_states_receive(
    tools: Any, kind: dict[str, Any]
) -> None:
    """Without attention the encoder's gradient enters at its last real step alone."""
    model, x, y = compiled(tools, **kind)
    flow = measure_gradient_flow(model, x, y)
    encoder, decoder = flow.sets
    assert (encoder.steps, decoder.steps) == (5, 7)
    real = x[0] != 0
    np.testing.assert_array_equal(np.isfinite(encoder.states["h"].by_sample), real.numpy())
    np.testing.assert_array_equal(np.isfinite(decoder.states["h"].by_sample), (x[1] != 0).numpy())

    layer: Any = next(one for one in model.encoder.layers if one.name == encoder.layer)
    kept: list[Any] = []

    def keep(_: Any, __: Any, results: Any) -> None:
        kept.extend(results[1:])
        for state in kept:
            state.retain_grad()

    handle = layer.register_forward_hook(keep)
    prediction, mask = model.forward_with_mask(Several(x))
    handle.remove()
    objective = losses.get("sparse_categorical_crossentropy")
    losses.objective(objective, y, prediction, mask=mask).backward()
    last = real.sum(1) - 1
    for state, name in zip(kept, encoder.states, strict=True):
        found = encoder.states[name].by_sample[torch.arange(3), last]
        np.testing.assert_allclose(found, state.grad.norm(dim=1).numpy(), rtol=1e-10)
    assert f"{encoder.name} " in render_gradient_flow(flow)


def test_gates_over_the_source_and_over_the_target(tools: Any) -> None:
    model, x, _ = compiled(tools)
    gates = measure_gates(model, x, sample=None)
    encoder, decoder = gates.sets
    assert gates.batch == 3 and (encoder.steps, decoder.steps) == (5, 7)
    assert (encoder.real_steps, decoder.real_steps) == (10, 12)
    np.testing.assert_array_equal(encoder.real, (x[0] != 0).numpy())
    np.testing.assert_array_equal(decoder.real, (x[1] != 0).numpy())
    with torch.no_grad():
        handed, masks = model._read(x[0])
        states, _ = model.decoder.forward_with_mask(Several([x[1], *handed]), [None, *masks])
    for state, name in zip(handed, ("h", "c"), strict=True):
        # Padding carries a state, so the last step shows what is handed over.
        np.testing.assert_allclose(encoder.signals[name].values[:, -1], state.numpy(), rtol=1e-12)
    for state, name in zip(states.parts[1:], ("h", "c"), strict=True):
        np.testing.assert_allclose(decoder.signals[name].values[:, -1], state.numpy(), rtol=1e-12)
    assert decoder.name in render_gates_activity(gates)


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_step_trains_both_sides(tools: Any, kind: dict[str, Any]) -> None:
    model, x, y = compiled(tools, **kind)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    training = measure_training(model, x, y)
    assert {one.steps for one in training.sets} == {5, 7}
    assert {weight.status for one in training.sets for weight in one.weights} == {"trained"}
    for name, weight in model.named_parameters():
        assert torch.equal(weight, before[name]) and weight.grad is None
    trained(model, x, y)
    for one in training.others:
        gradient = dict(model.named_parameters())[one.name].grad
        assert gradient is not None
        assert one.gradient_norm == pytest.approx(gradient.norm().item(), rel=1e-10)
    assert training.sets[-1].name in render_training(training)


def test_inputs_come_as_fit_takes_them(tools: Any) -> None:
    model, x, y = compiled(tools, attention="luong")
    by_name = dict(zip(model.input_names, x, strict=True))
    found = [
        measure_sharing(model, given, y).loss
        for given in (x, tuple(x), by_name, [part.numpy() for part in x])
    ]
    assert len(set(found)) == 1
    looked = measure_attention(model, x).layers[0]
    assert looked.weights.shape == (3, 7, 5)
    np.testing.assert_allclose(looked.weights, model.alignment(*x), rtol=1e-12)
    with pytest.raises(InputError, match="2 inputs"):
        measure_gates(model, x[:1])
    with pytest.raises(InputError, match="Pass a list in this order"):
        measure_sharing(model, x[0], y)
