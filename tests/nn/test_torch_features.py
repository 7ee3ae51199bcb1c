"""torch's machinery around the layers: compile, export, autocast, higher gradients, torch.func."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from gatewise import nn as gatewise_nn

pytestmark = pytest.mark.filterwarnings("ignore::gatewise.errors.FallbackWarning")

CELLS = ("LSTM", "GRU", "RNN")


class Classifier(nn.Module):
    """A recurrent layer with a head, with or without lengths."""

    def __init__(self, cell: str, package, **arguments) -> None:
        super().__init__()
        self.rnn = getattr(package, cell)(4, 5, batch_first=True, **arguments)
        self.head = nn.Linear(5 * (2 if self.rnn.bidirectional else 1), 2)

    def forward(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        output, _ = self.rnn(x) if lengths is None else self.rnn(x, lengths=lengths)
        return self.head(output.sum(1))


def gradients(model: nn.Module, run, *inputs: Tensor) -> list[Tensor]:
    model.zero_grad()
    run(*inputs).square().sum().backward()
    return [parameter.grad.clone() for parameter in model.parameters()]


@pytest.fixture
def fresh_compiler():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


@pytest.mark.parametrize(
    ("cell", "with_lengths"), [("LSTM", False), ("LSTM", True), ("GRU", True), ("RNN", True)]
)
def test_compile_in_one_graph(fresh_compiler, cell, with_lengths):
    model = Classifier(cell, gatewise_nn, num_layers=2, bidirectional=True)
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    for batch in (3, 4):
        inputs = [torch.randn(batch, 6, 4)]
        inputs += [torch.randint(1, 7, (batch,))] if with_lengths else []
        torch.testing.assert_close(compiled(*inputs), model(*inputs))
        expected = gradients(model, model, *inputs)
        torch.testing.assert_close(gradients(model, compiled, *inputs), expected)


@pytest.mark.parametrize("cell", CELLS)
def test_export_with_dynamic_batch_and_time(cell):
    model = Classifier(cell, gatewise_nn, num_layers=2, bidirectional=True).eval()
    batch, steps = torch.export.Dim("batch", min=1), torch.export.Dim("steps", min=1)
    program = torch.export.export(
        model, (torch.randn(3, 6, 4),), dynamic_shapes=({0: batch, 1: steps},), strict=False
    )
    for shape in ((3, 6, 4), (1, 2, 4), (5, 9, 4)):
        x = torch.randn(shape)
        torch.testing.assert_close(program.module()(x), model(x))


@pytest.mark.parametrize(
    ("cell", "arguments"), [*((cell, {}) for cell in CELLS), ("LSTM", {"proj_size": 2})]
)
def test_autocast(cell, arguments):
    layer = getattr(gatewise_nn, cell)(4, 5, num_layers=2, **arguments)
    x = torch.randn(6, 3, 4)
    expected = layer(x)[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        for data in (x, x.bfloat16()):
            output = layer(data)[0]
            assert output.dtype == torch.float32
            torch.testing.assert_close(output, expected, rtol=0.05, atol=0.02)
        layer(x)[0].sum().backward()
        found = layer(x)[0]
    layer.precision = "bfloat16"
    assert torch.equal(layer(x)[0], found) and not torch.equal(found, expected)
    assert all(parameter.grad.dtype == torch.float32 for parameter in layer.parameters())


@pytest.mark.parametrize("cell", CELLS)
def test_double_backward_in_eager(cell):
    torch.manual_seed(0)
    layer = getattr(gatewise_nn, cell)(2, 3, num_layers=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(3, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda data: layer(data)[0], (x,))


@pytest.mark.parametrize("cell", CELLS)
def test_backward_in_eval_mode(cell):
    layer = getattr(gatewise_nn, cell)(2, 3).eval()
    layer(torch.randn(4, 2, 2))[0].sum().backward()
    assert all((parameter.grad != 0).any() for parameter in layer.parameters())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("lengths", [None, [3, 6, 1]])
def test_per_sample_gradients(cell, lengths):
    model = Classifier(cell, gatewise_nn, num_layers=2, bidirectional=True).double()
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    inputs = [torch.randn(3, 6, 4, dtype=torch.float64)]
    inputs += [] if lengths is None else [torch.tensor(lengths)]

    def loss(weights: dict[str, Tensor], *sample: Tensor) -> Tensor:
        batch_of_one = tuple(part.unsqueeze(0) for part in sample)
        return functional_call(model, weights, batch_of_one).square().sum()

    batched = vmap(grad(loss), in_dims=(None, *(0 for _ in inputs)))(parameters, *inputs)
    for row in range(3):
        sample = [part[row] for part in inputs]
        single = grad(loss)(parameters, *sample)
        expected = gradients(model, model, *(part.unsqueeze(0) for part in sample))
        for (name, _), reference in zip(model.named_parameters(), expected, strict=True):
            torch.testing.assert_close(single[name], reference)
            torch.testing.assert_close(batched[name][row], reference)


def test_functional_call_takes_other_weights():
    layer = gatewise_nn.LSTM(2, 3)
    zeros = {name: torch.zeros_like(parameter) for name, parameter in layer.named_parameters()}
    output, _ = functional_call(layer, zeros, (torch.randn(4, 1, 2),))
    assert (output == 0).all()


def test_data_parallel_training_sees_the_gradients(data_parallel_gradients):
    model = gatewise_nn.accelerate(Classifier("LSTM", nn), kernel="reference")
    x = torch.randn(3, 6, 4)
    expected = gradients(model, model, x)
    torch.testing.assert_close(data_parallel_gradients(model, x), expected)
