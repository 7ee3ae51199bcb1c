"""gatewise.nn against torch.nn: the same parameters, outputs, states, gradients and dropout."""

from __future__ import annotations

import copy
import itertools
import pickle

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

from gatewise import nn as gatewise_nn
from gatewise.errors import InputError, UnknownNameError
from gatewise.kernels import cpu

pytestmark = [
    pytest.mark.filterwarnings("ignore::gatewise.errors.FallbackWarning"),
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
]

CELLS = ("LSTM", "GRU", "RNN")
LENGTHS = (4, 7, 1)


def twins(cell: str, *sizes: int, seed: int = 0, **arguments):
    """Return torch's layer and gatewise's, each built after the same seed."""
    layers = []
    for package in (torch.nn, gatewise_nn):
        torch.manual_seed(seed)
        layers.append(getattr(package, cell)(*sizes, **arguments))
    return layers


def states(layer, batch: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h = torch.randn(rows, batch, getattr(layer, "proj_size", 0) or layer.hidden_size, dtype=dtype)
    c = torch.randn(rows, batch, layer.hidden_size, dtype=dtype)
    return (h, c) if type(layer).__name__ == "LSTM" else (h,)


def tensors_and_gradients(
    layer, x: Tensor, hx: tuple[Tensor, ...] | None, pack=None
) -> dict[str, Tensor]:
    """Return everything a training step could see of a layer, by name."""
    leaves = {"x": x} | {f"state {k}": part for k, part in enumerate(hx or ())}
    leaves = {name: leaf.detach().clone().requires_grad_() for name, leaf in leaves.items()}
    state = tuple(leaf for name, leaf in leaves.items() if name != "x")
    state = (state if len(state) == 2 else state[0]) if state else None
    data = leaves["x"] if pack is None else pack(leaves["x"])
    output, final = layer(data, state)
    found = {"output": output.data if isinstance(output, PackedSequence) else output}
    found |= {
        f"final {k}": part for k, part in enumerate(final if isinstance(final, tuple) else (final,))
    }
    leaves |= dict(layer.named_parameters())
    generator = torch.Generator().manual_seed(3)
    loss = sum(
        (tensor * torch.randn(tensor.shape, generator=generator, dtype=tensor.dtype)).sum()
        for tensor in found.values()
    )
    gradients = torch.autograd.grad(loss, list(leaves.values()))
    return found | {f"d {name}": grad for name, grad in zip(leaves, gradients, strict=True)}


def assert_same(expected: dict[str, Tensor], found: dict[str, Tensor], tolerance: float) -> None:
    assert expected.keys() == found.keys()
    for name, reference in expected.items():
        assert reference.shape == found[name].shape, name
        scale = float(reference.detach().abs().max())
        assert scale > 0, name
        error = float((reference - found[name]).detach().abs().max()) / scale
        assert error <= tolerance, f"{name}: {error}"


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("num_layers", "bidirectional", "bias", "batch_first"),
    [
        (1, False, True, False),
        (1, True, False, True),
        (2, False, False, False),
        (2, True, True, True),
        (3, True, True, False),
    ],
)
def test_everything_in_float64(cell, num_layers, bidirectional, bias, batch_first):
    theirs, ours = twins(
        cell,
        5,
        6,
        num_layers=num_layers,
        bias=bias,
        batch_first=batch_first,
        bidirectional=bidirectional,
        dtype=torch.float64,
    )
    x = torch.randn(3, 7, 5, dtype=torch.float64)
    x = x if batch_first else x.transpose(0, 1)
    for hx in (None, states(theirs, 3, torch.float64)):
        expected = tensors_and_gradients(theirs, x, hx)
        assert_same(expected, tensors_and_gradients(ours, x, hx), 1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    ("batch", "steps", "hidden"), [(1, 1, 1), (4, 1, 63), (1, 9, 17), (3, 20, 64)]
)
def test_odd_sizes_in_float32(cell, batch, steps, hidden):
    theirs, ours = twins(cell, 11, hidden, num_layers=2, bidirectional=True)
    x = torch.randn(steps, batch, 11)
    hx = states(theirs, batch, torch.float32)
    expected = tensors_and_gradients(theirs, x, hx)
    assert_same(expected, tensors_and_gradients(ours, x, hx), 1e-5)


