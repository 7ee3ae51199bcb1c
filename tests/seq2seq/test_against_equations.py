"""The model's output and gradients against its equations, unrolled in plain torch."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gatewise.errors import UnsupportedError
from gatewise.gradients import ARTBP, BPTT, RTRL, TBPTT, EProp, SnAp1, backward

ATTENTIONS = (None, "luong", "bahdanau")
COMBINED = [
    (cell, depth, attention)
    for cell in ("lstm", "gru", "simple_rnn")
    for depth in (1, 2)
    for attention in ATTENTIONS
]


def gradients_of(model: Any) -> dict[str, torch.Tensor]:
    return {
        name: torch.zeros_like(weight) if weight.grad is None else weight.grad.clone()
        for name, weight in model.named_parameters()
    }


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        error = (found[name] - value).abs().max().item()
        assert error < 1e-10, f"{name} is off by {error}"


@pytest.mark.parametrize(("cell", "depth", "attention"), COMBINED)
def test_output(tools: Any, cell: str, depth: int, attention: str | None) -> None:
    model = tools.build(cell, depth, attention)
    (source, heard), said = model.teacher_forced(*tools.pairs())
    expected = tools.Oracle(model, cell, attention).probabilities(source, heard)
    real = said != 0
    assert real.sum(1).tolist() == [7, 2, 4]
    assert (model([source, heard]) - expected)[real].abs().max() < 1e-12


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_output_of_an_encoder_in_both_directions(
    tools: Any, cell: str, attention: str | None
) -> None:
    model = tools.build(cell, 2, attention, both=True)
    (source, heard), said = model.teacher_forced(*tools.pairs())
    expected = tools.Oracle(model, cell, attention).probabilities(source, heard)
    assert (model([source, heard]) - expected)[said != 0].abs().max() < 1e-12


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_padding_changes_nothing(tools: Any, attention: str | None) -> None:
    model = tools.build("lstm", 2, attention, both=True)
    sources, targets = tools.pairs()
    together = model(model.teacher_forced(sources, targets)[0])
    for row, (source, target) in enumerate(zip(sources, targets, strict=True)):
        alone = model(model.teacher_forced([source], [target])[0])
        torch.testing.assert_close(together[row : row + 1, : len(target) + 1], alone)


@pytest.mark.parametrize("gradient", [BPTT(), BPTT(checkpoint="sqrt")])
@pytest.mark.parametrize(("cell", "depth", "attention"), COMBINED)
def test_bptt_equals_autograd(
    tools: Any, cell: str, depth: int, attention: str | None, gradient: BPTT
) -> None:
    model = tools.build(cell, depth, attention)
    model.compile(loss="sparse_categorical_crossentropy")
    (source, heard), said = model.teacher_forced(*tools.pairs())
    loss = backward(model, [source, heard], said, gradient=gradient)
    found = gradients_of(model)
    model.zero_grad()
    expected = tools.Oracle(model, cell, attention).probabilities(source, heard)
    picked = expected.gather(2, said.unsqueeze(2)).squeeze(2)[said != 0]
    mean = -picked.log().mean()
    mean.backward()
    assert abs(loss.item() - mean.item()) < 1e-12
    assert_same(found, gradients_of(model))


@pytest.mark.parametrize(("k1", "k2"), [(2, 2), (1, 4), (7, 7)])
@pytest.mark.parametrize(("cell", "depth", "attention"), COMBINED)
def test_tbptt_equals_autograd_with_detach(
    tools: Any, cell: str, depth: int, attention: str | None, k1: int, k2: int
) -> None:
    model = tools.build(cell, depth, attention)
    model.compile(loss="sparse_categorical_crossentropy")
    (source, heard), said = model.teacher_forced(*tools.pairs())
    loss = backward(model, [source, heard], said, gradient=TBPTT(k1, k2))
    found = gradients_of(model)
    model.zero_grad()
    mean = truncated(tools.Oracle(model, cell, attention), source, heard, said, k1, k2)
    mean.backward()
    assert abs(loss.item() - mean.item()) < 1e-12
    expected = gradients_of(model)
    assert_same(found, expected)
    assert all(expected[name].abs().max() > 0 for name in expected if "embedding" in name)
    if k1 == 7:
        model.zero_grad()
        backward(model, [source, heard], said, gradient=BPTT())
        assert_same(found, gradients_of(model))


def truncated(oracle: Any, source: Any, heard: Any, said: Any, k1: int, k2: int) -> torch.Tensor:
    """Every k1 steps, the newest losses, with the decoder's state detached k2 steps before."""
    memory, real, first = oracle.encode(source)
    losses = []
    for done in range(0, heard.shape[1], k1):
        end = min(done + k1, heard.shape[1])
        states = first
        for t in range(end):
            if t == max(0, end - k2) and t > 0:
                states = [tuple(part.detach() for part in state) for state in states]
            one, states = oracle.decode(heard[:, t], states, memory, real)
            if t >= done:
                picked = one.gather(1, said[:, t : t + 1]).squeeze(1)
                losses.append(-picked[said[:, t] != 0].log())
    return torch.cat(losses).mean()


@pytest.mark.parametrize("gradient", [RTRL(), SnAp1(), EProp(), ARTBP(mean_length=5)])
def test_what_goes_along_one_sequence_is_refused_with_the_reason(tools: Any, gradient: Any) -> None:
    model = tools.build(attention="luong")
    with pytest.raises(UnsupportedError, match=r"an encoder and a decoder: .*BPTT\(checkpoint"):
        model.compile(loss="sparse_categorical_crossentropy", gradient=gradient)


@pytest.mark.parametrize(
    "gradient", ["bptt", BPTT(checkpoint="sqrt"), TBPTT(2, 3), TBPTT(1, "auto")]
)
def test_fit_with_each_gradient(tools: Any, gradient: Any) -> None:
    model = tools.build(attention="luong")
    model.compile(
        "adam", "sparse_categorical_crossentropy", metrics=["accuracy"], gradient=gradient
    )
    x, y = model.teacher_forced(*tools.pairs())
    before = model.evaluate(x, y, verbose=0)[0]
    model.fit(x, y, epochs=30, verbose=0)
    assert model.evaluate(x, y, verbose=0)[0] < before
