"""Truncated backpropagation equals autograd with `detach` where a window begins."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gatewise.errors import InputError
from gatewise.gradients import BPTT, TBPTT
from gatewise.layers import LSTM, Dense, Embedding
from gatewise.models import Sequential

CELLS = ("lstm", "gru", "simple_rnn")
STEPS = 11


@pytest.mark.parametrize("sequences", [True, False])
@pytest.mark.parametrize("cell", CELLS)
def test_one_window_is_exact(tools: Any, cell: str, sequences: bool) -> None:
    model = tools.build(cell, 2, sequences)
    x, y = tools.series(steps=STEPS, sequences=sequences)
    mask = torch.arange(STEPS) < torch.tensor([[STEPS], [4], [1]])
    for given in (None, mask):
        exact = tools.gradients_of(model, BPTT(), x, y, given)
        for gradient in (TBPTT(STEPS), TBPTT(STEPS, STEPS), TBPTT(3, STEPS), TBPTT(100)):
            tools.assert_same(tools.gradients_of(model, gradient, x, y, given), exact, 1e-14)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (1, 4), (2, 3), (3, 3), (4, 9), (5, 7)])
@pytest.mark.parametrize("depth", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_windows_equal_autograd_with_detach(
    tools: Any, cell: str, depth: int, k1: int, k2: int, masked: bool
) -> None:
    model = tools.build(cell, depth)
    x, y = tools.series(steps=STEPS)
    mask = torch.ones(3, STEPS, dtype=torch.bool)
    if masked:
        mask = torch.arange(STEPS) < torch.tensor([[STEPS], [6], [2]])
    found = tools.gradients_of(model, TBPTT(k1, k2), x, y, mask if masked else None)

    model.zero_grad()
    oracle = tools.Oracle(model, cell)
    states = [oracle.zeros(3), *oracle.run(x, oracle.zeros(3), mask=mask)[1]]
    total = torch.zeros(())
    for done in range(0, STEPS, k1):
        end = min(done + k1, STEPS)
        start = max(0, end - k2)
        prediction, _ = oracle.run(
            x[:, start:end], tools.detached(states[start]), mask=mask[:, start:end]
        )
        errors = (prediction[:, done - start :] - y[:, done:end]).square().squeeze(-1)
        loss = (errors * mask[:, done:end]).sum() / mask.sum()
        loss.backward()
        total += loss.detach()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    tools.assert_same(found, expected | {"the loss": total}, 1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_a_loss_at_the_end_goes_back_over_k2_real_steps(tools: Any, cell: str) -> None:
    model = tools.build(cell, 1, sequences=False)
    x, y = tools.series(steps=STEPS, sequences=False)
    lengths = [STEPS, 6, 2]
    mask = torch.arange(STEPS) < torch.tensor(lengths).unsqueeze(1)
    found = tools.gradients_of(model, TBPTT(2, 4), x, y, mask)
    model.zero_grad()
    oracle = tools.Oracle(model, cell)
    for row, length in enumerate(lengths):
        series, start = x[row : row + 1, :length], max(0, length - 4)
        states = oracle.zeros(1)
        if start:
            states = tools.detached(oracle.run(series[:, :start], states)[1][-1])
        prediction, _ = oracle.run(series[:, start:], states)
        ((prediction[:, -1] - y[row]).square().mean() / 3).backward()
    expected = {name: weight.grad for name, weight in model.named_parameters()}
    tools.assert_same(found, expected | {"the loss": found["the loss"]}, 1e-13)


def test_padding_of_an_embedding_does_not_count_among_the_steps(tools: Any) -> None:
    model = Sequential([Embedding(5, 2, mask_zero=True), LSTM(3), Dense(1)])
    y = torch.randn(2, 1)
    short = torch.tensor([[1, 2, 3], [4, 3, 2]])
    padded = torch.cat((short, torch.zeros(2, 4, dtype=torch.int64)), dim=1)
    expected = tools.gradients_of(model, TBPTT(2), short, y)
    assert expected["lstm.kernel"].abs().sum() > 0
    tools.assert_same(tools.gradients_of(model, TBPTT(2), padded, y), expected, 1e-14)


def test_the_window_after_an_update_runs_with_todays_weights(tools: Any) -> None:
    """From the stored state, which is what the old weights made of the past."""
    model = tools.build("lstm", 1)
    x, y = tools.series(steps=6)
    from gatewise import losses
    from gatewise.gradients import Task

    task = Task(model, losses.get("mse"), x, y, clear=model.zero_grad)
    oracle = tools.Oracle(model, "lstm")
    found, expected = [], []
    begin = oracle.zeros(3)
    parts = TBPTT(2, 4).gradients(task)
    for end, start in ((2, 0), (4, 0), (6, 2)):
        next(parts)
        found.append(model.layers[0].kernel.grad.clone())
        states = tools.detached(begin)
        prediction, kept = oracle.run(x[:, start:end], states)
        loss = (prediction[:, -2:] - y[:, end - 2 : end]).square().sum() / y.numel()
        expected.append(torch.autograd.grad(loss, model.layers[0].kernel)[0])
        if end == 4:
            begin = kept[1]  # after two steps, where the third window begins
        with torch.no_grad():
            for weight in model.parameters():
                weight.mul_(0.9)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_truncation_changes_the_gradient(tools: Any) -> None:
    model = tools.build("lstm", 1)
    x, y = tools.series(steps=STEPS)
    exact = tools.gradients_of(model, BPTT(), x, y)
    found = tools.gradients_of(model, TBPTT(2), x, y)
    assert (found["lstm.recurrent_kernel"] - exact["lstm.recurrent_kernel"]).abs().max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "cure"),
    [((0,), "at least 1"), ((4, 2), r"TBPTT\(2, 4\)"), ((2.5,), "whole number"), ((2, 0), "k2")],
)
def test_lengths_that_make_no_sense_are_refused(arguments: Any, cure: str) -> None:
    with pytest.raises(InputError, match=cure):
        TBPTT(*arguments)