@pytest.mark.parametrize("nonlinearity", ["tanh", "relu"])
def test_both_nonlinearities(nonlinearity):
    theirs, ours = twins("RNN", 3, 5, nonlinearity=nonlinearity, dtype=torch.float64)
    x = torch.randn(6, 2, 3, dtype=torch.float64)
    expected = tensors_and_gradients(theirs, x, None)
    assert_same(expected, tensors_and_gradients(ours, x, None), 1e-12)


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("enforce_sorted", [False, True])
@pytest.mark.parametrize(
    ("num_layers", "bidirectional", "batch_first"), [(1, False, True), (2, True, False)]
)
def test_packed(cell, enforce_sorted, num_layers, bidirectional, batch_first):
    theirs, ours = twins(
        cell,
        4,
        5,
        num_layers=num_layers,
        bidirectional=bidirectional,
        batch_first=batch_first,
        dtype=torch.float64,
    )
    lengths = torch.tensor(sorted(LENGTHS, reverse=True) if enforce_sorted else LENGTHS)
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    x = x if batch_first else x.transpose(0, 1)

    def pack(data: Tensor) -> PackedSequence:
        return pack_padded_sequence(data, lengths, batch_first, enforce_sorted)

    for hx in (None, states(theirs, 3, torch.float64)):
        expected = tensors_and_gradients(theirs, x, hx, pack)
        assert_same(expected, tensors_and_gradients(ours, x, hx, pack), 1e-12)
    theirs_out, ours_out = theirs(pack(x))[0], ours(pack(x))[0]
    assert torch.equal(theirs_out.batch_sizes, ours_out.batch_sizes)
    for name in ("sorted_indices", "unsorted_indices"):
        expected_order, order = getattr(theirs_out, name), getattr(ours_out, name)
        assert (expected_order is None) == (order is None)
        assert order is None or torch.equal(expected_order, order)


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("bias", [False, True])
def test_projection(bidirectional, packed, bias):
    theirs, ours = twins(
        "LSTM",
        4,
        6,
        num_layers=2,
        bias=bias,
        bidirectional=bidirectional,
        proj_size=3,
        batch_first=True,
        dtype=torch.float64,
    )
    assert list(theirs.state_dict()) == list(ours.state_dict())
    assert ours.choice().kernel == ("cpu" if cpu.available() else "reference")
    x = torch.randn(3, 7, 4, dtype=torch.float64)

    def pack(data: Tensor) -> PackedSequence:
        return pack_padded_sequence(data, torch.tensor(LENGTHS), True, False)

    for hx in (None, states(theirs, 3, torch.float64)):
        expected = tensors_and_gradients(theirs, x, hx, pack if packed else None)
        assert_same(expected, tensors_and_gradients(ours, x, hx, pack if packed else None), 1e-12)


