"""The operator: every kernel against the equation, and everything torch does with an operator."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Sequence

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from gatewise.cells import GATES, NO_NOISE, Noise, Specification, input_product, scan
from gatewise.errors import UnknownNameError, UnsupportedError
from gatewise.kernels import Choice, Request, choose, cpu, ops, recording, recurrent, reference

SPECIFICATIONS = [
    Specification("lstm"),
    Specification("gru"),
    Specification("gru", reset_after=False),
    Specification("simple_rnn"),
    Specification("lstm", "softsign", "hard_sigmoid"),
    Specification("gru", "relu", "sigmoid"),
    Specification("simple_rnn", "linear"),
]
_needs_native = pytest.mark.skipif(
    not cpu.available(), reason="the native kernels are not installed"
)
KERNELS = ["reference", pytest.param("cpu", marks=_needs_native)]


class Case:
    """Leaves of one call, drawn from a fixed seed."""

    def __init__(
        self, specification: Specification, batch: int = 3, steps: int = 5, inputs: int = 4,
        units: int = 7, bias: bool = True, mask: bool = True, dropout: bool = True,
        dtype: torch.dtype = torch.float64,
    ) -> None:  # fmt: skip
        generator = torch.Generator().manual_seed(batch * 1000 + steps * 100 + units)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=dtype)

        columns = units * len(specification.gates)
        self.specification = specification
        self.x = draw(batch, steps, inputs).requires_grad_()
        self.weights = [draw(inputs, columns), draw(units, columns) / units**0.5]
        if bias:
            self.weights.append(draw(*((2, columns) if specification.two_biases else (columns,))))
        self.weights = [weight.requires_grad_() for weight in self.weights]
        self.state = [draw(batch, units).requires_grad_() for _ in specification.states]
        self.mask = torch.rand(batch, steps, generator=generator) > 0.4 if mask else None
        keep = torch.rand(batch, units, generator=generator) > 0.3
        self.noise = Noise(keep.to(dtype) / 0.7) if dropout else NO_NOISE
        self.cotangents = [draw(batch, steps, units), *(draw(batch, units) for _ in self.state)]

    @property
    def leaves(self) -> list[Tensor]:
        return [self.x, *self.weights, *self.state]

    def loss(self, results: Sequence[Tensor]) -> Tensor:
        pairs = zip(results, self.cotangents, strict=True)
        return sum(((result * cotangent).sum() for result, cotangent in pairs), torch.tensor(0.0))

    def run(self, kernel: str) -> list[Tensor]:
        outputs, final = recurrent(
            self.x, self.weights, self.state, specification=self.specification, mask=self.mask,
            noise=self.noise, kernel=kernel,
        )  # fmt: skip
        return [outputs, *final]

    def equation(self) -> list[Tensor]:
        product = input_product(self.x, self.weights, self.mask, self.specification)
        run = scan(product, self.weights, self.state, self.mask, self.noise, self.specification)
        return [run.outputs, *run.final_state]


def assert_close(ours: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    for position, (one, other) in enumerate(zip(ours, expected, strict=True)):
        assert torch.allclose(one, other, rtol=tolerance, atol=tolerance), (
            f"tensor {position}: {(one - other).abs().max().item():.2e}"
        )


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=lambda s: s.encode())
@pytest.mark.parametrize("reverse", [False, True])
def test_kernel_equals_equation(kernel: str, specification: Specification, reverse: bool) -> None:
    specification = Specification(
        specification.cell, specification.activation, specification.recurrent_activation,
        specification.reset_after, reverse,
    )  # fmt: skip
    for mask, dropout, bias in itertools.product([True, False], repeat=3):
        case = Case(specification, mask=mask, dropout=dropout, bias=bias)
        results, expected = case.run(kernel), case.equation()
        assert_close(results, expected, 1e-12)
        grads = torch.autograd.grad(case.loss(results), case.leaves)
        assert_close(grads, torch.autograd.grad(case.loss(expected), case.leaves), 1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize(
    ("batch", "steps", "inputs", "units"),
    [(1, 1, 1, 1), (1, 13, 5, 63), (17, 2, 3, 64), (5, 3, 65, 16), (2, 30, 1, 17)],
)
@pytest.mark.parametrize("cell", GATES)
def test_odd_sizes(kernel: str, cell: str, batch: int, steps: int, inputs: int, units: int) -> None:
    case = Case(Specification(cell), batch, steps, inputs, units)
    results, expected = case.run(kernel), case.equation()
    assert_close(results, expected, 1e-12)
    grads = torch.autograd.grad(case.loss(results), case.leaves)
    assert_close(grads, torch.autograd.grad(case.loss(expected), case.leaves), 1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("specification", SPECIFICATIONS, ids=lambda s: s.encode())
def test_second_derivative(kernel: str, specification: Specification) -> None:
    case = Case(specification, units=3)

    def second(results: Sequence[Tensor]) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(case.loss(results), case.leaves, create_graph=True)
        penalty = sum(((grad**2).sum() for grad in first), torch.tensor(0.0))
        return torch.autograd.grad(penalty, case.leaves)

    assert_close(second(case.run(kernel)), second(case.equation()), 1e-9)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("path", ops.PATHS)
@pytest.mark.parametrize("specification", SPECIFICATIONS[:4], ids=lambda s: s.encode())
def test_path_and_scale_equal_autograd(
    kernel: str, path: str, specification: Specification
) -> None:
    """``path`` against products whose h is detached as the path says, ``scale`` by hand."""
    case = Case(specification, mask=True, dropout=True)
    with torch.no_grad():
        saved = ops.forward(
            case.x, case.weights, case.state, case.mask, case.noise, specification, kernel
        )
    steps = case.x.shape[1]
    scale = torch.linspace(0.0, 1.5, steps, dtype=torch.float64)
    grad_product, grad_state, _ = ops.backward_scan(
        case.cotangents[0], case.cotangents[1:], saved, case.weights, case.state, case.mask,
        case.noise, specification, kernel, scale=scale, path=path,
    )  # fmt: skip
    product = (
        input_product(case.x, case.weights, case.mask, specification).detach().requires_grad_()
    )
    expected = torch.autograd.grad(
        case.loss(_restricted(case, product, scale, path)), [product, *case.state]
    )
    assert_close([grad_product, *grad_state], expected, 1e-11)


def _restricted(case: Case, product: Tensor, scale: Tensor, path: str) -> list[Tensor]:
    """Step by step, the equation's values with cotangents scaled and kept to a path."""
    state, outputs = tuple(case.state), []
    assert case.mask is not None
    for t in range(product.shape[1]):
        state = tuple(scale[t] * part + ((1 - scale[t]) * part).detach() for part in state)
        real = case.mask[:, t].unsqueeze(-1)
        new = _restricted_step(case, product[:, t], state, path)
        state = tuple(torch.where(real, n, s) for n, s in zip(new, state, strict=True))
        outputs.append(state[0])
    return [torch.stack(outputs, dim=1), *state]


