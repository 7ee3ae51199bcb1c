"""Plain PyTorch models: what is measured on torch.nn's own layers is what they compute."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatewise.errors import UnsupportedError
from gatewise.inspect import (
    measure_gates,
    measure_gradient_flow,
    measure_sharing,
    measure_training,
)

LENGTHS = torch.tensor([2, 5, 4])


class Outputs(nn.Module):
    """A recurrent layer by its outputs alone, with lengths if they are given."""

    def __init__(self, recurrent: nn.Module) -> None:
        super().__init__()
        self.recurrent = recurrent

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        if lengths is None:
            return self.recurrent(x)[0]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.recurrent(packed)[0], batch_first=True)[0]


def layer(kind: Callable[..., nn.Module], **more: Any) -> nn.Module:
    torch.manual_seed(3)
    return kind(3, 4, batch_first=True, **more).double()


KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "RNN": nn.RNN}


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", KINDS)
def test_contributions_add_up_to_torch_s_own_gradient(kind: str, lengths: Tensor | None) -> None:
    model = Outputs(layer(KINDS[kind], num_layers=2, bidirectional=True))
    x, y = torch.randn(3, 5, 3).double(), torch.randn(3, 5, 8).double()
    inputs = x if lengths is None else (x, lengths)
    measure = measure_sharing(model, inputs, y, loss="mse", keep=True)
    assert measure.proved and len(measure.sets) == 4
    assert type(model.recurrent) is KINDS[kind]
    prediction = model(x, lengths)
    nn.functional.mse_loss(prediction, y).backward()
    for one, suffix in zip(measure.sets, ("l0", "l0_reverse", "l1", "l1_reverse"), strict=True):
        [use] = one.uses
        assert use.contributions is not None
        for name, parameter in (("kernel", "weight_ih"), ("recurrent_kernel", "weight_hh")):
            grad = model.recurrent.get_parameter(f"{parameter}_{suffix}").grad
            assert grad is not None
            total = np.linalg.norm(use.contributions[name].sum(axis=0))
            assert total == pytest.approx(grad.norm().item(), rel=1e-9)


def test_every_measure_takes_them_and_changes_nothing() -> None:
    model = Outputs(layer(nn.LSTM, num_layers=2))
    x, y = torch.randn(3, 5, 3).double(), torch.randn(3, 5, 4).double()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters())
    training = measure_training(model, x, y, loss="mse", optimizer=optimizer)
    assert {weight.status for one in training.sets for weight in one.weights} == {"trained"}
    flow = measure_gradient_flow(model, x, y, loss="mse")
    assert [one.name for one in flow.sets] == ["recurrent (layer 0)", "recurrent (layer 1)"]
    hidden = model.recurrent(x)[0]
    hidden.retain_grad()
    nn.functional.mse_loss(hidden, y).backward()
    last = flow.sets[1].states["h"].by_sample[:, -1]  # no later step adds to it
    np.testing.assert_allclose(last, hidden.grad[:, -1].norm(dim=-1), rtol=1e-9)
    gates = measure_gates(model, x, sample=None)
    np.testing.assert_allclose(gates.arrays["recurrent (layer 1)"]["h"], hidden.detach())
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name])
    assert not optimizer.state


def test_packed_samples_stand_in_the_callers_order() -> None:
    model, x = layer(nn.GRU), torch.randn(3, 5, 3).double()
    packed = pack_padded_sequence(x, LENGTHS, batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(model(packed)[0], batch_first=True)
    measure = measure_gates(model, packed, sample=None)
    one = measure.sets[0]
    assert measure.batch == 3
    np.testing.assert_array_equal(one.real.sum(axis=1), LENGTHS)
    for sample, length in enumerate(LENGTHS):
        shown = one.signals["h"].values[sample, :length]
        np.testing.assert_allclose(shown, expected[sample, :length].detach())
    flow = measure_gradient_flow(
        Outputs(model), (x, LENGTHS), torch.ones(3, 5, 4).double(), loss="mse"
    )
    counted = np.isfinite(flow.sets[0].states["h"].by_sample).sum(axis=1)
    np.testing.assert_array_equal(counted, LENGTHS)


def test_time_first_layers_count_their_samples() -> None:
    measure = measure_gates(nn.LSTM(3, 4), torch.randn(5, 2, 3), sample=1)
    assert measure.batch == 2 and measure.sets[0].steps == 5


def test_a_layer_without_a_counterpart_is_refused_with_the_reason() -> None:
    class Own(nn.LSTM):
        pass

    with pytest.raises(UnsupportedError, match=r"'own' is a torch.nn.LSTM .* a subclass"):
        measure_gates(Own(3, 4), torch.randn(1, 2, 3))
    hooked = nn.Sequential(nn.GRU(3, 4))
    hooked[0].register_forward_hook(lambda *_: None)
    with pytest.raises(UnsupportedError, match=r"'0' is a torch.nn.GRU .* forward hooks"):
        measure_gradient_flow(hooked, torch.randn(1, 2, 3), torch.zeros(1), loss="mse")