def test_projection_under_autocast_rounds_its_products():
    layer = gatewise_nn.LSTM(4, 6, proj_size=3, batch_first=True)
    x = torch.randn(3, 7, 4, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs, _ = layer(x)
        assert layer.choice().kernel == ("cpu" if cpu.available() else "reference")
    assert outputs.dtype == torch.float32
    expected, _ = layer(x)
    assert not torch.equal(outputs, expected)
    torch.testing.assert_close(outputs, expected, rtol=0.1, atol=0.02)
    outputs.sum().backward()
    assert all(weight.grad.abs().sum() > 0 for weight in layer.parameters())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("batch_first", [False, True])
def test_unbatched(cell, batch_first):
    theirs, ours = twins(
        cell, 4, 5, num_layers=2, bidirectional=True, batch_first=batch_first, dtype=torch.float64
    )
    x = torch.randn(7, 4, dtype=torch.float64)
    hx = tuple(part[:, 0] for part in states(theirs, 1, torch.float64))
    for state in (None, hx):
        expected = tensors_and_gradients(theirs, x, state)
        assert_same(expected, tensors_and_gradients(ours, x, state), 1e-12)


@pytest.mark.parametrize("cell", CELLS)
def test_an_empty_batch(cell):
    theirs, ours = twins(cell, 4, 5, num_layers=2, bidirectional=True)
    x = torch.randn(7, 0, 4, requires_grad=True)
    output, _ = ours(x)
    assert output.shape == theirs(x)[0].shape
    output.sum().backward()
    assert all(torch.equal(p.grad, torch.zeros_like(p)) for p in ours.parameters())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("bidirectional", [False, True])
def test_the_same_parameters_after_the_same_seed(cell, bias, bidirectional):
    theirs, ours = twins(cell, 7, 9, num_layers=3, bias=bias, bidirectional=bidirectional)
    expected, found = theirs.state_dict(), ours.state_dict()
    assert list(expected) == list(found)
    assert all(torch.equal(expected[name], found[name]) for name in expected)
    assert repr(theirs) == repr(ours)
    names = {id(parameter): name for name, parameter in ours.named_parameters()}
    found_names = [[names[id(p)] for p in weights] for weights in ours.all_weights]
    assert found_names == theirs._all_weights
    assert theirs.mode == ours.mode


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(("batch_first", "packed"), [(False, False), (True, False), (True, True)])
def test_dropout_draws_what_torch_draws(cell, batch_first, packed):
    theirs, ours = twins(
        cell, 4, 5, num_layers=3, dropout=0.4, batch_first=batch_first, dtype=torch.float64
    )
    x = torch.randn(3, 7, 4, dtype=torch.float64)
    x = x if batch_first else x.transpose(0, 1)
    data = pack_padded_sequence(x, torch.tensor(LENGTHS), True, False) if packed else x
    outputs = []
    for layer in (theirs, ours):
        torch.manual_seed(11)
        output = layer(data)[0]
        outputs.append(output.data if packed else output)
    torch.testing.assert_close(*outputs, rtol=1e-12, atol=1e-14)
    torch.manual_seed(12)
    again = ours(data)[0]
    assert not torch.equal(again.data if packed else again, outputs[1])
    evaluated = [(layer.eval()(data)[0]) for layer in (theirs, ours)]
    evaluated = [output.data if packed else output for output in evaluated]
    torch.testing.assert_close(*evaluated, rtol=1e-12, atol=1e-14)


def test_a_dropout_without_a_place_warns():
    with pytest.warns(UserWarning, match="does nothing with num_layers=1") as caught:
        gatewise_nn.LSTM(2, 3, dropout=0.5)
    assert caught[0].filename == __file__


@pytest.mark.parametrize("cell", CELLS)
def test_outputs_can_be_viewed(cell):
    layer = getattr(gatewise_nn, cell)(3, 4, bidirectional=True)
    output, _ = layer(torch.randn(5, 2, 3))
    assert output.view(10, 8).shape == (10, 8)


@pytest.mark.parametrize("cell", CELLS)
def test_copies_and_pickles(cell):
    layer = getattr(gatewise_nn, cell)(3, 4, num_layers=2)
    x = torch.randn(5, 2, 3)
    expected = layer(x)[0]
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x)[0], expected)
        assert twin.weight_ih_l0 is not layer.weight_ih_l0


@pytest.mark.parametrize("cell", CELLS)
def test_the_weight_sets_are_those_of_the_keras_layout(cell):
    layer = getattr(gatewise_nn, cell)(3, 4, num_layers=2, bidirectional=True, dtype=torch.float64)
    sets = layer.weight_sets()
    assert [each.label for each in sets] == [
        "layer 0",
        "layer 0 reverse",
        "layer 1",
        "layer 1 reverse",
    ]
    assert [each.specification.reverse for each in sets] == [False, True, False, True]
    for each in sets:
        sources = itertools.chain.from_iterable(each.sources.values())
        suffix = each.label.replace("layer ", "l").replace(" ", "_")
        assert all(source.endswith(f"_{suffix}") for source in sources)
    first = {"LSTM": "weight_ih_l0[:4]", "GRU": "weight_ih_l0[4:8]", "RNN": "weight_ih_l0[:4]"}[
        cell
    ]
    rows = layer.weight_ih_l0[4:8] if cell == "GRU" else layer.weight_ih_l0[:4]
    assert torch.equal(sets[0].weights["kernel"][:, :4], rows.t()), first
    assert sets[0].weights["bias"].shape == (
        (2, 12) if cell == "GRU" else (4 * len(sets[0].specification.gates),)
    )


