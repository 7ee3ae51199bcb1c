"""The options of the cells, each kernel against the equation under autograd."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from gatewise.cells import NO_NOISE, Noise, Specification, Weights, input_product, scan
from gatewise.errors import InputError
from gatewise.kernels import Request, choose, cpu, ops, recurrent

LSTMS = [
    Specification("lstm", peephole=True),
    Specification("lstm", cell_clip=0.3),
    Specification("cifg"),
    Specification("cifg", peephole=True, cell_clip=0.3),
    Specification("lstm", "softsign", "hard_sigmoid", peephole=True, cell_clip=0.4, reverse=True),
]
ZONED = [
    *LSTMS,
    Specification("lstm"),
    Specification("gru"),
    Specification("gru", reset_after=False),
]
needs_native = pytest.mark.skipif(
    not cpu.available(), reason="the native kernels are not installed"
)
KERNELS = ["reference", pytest.param("cpu", marks=needs_native)]

each_kernel = pytest.mark.parametrize("kernel", KERNELS)
each_lstm = pytest.mark.parametrize("specification", LSTMS, ids=Specification.encode)
each_cell = pytest.mark.parametrize("specification", ZONED, ids=Specification.encode)


class Case:
    """The tensors of one call in double precision, drawn from a fixed seed."""

    def __init__(
        self, specification: Specification, sizes: tuple[int, int, int, int] = (3, 5, 4, 7),
        *, bias: bool = True, mask: bool = True, dropout: bool = True, zoneout: bool = True,
    ) -> None:  # fmt: skip
        batch, steps, inputs, units = sizes
        generator = torch.Generator().manual_seed(sum(sizes))

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64)

        columns = units * len(specification.gates)
        weights = [draw(inputs, columns), draw(units, columns) / units**0.5]
        if bias:
            weights.append(draw(*((2, columns) if specification.two_biases else (columns,))))
        if specification.peephole:
            weights.append(draw(len(specification.peepholes), units))
        self.specification = specification
        self.x = draw(batch, steps, inputs).requires_grad_()
        self.weights = [weight.requires_grad_() for weight in weights]
        self.state = [draw(batch, units).requires_grad_() for _ in specification.states]
        self.mask = torch.rand(batch, steps, generator=generator) > 0.4 if mask else None
        kept = [torch.rand(batch, steps, units, generator=generator).double() for _ in range(2)]
        kept[0] = (kept[0] > 0.5).double()  # one with the masks of training, one with any shares
        self.noise = Noise(
            (draw(batch, units) > -0.5).double() / 0.7 if dropout else None,
            kept[0] if zoneout else None,
            kept[1] if zoneout and "c" in specification.states else None,
        )
        self.cotangents = [draw(batch, steps, units), *(draw(batch, units) for _ in self.state)]

    @property
    def leaves(self) -> list[Tensor]:
        return [self.x, *self.weights, *self.state]

    def loss(self, results: Sequence[Tensor]) -> Tensor:
        pairs = zip(results, self.cotangents, strict=True)
        return torch.stack([(result * cotangent).sum() for result, cotangent in pairs]).sum()

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
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@each_kernel
@each_cell
def test_kernel_equals_equation(kernel: str, specification: Specification) -> None:
    for mask, dropout, bias, zoneout in itertools.product([True, False], repeat=4):
        case = Case(specification, mask=mask, dropout=dropout, bias=bias, zoneout=zoneout)
        results, expected = case.run(kernel), case.equation()
        assert_close(results, expected, 1e-12)
        grads = torch.autograd.grad(case.loss(results), case.leaves)
        assert_close(grads, torch.autograd.grad(case.loss(expected), case.leaves), 1e-11)


@each_kernel
@each_cell
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 13, 5, 63), (17, 2, 3, 64), (2, 30, 1, 17)])
def test_odd_sizes(
    kernel: str, specification: Specification, sizes: tuple[int, int, int, int]
) -> None:
    case = Case(specification, sizes)
    results, expected = case.run(kernel), case.equation()
    assert_close(results, expected, 1e-11)
    grads = torch.autograd.grad(case.loss(results), case.leaves)
    assert_close(grads, torch.autograd.grad(case.loss(expected), case.leaves), 1e-9)


@each_cell
def test_gradcheck_of_the_equation(specification: Specification) -> None:
    case = Case(specification, (2, 3, 2, 3))

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        case.x, *rest = leaves
        case.weights, case.state = rest[: len(case.weights)], rest[len(case.weights) :]
        return tuple(case.equation())

    assert torch.autograd.gradcheck(function, case.leaves)


@each_kernel
@each_cell
def test_second_derivative(kernel: str, specification: Specification) -> None:
    case = Case(specification, (2, 3, 2, 3))

    def second(results: Sequence[Tensor]) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(case.loss(results), case.leaves, create_graph=True)
        penalty = torch.stack([(grad**2).sum() for grad in first]).sum()
        return torch.autograd.grad(penalty, case.leaves)

    assert_close(second(case.run(kernel)), second(case.equation()), 1e-9)


def by_hand(case: Case) -> list[Tensor]:
    """The formulas of the papers once more, without the cell's code."""
    taken = Weights.of(case.weights, case.specification)
    p = dict.fromkeys("ifo", torch.zeros(()).double())
    if taken.peephole is not None:
        p |= dict(zip(case.specification.peepholes, taken.peephole, strict=True))
    (h, c), outputs = case.state, []
    assert taken.bias is not None and case.noise.zoneout_h is not None
    assert case.noise.zoneout_c is not None and case.noise.recurrent_dropout is not None
    limit = case.specification.cell_clip or float("inf")
    for t in range(case.x.shape[1]):
        total = case.x[:, t] @ taken.W + taken.bias
        total = total + (h * case.noise.recurrent_dropout) @ taken.U
        parts = dict(zip(case.specification.gates, total.tensor_split(
            len(case.specification.gates), dim=1), strict=True))  # fmt: skip
        f = torch.sigmoid(parts["f"] + p["f"] * c)
        i = torch.sigmoid(parts["i"] + p["i"] * c) if "i" in parts else 1 - f
        new = (f * c + i * torch.tanh(parts["g"])).clamp(-limit, limit)
        shown = torch.sigmoid(parts["o"] + p["o"] * new) * torch.tanh(new)
        keep_h, keep_c = case.noise.zoneout_h[:, t], case.noise.zoneout_c[:, t]
        h, c = keep_h * h + (1 - keep_h) * shown, keep_c * c + (1 - keep_c) * new
        outputs.append(h)
    return [torch.stack(outputs, dim=1), h, c]


