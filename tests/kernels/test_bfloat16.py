"""Products of bfloat16: what is rounded, which kernels compute it, and what stays as it is."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial

import pytest
import torch
from torch import Tensor

from gatewise import cells
from gatewise.cells import NO_NOISE, Specification
from gatewise.cells.products import product
from gatewise.errors import UnknownNameError, UnsupportedError
from gatewise.kernels import Request, choose, cpu, recurrent, reference

native = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())
CELLS = {
    "lstm": Specification("lstm", precision="bfloat16"),
    "gru": Specification("gru", precision="bfloat16"),
    "gru, reset before": Specification("gru", reset_after=False, precision="bfloat16"),
    "simple_rnn": Specification("simple_rnn", precision="bfloat16"),
}
each_cell = pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)


def draw(cell: Specification, inputs: int, units: int, **options) -> tuple[Tensor, list[Tensor]]:
    """Return x (4, 6, I) and W, U, b."""
    generator = torch.Generator().manual_seed(3)
    normal = partial(torch.randn, generator=generator, **options)
    columns = len(cell.gates) * units
    bias = (2, columns) if cell.two_biases else (columns,)
    return normal(4, 6, inputs), [
        normal(inputs, columns) / inputs**0.5, normal(units, columns) / units**0.5, normal(*bias),
    ]  # fmt: skip


def special_numbers() -> Tensor:
    """Return ties, infinities, NaN, zeros, what overflows, and any bits."""
    generator = torch.Generator().manual_seed(0)
    bits = torch.randint(-(2**31), 2**31, (20_000,), generator=generator).to(torch.int32)
    named = torch.tensor(
        [0.0, -0.0, 1.0, 1 + 2**-8, 1 + 3 * 2**-8, -1 - 2**-8, 1 + 2**-8 + 2**-23, 3.4e38, -3.4e38,
         torch.inf, -torch.inf, torch.nan, 2**-126, -(2.0**-126)]
    )  # fmt: skip
    drawn = bits.view(torch.float32)
    drawn = torch.where(drawn.abs() < 2**-100, 0.0, drawn)  # denormals count as zero in a kernel
    return torch.cat((named, drawn))


@native
def test_operands_are_rounded_as_torch_rounds() -> None:
    values = special_numbers()
    line = Specification("simple_rnn", activation="linear", precision="bfloat16")
    one, nothing = torch.ones(1, 1), torch.zeros(1, 1)
    expected = values.bfloat16().float()

    x = values.reshape(-1, 1, 1)
    state = [torch.zeros(len(values), 1)]
    outputs, *_ = cpu.forward(x, [one, nothing], state, None, NO_NOISE, line, False)
    assert torch.equal(outputs.flatten().nan_to_num(7.0), expected.nan_to_num(7.0))
    dx = cpu.input_gradient(x, [one, nothing], None, line)
    assert torch.equal(dx.flatten().nan_to_num(7.0), expected.nan_to_num(7.0))

    grad, ones, nothing = values[:64].reshape(1, 1, 64), torch.ones(1, 1, 1), torch.zeros(64, 64)
    dW, *_ = cpu.weight_gradient(
        ones, torch.zeros(1, 1, 64), torch.empty(0), torch.empty(0), grad,
        [torch.ones(1, 64), nothing], [torch.zeros(1, 64)], None, NO_NOISE, line, "all",
    )  # fmt: skip
    assert torch.equal(dW.flatten().nan_to_num(7.0), expected[:64].nan_to_num(7.0))


@native
@each_cell
@pytest.mark.parametrize(("inputs", "units"), [(1, 1), (3, 5), (7, 33), (6, 64)])
def test_an_odd_depth_has_no_neighbour(cell: Specification, inputs: int, units: int) -> None:
    """A sum over K numbers is that over K + 1 with a zero, to the bit."""
    x, (W, U, b) = draw(cell, inputs, units)
    padded_x = torch.cat((x, torch.full((4, 6, 1), 5.0)), dim=-1)
    padded_W = torch.cat((W, torch.zeros(1, W.shape[1])))
    for size in (1, 4):
        state = [torch.zeros(size, units) for _ in cell.states]
        outputs, *_ = cpu.forward(x[:size], [W, U, b], state, None, NO_NOISE, cell, False)
        padded, *_ = cpu.forward(
            padded_x[:size], [padded_W, U, b], state, None, NO_NOISE, cell, False
        )
        assert torch.equal(outputs, padded)


@native
def test_sets_with_fused_multiply_adds_give_the_same_bits() -> None:
    program = (
        "import hashlib, torch\n"
        "from gatewise.cells import Specification\n"
        "from gatewise.kernels import recurrent\n"
        "torch.manual_seed(0)\n"
        "found = hashlib.sha256()\n"
        "for cell, gates in (('lstm', 4), ('gru', 3), ('simple_rnn', 1)):\n"
        "    x = torch.randn(5, 9, 7, requires_grad=True)\n"
        "    W, U = torch.randn(7, gates * 21) / 3, torch.randn(21, gates * 21) / 5\n"
        "    given = Specification(cell, precision='bfloat16')\n"
        "    weights = [W.requires_grad_(), U.requires_grad_()]\n"
        "    outputs, _ = recurrent(x, weights, None, specification=given)\n"
        "    outputs.square().sum().backward()\n"
        "    for tensor in (outputs.detach(), x.grad, W.grad, U.grad):\n"
        "        found.update(tensor.numpy().tobytes())\n"
        "print(found.hexdigest())\n"
    )
    names = [name for name in cpu.available_isas() if name != "portable"]
    results = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"GATEWISE_ISA": name},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in names
    }
    assert len(results) <= 1


@each_cell
@pytest.mark.parametrize("kernel", ["cpu", "reference"])
def test_state_and_gates_are_not_rounded(cell: Specification, kernel: str) -> None:
    if kernel == "cpu" and not cpu.available():
        pytest.skip(cpu.unavailable_reason())
    x, weights = draw(cell, 5, 9)
    outputs, final = recurrent(x, weights, None, specification=cell, kernel=kernel)
    assert outputs.dtype == torch.float32
    for tensor in (outputs, *final):
        assert not torch.equal(tensor, tensor.bfloat16().float())


@each_cell
def test_the_way_back_is_that_of_the_rounded_equation(cell: Specification) -> None:
    """Autograd through the equation in float64, whose products round on the way back, too."""
    x, weights = draw(cell, 5, 9, dtype=torch.float64)
    leaves = [x.requires_grad_(), *(weight.requires_grad_() for weight in weights)]
    sent = torch.randn(4, 6, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(4))

    def gradients(function) -> list[Tensor]:
        outputs, _ = function(x, weights, None, specification=cell)
        return list(torch.autograd.grad((outputs * sent).sum(), leaves))

    def equation(x, weights, state, *, specification):
        state = [x.new_zeros(4, 9) for _ in specification.states]
        given = cells.input_product(x, weights, None, specification)
        scan = cells.scan(given, weights, state, None, NO_NOISE, specification)
        return scan.outputs, scan.final_state

    names = ("x", "W", "U", "b")
    for name, ours, theirs in zip(names, gradients(recurrent), gradients(equation), strict=True):
        # The kernels' db is a product with ones, so each of its 24 cotangents, none above 4, is
        # rounded; autograd adds them as they are.
        tolerance = 24 * 4 * 2**-9 if name == "b" else 1e-12
        torch.testing.assert_close(ours, theirs, rtol=0, atol=tolerance, msg=name)


def test_a_rounded_product_and_its_gradients() -> None:
    left, right = torch.randn(3, 2, 5), torch.randn(5, 4)
    sent = torch.randn(3, 2, 4)
    left.requires_grad_(), right.requires_grad_()
    (product(left, right, "bfloat16") * sent).sum().backward()
    a, b, g = (t.detach().bfloat16().float() for t in (left, right, sent))
    torch.testing.assert_close(left.grad, g @ b.t())
    torch.testing.assert_close(right.grad, a.flatten(0, 1).t() @ g.flatten(0, 1))


@each_cell
def test_per_sample_and_second_derivatives(cell: Specification) -> None:
    x, weights = draw(cell, 3, 4)

    def loss(W: Tensor, row: Tensor) -> Tensor:
        outputs, _ = recurrent(row[None], [W, *weights[1:]], None, specification=cell)
        return outputs.square().sum()

    apart = torch.func.vmap(torch.func.grad(loss), (None, 0))(weights[0], x)
    alone = torch.stack([torch.func.grad(loss)(weights[0], row) for row in x])
    torch.testing.assert_close(apart, alone)

    x = x.requires_grad_()
    outputs, _ = recurrent(x, weights, None, specification=cell)
    (first,) = torch.autograd.grad(outputs.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), x)
    assert second.isfinite().all() and second.abs().sum() > 0


@native
@each_cell
def test_recomputed_gates_give_the_same_bits(cell: Specification) -> None:
    def gradient(recompute: str | None) -> Tensor:
        x, weights = draw(cell, 3, 4)
        U = weights[1].requires_grad_()
        outputs, _ = recurrent(x, weights, None, specification=cell, recompute=recompute)
        return torch.autograd.grad(outputs.square().sum(), U)[0]

    assert torch.equal(gradient("gates"), gradient(None))


@each_cell
def test_the_operator_is_exported_at_its_precision(cell: Specification) -> None:
    class Layer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weights = torch.nn.ParameterList(draw(cell, 3, 4)[1])

        def forward(self, x: Tensor) -> Tensor:
            return recurrent(x, list(self.weights), None, specification=cell)[0]

    layer, x = Layer(), draw(cell, 3, 4)[0]
    program = torch.export.export(layer, (x,), strict=False)
    assert torch.equal(program.module()(x), layer(x))


# The choice


def test_the_reason_names_the_precision() -> None:
    choice = choose(Request(CELLS["lstm"], "cpu", torch.float32))
    if not cpu.available():
        assert choice.kernel == "reference"
        return
    assert choice.kernel == "cpu"
    assert choice.reason.startswith(f"native, {cpu.isa()}; products in bfloat16")
    assert ("no faster" in choice.reason) != cpu.multiplies_bfloat16()


@native
def test_double_precision_is_left_to_the_equation() -> None:
    request = Request(CELLS["lstm"], "cpu", torch.float64)
    choice = choose(request)
    assert choice.kernel == "reference" and "in float32, not in torch.float64" in choice.reason
    x, weights = draw(CELLS["lstm"], 3, 4, dtype=torch.float64)
    with pytest.raises(UnsupportedError, match="sum bfloat16 products in float32"):
        recurrent(x, weights, None, specification=CELLS["lstm"], kernel="cpu")
    outputs, _ = recurrent(x, weights, None, specification=CELLS["lstm"])
    expected, *_ = reference.forward(
        x, weights, [torch.zeros(4, 4).double()] * 2, None, NO_NOISE, CELLS["lstm"], False
    )
    assert torch.equal(outputs, expected)


def test_an_unknown_precision_is_an_error() -> None:
    with pytest.raises(UnknownNameError, match=r"bfloat17.*Known: bfloat16, float32"):
        Specification("lstm", precision="bfloat17")


# torch.autocast


@each_cell
def test_autocast_is_the_precision(cell: Specification) -> None:
    x, weights = draw(cell, 3, 4)
    expected, _ = recurrent(x, weights, None, specification=cell)
    plain = cell.at("float32")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = recurrent(x, weights, None, specification=plain)
    assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64])
def test_autocast_to_another_type_or_of_another_type_changes_nothing(dtype: torch.dtype) -> None:
    plain = Specification("lstm")
    wanted = torch.float64 if dtype == torch.float64 else torch.float32
    x, weights = draw(plain, 3, 4, dtype=wanted)
    expected, _ = recurrent(x, weights, None, specification=plain)
    to = torch.bfloat16 if dtype == torch.float64 else torch.float16
    with torch.autocast("cpu", dtype=to):
        found, _ = recurrent(x, weights, None, specification=plain)
    assert torch.equal(found, expected)