def test_weight_sets_read_what_they_are_told():
    layer = gatewise_nn.LSTM(3, 4)
    doubled = layer.weight_sets(lambda parameter: 2 * parameter)[0].weights
    for name, weight in layer.weight_sets()[0].weights.items():
        assert torch.equal(doubled[name], 2 * weight)


@pytest.mark.parametrize(
    ("arguments", "keywords", "words"),
    [
        ((0, 3), {}, "input_size to be an int of 1 or more but got 0"),
        ((3, 2.5), {}, "hidden_size to be an int of 1 or more but got 2.5"),
        ((3, 3), {"num_layers": 0}, "num_layers to be an int of 1 or more but got 0"),
        ((3, 3, 1, 0.5), {}, "bias to be True or False but got 0.5"),
        ((3, 3), {"batch_first": 1}, "batch_first to be True or False but got 1"),
        ((3, 3), {"dropout": 1.5}, "dropout in \\[0, 1\\]"),
        ((3, 3), {"dropout": True}, "dropout in \\[0, 1\\]"),
        ((3, 3), {"proj_size": 3}, "proj_size below hidden_size=3 but got 3"),
        ((3, 3), {"proj_size": -1}, "proj_size to be an int"),
    ],
)
def test_bad_arguments(arguments, keywords, words):
    with pytest.raises((ValueError, TypeError)):
        torch.nn.LSTM(*arguments, **keywords)
    with pytest.raises(InputError, match=words):
        gatewise_nn.LSTM(*arguments, **keywords)


def test_unknown_names():
    with pytest.raises(UnknownNameError, match="Did you mean 'relu'"):
        gatewise_nn.RNN(2, 3, nonlinearity="reluu")
    with pytest.raises(UnknownNameError, match="Did you mean 'cpu'"):
        gatewise_nn.LSTM(2, 3, kernel="cpuu")


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((4,), r"expected input \(T, B, 3\), or \(T, 3\) for one sequence, but got \(4,\)"),
        ((5, 4, 2), r"expected input \(T, B, 3\) but got \(5, 4, 2\)"),
        ((0, 4, 3), "at least one time step"),
        ((5, 4, 3, 1), "one sequence, but got"),
    ],
)
def test_bad_input(shape, words):
    layer = gatewise_nn.LSTM(3, 4)
    with pytest.raises((ValueError, RuntimeError)):
        torch.nn.LSTM(3, 4)(torch.zeros(shape))
    with pytest.raises(InputError, match=words):
        layer(torch.zeros(shape))


def test_bad_dtype_and_states():
    lstm, gru, x = (
        gatewise_nn.LSTM(3, 4, 2, batch_first=True),
        gatewise_nn.GRU(3, 4),
        torch.zeros(5, 2, 3),
    )
    with pytest.raises(InputError, match=r"x.to\(torch.float32\)"):
        gru(x.double())
    with pytest.raises(InputError, match=r"expected h_0 \(1, 2, 4\)"):
        gru(x, torch.zeros(1, 5, 4))
    with pytest.raises(InputError, match="batch_first does not apply to states"):
        lstm(x, (torch.zeros(5, 2, 4), torch.zeros(5, 2, 4)))
    with pytest.raises(InputError, match=r"expected c_0 \(2, 5, 4\)"):
        lstm(x, (torch.zeros(2, 5, 4), torch.zeros(2, 1, 4)))
    with pytest.raises(InputError, match=r"pair \(h_0, c_0\) but got one tensor"):
        lstm(x, torch.zeros(2, 5, 4))
    with pytest.raises(InputError, match="tensor h_0 but got a tuple of 2"):
        gru(x, (torch.zeros(1, 2, 4), torch.zeros(1, 2, 4)))
    with pytest.raises(InputError, match=r"expected h_0 \(1, 4\) = \(layers \* directions, size\)"):
        gru(x[:, 0], torch.zeros(1, 1, 4))