@pytest.mark.parametrize("specification", LSTMS[:4], ids=Specification.encode)
def test_the_equation_is_the_papers(specification: Specification) -> None:
    case = Case(specification, mask=False)
    assert_close(case.equation(), by_hand(case), 1e-13)


@each_kernel
@each_cell
def test_padding_never_changes_a_bit(kernel: str, specification: Specification) -> None:
    case = Case(specification, (4, 6, 3, 5))
    case.mask = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0] * 6, [1, 0, 1, 0, 1, 1]])
    case.mask = case.mask.bool()
    first = case.run(kernel)
    first_grads = torch.autograd.grad(case.loss(first), case.leaves)
    with torch.no_grad():
        for padded in (case.x, *case.noise[1:]):
            if padded is not None:
                padded[~case.mask] = float("nan")
    second = case.run(kernel)
    second_grads = torch.autograd.grad(case.loss(second), case.leaves)
    for one, other in zip([*first, *first_grads], [*second, *second_grads], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(second[0][2], case.state[0][2].expand(6, -1))


@each_kernel
@each_cell
def test_weight_gradients_by_sample_and_step_add_up(
    kernel: str, specification: Specification
) -> None:
    case = Case(specification)
    shared = (case.weights, case.state, case.mask, case.noise, specification, kernel)
    with torch.no_grad():
        saved = ops.forward(case.x, *shared)
        grad_product, _, _ = ops.backward_scan(
            case.cotangents[0], case.cotangents[1:], saved, *shared
        )
        whole, *parts = (
            ops.weight_gradient(case.x, saved, grad_product, *shared, reduce)
            for reduce in ops.REDUCTIONS
        )
    assert_close(whole, torch.autograd.grad(case.loss(case.equation()), case.weights), 1e-11)
    for grads in parts:
        assert_close([grad.sum(0) for grad in grads], whole, 1e-11)


@each_kernel
@each_cell
def test_compiled_equals_eager(kernel: str, specification: Specification) -> None:
    torch.compiler.reset()
    case = Case(specification)
    compiled = torch.compile(
        lambda: case.run(kernel), fullgraph=True, dynamic=False, backend="aot_eager"
    )
    results, expected = compiled(), case.run(kernel)
    assert_close(results, expected, 1e-12)
    grads = torch.autograd.grad(case.loss(results), case.leaves)
    assert_close(grads, torch.autograd.grad(case.loss(expected), case.leaves), 1e-11)


@each_kernel
@each_cell
def test_per_sample_gradients(kernel: str, specification: Specification) -> None:
    case = Case(specification, mask=False)
    x, weights = case.x.detach(), tuple(weight.detach() for weight in case.weights)
    state = [part.detach() for part in case.state]

    def loss(weights: tuple[Tensor, ...], x: Tensor, *noise: Tensor | None) -> Tensor:
        drawn = Noise(*(None if mask is None else mask[None] for mask in noise))
        outputs, _ = recurrent(
            x[None], list(weights), [part[:1] for part in state], specification=specification,
            noise=drawn, kernel=kernel,
        )  # fmt: skip
        return (outputs**2).sum()

    in_dims = (None, 0, *(None if mask is None else 0 for mask in case.noise))
    together = torch.func.vmap(torch.func.grad(loss), in_dims=in_dims)(weights, x, *case.noise)
    for n in range(len(x)):
        one = torch.func.grad(loss)(weights, x[n], *case.noise.rows(torch.tensor(n)))
        assert_close([grad[n] for grad in together], one, 1e-12)


@each_cell
def test_a_specification_survives_its_text(specification: Specification) -> None:
    assert Specification.decode(specification.encode()) == specification


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="a gru has none"):
        Specification("gru", peephole=True)
    for limit in (0.0, -1.0, float("inf"), float("nan")):
        with pytest.raises(InputError, match="positive number"):
            Specification("lstm", cell_clip=limit)
    with pytest.raises(InputError, match="W, U, perhaps b, peephole but got 2"):
        Weights.of([torch.ones(1, 4), torch.ones(1, 4)], Specification("lstm", peephole=True))


