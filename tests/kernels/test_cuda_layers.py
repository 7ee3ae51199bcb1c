"""Whole layers and models on the GPU kernels: what they compute there is what they compute here."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import gatewise
from gatewise.gradients import BPTT, RTRL, TBPTT, SnAp1, backward
from gatewise.inspect import measure_gates, measure_gradient_flow, measure_training
from gatewise.kernels import recording
from gatewise.layers import GRU, LSTM, Bidirectional, Dense, Embedding, SimpleRNN
from gatewise.models import Sequential

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available() or torch.cuda.get_device_capability()[0] != 9,
    reason="needs a GPU of compute capability 9 (H100, H200)",
)


def program(*recurrent: Any) -> Sequential:
    torch.manual_seed(0)
    return Sequential([*recurrent, Dense(1, activation="sigmoid")])


def both(model: nn.Module, x: Tensor, **call: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Return outputs and gradients of a model on the GPU and of its copy on the CPU."""
    found = []
    for device in ("cuda", "cpu"):
        one = copy.deepcopy(model).to(device)
        given = x.to(device).requires_grad_(x.is_floating_point())
        outputs = one(given, **{name: part.to(device) for name, part in call.items()})
        (outputs**2).sum().backward()
        grads = [parameter.grad for parameter in one.parameters()]
        found.append([outputs.detach(), *grads, *([given.grad] if given.requires_grad else [])])
    return found[0], found[1]


def assert_same(found: Iterable[Any], expected: Iterable[Any], allowed: float = 2e-5) -> None:
    for one, other in zip(found, expected, strict=True):
        scale = other.abs().max().clamp(min=1e-3)
        assert ((one.cpu() - other.cpu()).abs().max() / scale).item() <= allowed


@pytest.mark.parametrize(
    "layers",
    [
        [LSTM(32, return_sequences=True), GRU(24)],
        [Bidirectional(LSTM(40, return_sequences=True)), SimpleRNN(16)],
        [LSTM(32, peephole=True, return_sequences=True), LSTM(32, go_backwards=True)],
        [LSTM(32, recompute="gates")],
        [GRU(24, recompute="gates")],
    ],
    ids=["stack", "bidirectional", "variants", "recompute", "recompute-gru"],
)  # fmt: skip
def test_layers_compute_on_the_gpu_what_they_compute_here(layers: list[Any]) -> None:
    model = program(*layers)
    x = torch.randn(9, 13, 5)
    model(x)
    # cuDNN, which serves a small GRU or simple RNN, multiplies in TF32 unless torch is told not to.
    assert_same(*both(model, x), 1e-3)


def test_padding_leaves_no_slow_path() -> None:
    model = program(Embedding(50, 12, mask_zero=True), LSTM(32))
    tokens = torch.randint(1, 50, (8, 11))
    tokens[:4, 6:] = 0
    model(tokens)
    assert model.layers[1].choice(device="cuda", mask=True).kernel == "cuda"
    assert_same(*both(model, tokens))


ALGORITHMS = [BPTT(checkpoint="sqrt"), TBPTT(4, 8), RTRL(), SnAp1()]


@pytest.mark.parametrize("gradient", ALGORITHMS, ids=lambda g: type(g).__name__)
def test_gradients_through_time(gradient: Any) -> None:
    model = program(LSTM(16))
    model.compile(loss="binary_crossentropy")
    x, y = torch.randn(4, 12, 3), torch.rand(4, 1).round()
    model(x)
    found = []
    for device in ("cuda", "cpu"):
        one = copy.deepcopy(model).to(device)
        backward(one, x.to(device), y.to(device), gradient=gradient)
        found.append([parameter.grad for parameter in one.parameters()])
    assert_same(*found)


def test_the_inspector_looks_into_the_gpu_kernel() -> None:
    model = program(LSTM(128)).to("cuda")
    model.compile(loss="binary_crossentropy")
    x, y = torch.randn(8, 12, 3, device="cuda"), torch.rand(8, 1, device="cuda").round()
    with recording() as records:
        model(x)
    assert records[0].kernel == "cuda" and records[0].gates is not None
    measure_gates(model, x)
    measure_gradient_flow(model, x, y)
    rows = measure_training(model, x, y).sets[0].weights
    assert {row.status for row in rows} == {"trained"}


def test_per_sample_and_second_derivatives() -> None:
    layer = LSTM(16, return_sequences=True)
    x = torch.randn(3, 7, 4)
    layer(x)
    results = []
    for device in ("cuda", "cpu"):
        one = copy.deepcopy(layer).to(device)
        given = x.to(device)
        weights = {name: p.detach() for name, p in one.named_parameters()}

        def loss(weights: dict[str, Tensor], row: Tensor, one: Any = one) -> Tensor:
            return torch.func.functional_call(one, weights, (row[None],)).square().sum()

        per_sample = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, given)
        wanted = given.clone().requires_grad_()
        (grad,) = torch.autograd.grad(one(wanted).sum(), wanted, create_graph=True)
        (second,) = torch.autograd.grad(grad.square().sum(), wanted)
        results.append([*per_sample.values(), second])
    assert_same(*results)


# torch's compiler recommends less exact products on a GPU that has them.
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores")
@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_compiled_by_torch(cell: type[LSTM | GRU], monkeypatch: pytest.MonkeyPatch) -> None:
    # cuDNN computes this GRU, and not when it is compiled.
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    torch.compiler.reset()
    layer = cell(128, return_sequences=True).to("cuda")
    x = torch.randn(32, 200, 4, device="cuda")
    expected = layer(x).detach()
    graphs: list[Any] = []

    def look(graph: torch.fx.GraphModule, given: list[torch.Tensor]) -> Any:
        graphs.append(graph)
        return graph.forward

    assert_same([torch.compile(layer, backend=look, fullgraph=True)(x)], [expected])
    calls = [str(node.target) for node in graphs[0].graph.nodes]
    assert f"gatewise.{cell.__name__.lower()}" in "".join(calls), calls
    assert_same([torch.compile(layer, fullgraph=True)(x)], [expected])


@pytest.mark.parametrize("cell", ["LSTM", "GRU"])
def test_torchs_layer_under_autocast(cell: str) -> None:
    torch.manual_seed(0)
    theirs = getattr(nn, cell)(20, 256, num_layers=2, batch_first=True).cuda()
    ours = gatewise.accelerate(nn.ModuleList([copy.deepcopy(theirs)]))[0]
    x = torch.randn(16, 30, 20, device="cuda")
    with torch.autocast("cuda", torch.bfloat16):
        found, expected = ours(x)[0], theirs(x)[0]
    assert found.dtype == torch.float32
    assert_same([found.detach()], [expected.detach().float()], 2e-2)


def test_bfloat16_learns() -> None:
    model = program(LSTM(64)).to("cuda")
    model.compile(loss="binary_crossentropy", optimizer="adam", precision="bfloat16")
    torch.manual_seed(1)
    x = torch.randn(512, 20, 4)
    y = (x[:, :, 0].mean(1, keepdim=True) > 0).float()
    history = model.fit(x, y, epochs=15, batch_size=32, verbose=0).history["loss"]
    assert model.layers[0].choice().kernel == "cuda"
    assert history[-1] < 0.3 < history[0]