def _restricted_step(
    case: Case, product: Tensor, state: tuple[Tensor, ...], path: str
) -> tuple[Tensor, ...]:
    def times(seen: Tensor, U: Tensor) -> Tensor:
        if path == "full":
            return seen @ U
        still = seen.detach()
        if path == "cell":
            return still @ U
        diagonals = torch.cat([block.diagonal() for block in U.split(U.shape[0], dim=-1)])
        return still @ U + (seen - still).repeat(1, U.shape[1] // U.shape[0]) * diagonals

    specification, U, h = case.specification, case.weights[1], state[0]
    seen = case.noise.drop(h)
    if specification.cell == "simple_rnn":
        return (torch.tanh(product + times(seen, U)),)
    if specification.cell == "lstm":
        i, f, g, o = (product + times(seen, U)).chunk(4, dim=-1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c
    bias = case.weights[2][1] if specification.reset_after else torch.zeros(U.shape[1])
    z, r, n = product.chunk(3, dim=-1)
    bias_z, bias_r, bias_n = bias.chunk(3)
    U_z, U_r, U_n = U.chunk(3, dim=-1)
    z = torch.sigmoid(z + times(seen, U_z) + bias_z)
    r = torch.sigmoid(r + times(seen, U_r) + bias_r)
    if specification.reset_after:
        n = torch.tanh(n + r * (times(seen, U_n) + bias_n))
    else:
        # r belongs to this very step: its cotangent takes all of U_n, whatever h's may take.
        still = (r * seen.detach()) @ U_n
        n = torch.tanh(n + still + times(r.detach() * seen, U_n) - (r * seen).detach() @ U_n)
    return (z * h + (1 - z) * n,)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", GATES)
def test_norms_are_those_of_autograd(kernel: str, cell: str) -> None:
    case = Case(Specification(cell), mask=False, dropout=False)
    with torch.no_grad():
        saved = ops.forward(
            case.x, case.weights, case.state, None, NO_NOISE, case.specification, kernel
        )
    *_, norms = ops.backward_scan(
        case.cotangents[0], case.cotangents[1:], saved, case.weights, case.state, None, NO_NOISE,
        case.specification, kernel, norms=True,
    )  # fmt: skip
    steps = case.x.shape[1]
    state, states, outputs = tuple(case.state), [], []
    for t in range(steps):
        _, state = recurrent(
            case.x[:, t : t + 1], case.weights, state, specification=case.specification,
            kernel="reference",
        )  # fmt: skip
        states.append(state)
        outputs.append(state[0])
    loss = case.loss([torch.stack(outputs, dim=1), *state])
    for t, parts in enumerate(states):
        for s, grad in enumerate(torch.autograd.grad(loss, parts, retain_graph=True)):
            assert torch.allclose(norms[:, t, s], grad.norm(dim=-1), rtol=1e-10)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("specification", SPECIFICATIONS[:4], ids=lambda s: s.encode())
def test_weight_gradients_by_sample_and_step_add_up(
    kernel: str, specification: Specification
) -> None:
    case = Case(specification)
    with recording() as records:
        results = case.run(kernel)
    torch.autograd.grad(case.loss(results), case.weights)
    (record,) = records
    assert record.gates is not None and record.saved is not None
    assert record.outputs is not None and record.gate_cotangents is not None
    saved = ops.Saved(record.outputs, [], record.gates, record.saved)
    tensors = (record.weights, record.state, record.mask, record.noise)
    with torch.no_grad():
        whole, *parts = (
            ops.weight_gradient(
                record.x,
                saved,
                record.gate_cotangents,
                *tensors,
                specification,
                record.kernel,
                reduce,
            )
            for reduce in ops.REDUCTIONS
        )
    expected = torch.autograd.grad(case.loss(case.equation()), case.weights)
    assert_close(whole, expected, 1e-11)
    for grads in parts:
        assert_close([grad.sum(0) for grad in grads], expected, 1e-11)
    one = Case(specification)
    one.mask = case.mask.clone() if case.mask is not None else None
    for sample in range(case.x.shape[0]):
        cotangents = [torch.zeros_like(c) for c in case.cotangents]
        for target, source in zip(cotangents, case.cotangents, strict=True):
            target[sample] = source[sample]
        one.cotangents = cotangents
        expected = torch.autograd.grad(one.loss(one.equation()), one.weights)
        assert_close([grad[sample] for grad in parts[0]], expected, 1e-11)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", GATES)
def test_padding_never_changes_a_bit(kernel: str, cell: str) -> None:
    case = Case(Specification(cell), batch=4, steps=6)
    case.mask = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0] * 6, [1, 0, 1, 0, 1, 1]])
    case.mask = case.mask.bool()
    first = case.run(kernel)
    first_grads = torch.autograd.grad(case.loss(first), case.leaves)
    with torch.no_grad():
        case.x[~case.mask] = float("nan")
    second = case.run(kernel)
    second_grads = torch.autograd.grad(case.loss(second), case.leaves)
    for one, other in zip([*first, *first_grads], [*second, *second_grads], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(second[0][2], case.state[0][2].expand(6, -1))


def _squared(case: Case, kernel: str, x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    outputs, final = recurrent(
        x, list(weights), None, specification=case.specification, kernel=kernel
    )
    return (outputs**2).sum() + final[-1].sum()


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", GATES)
def test_per_sample_gradients(kernel: str, cell: str) -> None:
    case = Case(Specification(cell))
    x, weights = case.x.detach(), tuple(weight.detach() for weight in case.weights)

    def loss(weights: tuple[Tensor, ...], sample: Tensor) -> Tensor:
        return _squared(case, kernel, sample.unsqueeze(0), weights)

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for n in range(x.shape[0]):
        assert_close([grad[n] for grad in together], torch.func.grad(loss)(weights, x[n]), 1e-12)
    values = torch.func.vmap(lambda sample: loss(weights, sample))(x)
    assert torch.allclose(values[1], loss(weights, x[1]))
    ensemble = tuple(torch.stack((weight, 2 * weight)) for weight in weights)
    each = torch.func.vmap(torch.func.grad(loss), in_dims=(0, None))(ensemble, x[0])
    doubled = tuple(2 * weight for weight in weights)
    assert_close([grad[1] for grad in each], torch.func.grad(loss)(doubled, x[0]), 1e-12)
    jacobian = torch.func.jacrev(lambda W: loss((W, *weights[1:]), x[0]))(weights[0])
    assert torch.allclose(jacobian, torch.func.grad(loss)(weights, x[0])[0])


@pytest.mark.parametrize("kernel", KERNELS)
def test_forward_mode_raises(kernel: str) -> None:
    case = Case(Specification("lstm"))
    x, weights = case.x.detach(), [weight.detach() for weight in case.weights]

    def loss(x: Tensor) -> Tensor:
        return _squared(case, kernel, x, weights)

    with pytest.raises(NotImplementedError):
        torch.func.jvp(loss, (x,), (x,))
    with forward_ad.dual_level(), pytest.raises(NotImplementedError):
        loss(forward_ad.make_dual(x, x))
    with pytest.raises(Exception, match="jvp"):
        torch.compile(lambda x: torch.func.jvp(loss, (x,), (x,)), fullgraph=True)(x)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("cell", GATES)
def test_compiled_equals_eager(kernel: str, cell: str) -> None:
    torch.compiler.reset()  # each case is another graph of the same lines
    case = Case(Specification(cell), dtype=torch.float32)
    compiled = torch.compile(lambda: case.run(kernel), fullgraph=True, dynamic=False)
    results, expected = compiled(), case.run(kernel)
    assert_close(results, expected, 1e-6)
    grads = torch.autograd.grad(case.loss(results), case.leaves)
    assert_close(grads, torch.autograd.grad(case.loss(expected), case.leaves), 1e-5)
    with torch.no_grad():
        assert_close(compiled(), expected, 1e-6)


def test_compiled_layers_of_cudnn_are_one_node(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's compiler would write out cuDNN's layers, one time step after the other."""
    module = inspect.getmodule(recurrent)
    monkeypatch.setattr(module, "choose", lambda _: Choice("cudnn", "a test"))
    torch.compiler.reset()
    case = Case(Specification("gru"), mask=False, dropout=False)
    nodes: list[str] = []

    def look(graph: torch.fx.GraphModule, given: list[Tensor]) -> Callable[..., object]:
        nodes.extend(str(node.target) for node in graph.graph.nodes)
        return graph.forward

    results = torch.compile(lambda: case.run("auto"), fullgraph=True, backend=look)()
    assert "gatewise.gru" in nodes, nodes
    assert_close(results, case.run("reference"), 1e-9)


def test_compiled_double_backward_raises() -> None:
    case = Case(Specification("lstm"), mask=False, dropout=False)
    loss = torch.compile(lambda x: _squared(case, "reference", x, case.weights))(case.x)

    def twice() -> None:
        (grad,) = torch.autograd.grad(loss, case.x, create_graph=True)
        torch.autograd.grad(grad.sum(), case.x)

    with pytest.raises(RuntimeError):
        twice()


@pytest.mark.parametrize("kernel", KERNELS)
def test_export_with_dynamic_batch_and_time(kernel: str) -> None:
    case = Case(Specification("gru"), dtype=torch.float32)

    class Model(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList([w.detach() for w in case.weights])

        def forward(self, x: Tensor) -> Tensor:
            return recurrent(
                x, list(self.weights), None, specification=case.specification, kernel=kernel
            )[0]

    sizes = ({0: torch.export.Dim("batch"), 1: torch.export.Dim("time")},)
    model = Model()
    exported = torch.export.export(model, (case.x.detach(),), dynamic_shapes=sizes).module()
    for batch, steps in [(1, 1), (8, 11)]:
        x = torch.randn(batch, steps, case.x.shape[2])
        assert torch.allclose(exported(x), model(x))


@pytest.mark.parametrize("cell", GATES)
def test_opcheck(cell: str) -> None:
    """torch's own check of schema, fake kernel and autograd registration."""
    case = Case(Specification(cell), dtype=torch.float32)
    arguments = (
        case.x, case.weights, case.state, case.mask, *case.noise, case.specification.encode(),
        "reference", True,
    )  # fmt: skip
    names = ("test_schema", "test_autograd_registration", "test_faketensor")
    report = torch.library.opcheck(getattr(torch.ops.gatewise, cell), arguments, test_utils=names)
    assert set(report.values()) == {"SUCCESS"}


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("compiled", [False, True])
def test_frozen_weights_cost_no_gradient(
    kernel: str, compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, frozen = Case(Specification("lstm")), Case(Specification("lstm"))
    frozen.weights = [weight.detach() for weight in frozen.weights]
    whole.loss(whole.run(kernel)).backward()
    module = {"reference": reference, "cpu": cpu}[kernel]
    monkeypatch.setattr(module, "weight_gradient", None)
    run = torch.compile(frozen.run, backend="aot_eager") if compiled else frozen.run
    frozen.loss(run(kernel)).backward()
    assert torch.equal(frozen.x.grad, whole.x.grad)
    for ours, expected in zip(frozen.state, whole.state, strict=True):
        assert torch.equal(ours.grad, expected.grad)
    assert all(weight.grad is None for weight in frozen.weights)


def test_frozen_weights_under_torch_func() -> None:
    case = Case(Specification("gru"), mask=False, dropout=False)
    weights, state = [w.detach() for w in case.weights], [s.detach() for s in case.state]

    def loss(x: Tensor) -> Tensor:
        outputs, _ = recurrent(
            x[None], weights, [s[:1] for s in state], specification=case.specification
        )
        return outputs.square().sum()

    x = case.x.detach()
    per_sample = torch.func.vmap(torch.func.grad(loss))(x)
    expected = [torch.func.grad(loss)(row) for row in x]
    assert torch.allclose(per_sample, torch.stack(expected), rtol=1e-12)


def test_a_training_step_reads_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    case = Case(Specification("lstm"))
    monkeypatch.setattr(inspect, "signature", None)
    case.loss(case.run("auto")).backward()
    assert case.x.grad is not None


@pytest.mark.parametrize("kernel", KERNELS)
def test_autocast_keeps_the_weights_type(kernel: str) -> None:
    case = Case(Specification("lstm"), mask=False, dropout=False, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        outputs, final = recurrent(
            case.x.bfloat16(), case.weights, None, specification=case.specification, kernel=kernel
        )
        loss = outputs.sum() + final[1].sum()
    loss.backward()
    assert outputs.dtype == torch.float32
    assert all(weight.grad is not None for weight in case.weights)


def test_unusual_activation_runs_the_equation_and_is_recorded() -> None:
    case = Case(Specification("lstm", "elu"), mask=True)
    with recording() as records:
        results = case.run("auto")
    case.loss(results).backward()
    assert records[0].gate_cotangents is not None
    assert records[0].gate_cotangents.sum((0, 1)).allclose(case.weights[2].grad)


def test_choice_and_its_reason() -> None:
    request = Request(Specification("lstm"), "cpu", torch.float32)
    if cpu.available():
        assert choose(request).kernel == "cpu"
        assert "native" in choose(request).reason
    assert choose(Request(Specification("lstm"), "cuda", torch.float32)).kernel == "cudnn"
    masked = choose(Request(Specification("lstm"), "cuda", torch.float32, mask=True))
    assert masked.kernel in ("cuda", "reference")  # as there is a GPU or not
    assert "mask" in masked.reason
    assert choose(Request(Specification("gru"), "mps", torch.float32)).kernel == "reference"


def test_a_kernel_asked_for_by_name_serves_or_raises() -> None:
    request = Request(Specification("lstm"), "cpu", torch.float32, kernel="cudnn")
    with pytest.raises(UnsupportedError, match="'cudnn' was asked for but cannot serve"):
        choose(request)
    request = Request(Specification("lstm", "elu"), "cpu", torch.float32, kernel="cpu")
    with pytest.raises(UnsupportedError, match="elu"):
        choose(request)
    with pytest.raises(UnknownNameError, match="Did you mean 'cudnn'"):
        choose(Request(Specification("lstm"), "cpu", torch.float32, kernel="cudn"))