@pytest.mark.parametrize("specification", LSTMS, ids=Specification.encode)
def test_cudnn_says_why_not(specification: Specification) -> None:
    choice = choose(Request(specification, "cuda", torch.float32))
    assert choice.kernel != "cudnn" and "cuDNN" in choice.reason
    zoned = Request(Specification("lstm"), "cuda", torch.float32, zoneout=True)
    assert "no zoneout" in choose(zoned).reason
    assert not NO_NOISE.zones


def _float32(case: Case) -> Case:
    for name in ("x", "mask"):
        if getattr(case, name) is not None and getattr(case, name).dtype != torch.bool:
            setattr(case, name, getattr(case, name).detach().float().requires_grad_())
    case.weights = [weight.detach().float().requires_grad_() for weight in case.weights]
    case.state = [part.detach().float().requires_grad_() for part in case.state]
    case.noise = case.noise.to(torch.float32)
    case.cotangents = [cotangent.float() for cotangent in case.cotangents]
    return case


@needs_native
@each_cell
@pytest.mark.parametrize("mask", [False, True])
def test_the_bits_do_not_depend_on_the_threads(specification: Specification, mask: bool) -> None:
    """Large enough that every thread is worth waking, with rows and with units taken apart."""
    for sizes in ((24, 40, 30, 67), (2, 3, 40, 600)):
        case = _float32(Case(specification, sizes, mask=mask))
        found = []
        before = torch.get_num_threads()
        try:
            for threads in (1, 2, 3, 5):
                torch.set_num_threads(threads)
                results = case.run("cpu")
                found.append([*results, *torch.autograd.grad(case.loss(results), case.leaves)])
        finally:
            torch.set_num_threads(before)
        for other in found[1:]:
            for one, same in zip(found[0], other, strict=True):
                assert torch.equal(one, same)


