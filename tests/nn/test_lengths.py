"""``lengths=`` gives what packing gives, without a packed object."""

from __future__ import annotations

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from gatewise import nn as gatewise_nn
from gatewise.errors import InputError

pytestmark = pytest.mark.filterwarnings("ignore::gatewise.errors.FallbackWarning")

CELLS = ("LSTM", "GRU", "RNN")


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("lengths", [(4, 7, 1), (7, 7, 7), (2, 3, 1)])
def test_lengths_equal_packing(cell, batch_first, lengths):
    arguments = {
        "num_layers": 2,
        "bidirectional": True,
        "batch_first": batch_first,
        "dtype": torch.float64,
    }
    torch.manual_seed(0)
    theirs = getattr(torch.nn, cell)(4, 5, **arguments)
    ours = getattr(gatewise_nn, cell)(4, 5, **arguments)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn((3, 7, 4) if batch_first else (7, 3, 4), dtype=torch.float64)
    packed = pack_padded_sequence(x, torch.tensor(lengths), batch_first, enforce_sorted=False)
    output, final = theirs(packed)
    padded, _ = pad_packed_sequence(output, batch_first, total_length=7)
    our_output, our_final = ours(x, lengths=torch.tensor(lengths, dtype=torch.int32))
    torch.testing.assert_close(our_output, padded, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(our_final, final, rtol=1e-12, atol=1e-14)
    padded.square().sum().backward()
    our_output.square().sum().backward()
    for name, parameter in ours.named_parameters():
        expected = theirs.get_parameter(name).grad
        torch.testing.assert_close(parameter.grad, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("cell", CELLS)
def test_padding_changes_no_bit(cell):
    layer = getattr(gatewise_nn, cell)(4, 5, num_layers=2, bidirectional=True, batch_first=True)
    x = torch.randn(3, 7, 4)
    poisoned = x.clone()
    lengths = [4, 7, 1]
    for row, length in enumerate(lengths):
        poisoned[row, length:] = float("nan")
    results = []
    for data in (x, poisoned):
        layer.zero_grad()
        data = data.requires_grad_()
        output, _ = layer(data, lengths=lengths)
        output.square().sum().backward()
        results.append([output, data.grad, *(parameter.grad for parameter in layer.parameters())])
    for clean, dirty in zip(*results, strict=True):
        assert clean.isfinite().all()
        assert torch.equal(clean, dirty)


def test_outputs_past_the_length_are_zero_even_from_an_initial_state():
    layer = gatewise_nn.GRU(2, 3)
    output, _ = layer(torch.randn(5, 2, 2), torch.ones(1, 2, 3), lengths=[2, 5])
    assert (output[2:, 0] == 0).all()
    assert (output[1, 0] != 0).any()


@pytest.mark.parametrize("dropout_in_training", [False, True])
def test_dropout_between_layers_with_lengths(dropout_in_training):
    layer = gatewise_nn.LSTM(2, 3, num_layers=2, dropout=0.9).train(dropout_in_training)
    x = torch.randn(5, 2, 2)
    torch.manual_seed(0)
    first = layer(x, lengths=[2, 5])[0]
    second = layer(x, lengths=[2, 5])[0]
    assert torch.equal(first, second) != dropout_in_training


@pytest.mark.parametrize(
    ("lengths", "words"),
    [
        ([0, 5], "from 1 to T=5 but got 0 at sequence 0. Leave empty"),
        ([5, 6], "from 1 to T=5 but got 6 at sequence 1"),
        ([5], r"lengths \(2,\) of whole numbers"),
        ([5.0, 4.0], "of whole numbers"),
        ([[5, 4]], "of whole numbers"),
        ([True, True], "of whole numbers"),
    ],
)
def test_bad_lengths(lengths, words):
    with pytest.raises(InputError, match=words):
        gatewise_nn.LSTM(3, 4)(torch.zeros(5, 2, 3), lengths=lengths)


def test_lengths_where_they_have_no_place():
    layer = gatewise_nn.LSTM(3, 4)
    x = torch.zeros(5, 2, 3)
    with pytest.raises(InputError, match="One sequence has no padding"):
        layer(x[:, 0], lengths=[5])
    packed = pack_padded_sequence(x, torch.tensor([5, 4]))
    with pytest.raises(InputError, match="has its own"):
        layer(packed, lengths=[5, 4])
    with pytest.raises(InputError, match=r"packed data \(steps, 3\) but got \(9, 2\)"):
        layer(packed._replace(data=packed.data[:, :2]))