@needs_native
@each_cell
def test_any_pieces_of_time_give_the_same_bits(specification: Specification) -> None:
    case = _float32(Case(specification, (4, 11, 9, 37)))
    shared = (specification, "cpu", False)
    assert case.mask is not None
    with torch.no_grad():
        whole = ops.forward(case.x, case.weights, case.state, case.mask, case.noise, *shared)
        for cut in (1, 4, 10):
            state, outputs, pieces = case.state, [], [(0, cut), (cut, 11)]
            for start, stop in reversed(pieces) if specification.reverse else pieces:
                run = ops.forward(
                    case.x[:, start:stop], case.weights, state, case.mask[:, start:stop],
                    case.noise.piece(start, stop), *shared,
                )  # fmt: skip
                state = run.final_state
                outputs.append((start, run.outputs))
            joined = torch.cat([one for _, one in sorted(outputs, key=lambda o: o[0])], dim=1)
            assert torch.equal(joined, whole.outputs)
            for one, expected in zip(state, whole.final_state, strict=True):
                assert torch.equal(one, expected)


@needs_native
@each_cell
def test_a_row_is_the_same_alone(specification: Specification) -> None:
    case = _float32(Case(specification, (13, 5, 9, 37)))
    whole = [*case.run("cpu")]
    grads = torch.autograd.grad(case.loss(whole), [case.x, *case.state])
    assert case.mask is not None
    for row in (1, 7, 12):
        one = slice(row, row + 1)
        alone = Case(specification, (13, 5, 9, 37))
        alone.x = case.x.detach()[one].requires_grad_()
        alone.weights = case.weights
        alone.state = [part.detach()[one].requires_grad_() for part in case.state]
        alone.mask, alone.noise = case.mask[one], case.noise.rows(one)
        alone.cotangents = [cotangent[one] for cotangent in case.cotangents]
        results = alone.run("cpu")
        found = torch.autograd.grad(alone.loss(results), [alone.x, *alone.state])
        for value, expected in zip([*results, *found], [*whole, *grads], strict=True):
            assert torch.equal(value, expected[one])


@needs_native
@each_cell
def test_single_precision_is_close_to_double(specification: Specification) -> None:
    """At most twice as far off as the reference in single precision, and 4 ulp."""
    sizes = (5, 20, 12, 33)
    exact = Case(specification, sizes)
    results = exact.equation()
    wanted = [results[0], *results[2:], *torch.autograd.grad(exact.loss(results), exact.leaves)]
    errors = []
    for kernel in ("reference", "cpu"):
        case = _float32(Case(specification, sizes))
        results = case.run(kernel)
        grads = torch.autograd.grad(case.loss(results), case.leaves)
        found = [results[0], *results[2:], *grads]  # the last h is one of the outputs
        errors.append(
            [(one - two).abs().max().item() for one, two in zip(found, wanted, strict=True)]
        )
    for reference_error, error, value in zip(*errors, wanted, strict=True):
        ulp = torch.finfo(torch.float32).eps * value.abs().max().item()
        assert error <= 2 * reference_error + 4 * ulp


@needs_native
@each_cell
def test_any_strides_are_taken(specification: Specification) -> None:
    case = Case(specification, (3, 5, 4, 7))
    expected = case.run("cpu")
    with torch.no_grad():
        shares = [mask if mask is None else _transposed(mask) for mask in case.noise[1:]]
    case.noise = Noise(case.noise.recurrent_dropout, *shares)
    for one, other in zip(case.run("cpu"), expected, strict=True):
        assert torch.equal(one, other)
    rate = torch.full((7,), 0.25, dtype=torch.float64).expand(3, 5, 7)
    case.noise = case.noise._replace(zoneout_h=rate)
    again = case.run("cpu")
    case.noise = case.noise._replace(zoneout_h=rate.contiguous())
    for one, other in zip(case.run("cpu"), again, strict=True):
        assert torch.equal(one, other)


def _transposed(mask: Tensor) -> Tensor:
    """The same numbers, time first and every other column of a wider memory."""
    batch, steps, units = mask.shape
    wide = mask.new_zeros(steps, batch, 2 * units)
    view = wide[..., ::2].transpose(0, 1)
    view.copy_(mask)
    return view
