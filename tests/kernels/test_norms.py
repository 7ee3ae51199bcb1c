"""Projection and layer normalization: the kernels against the equation, that against torch."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gatewise.cells import Noise, Specification, Weights, input_product, scan
from gatewise.cells.normalization import EPSILON
from gatewise.cells.weights import weight_names
from gatewise.errors import InputError
from gatewise.kernels import Pass, Request, choose, cpu, ops, recurrent

PROJECTED = Specification("lstm", projection=True)
NORMALIZED = Specification("lstm", layer_norm=True)
BOTH = Specification("lstm", projection=True, layer_norm=True)
REVERSED = Specification(
    "lstm", "softsign", "hard_sigmoid", reverse=True, projection=True, layer_norm=True
)
SPECIFICATIONS = [
    PROJECTED,
    NORMALIZED,
    BOTH,
    REVERSED,
    Specification("cifg", projection=True, layer_norm=True),
    Specification("lstm", peephole=True, cell_clip=0.3, projection=True, layer_norm=True),
    Specification("gru", layer_norm=True),
    Specification("gru", "softsign", "hard_sigmoid", reverse=True, layer_norm=True),
]
needs_native = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

each_kernel = pytest.mark.parametrize(
    "kernel", [pytest.param("cpu", marks=needs_native), "reference"]
)
each_equation = pytest.mark.parametrize("specification", SPECIFICATIONS, ids=Specification.encode)


def each_run(test: Any) -> Any:
    """Run a test with every specification and kernel."""
    return each_kernel(each_equation(test))


def each_native(test: Any) -> Any:
    """Run a test of the native kernel with every specification."""
    return needs_native(each_equation(test))


class Case:
    """The tensors of one call, drawn from a fixed seed; sizes are B, T, I, H and P."""

    def __init__(
        self, specification: Specification, sizes: tuple[int, int, int, int, int] = (3, 5, 4, 7, 3),
        *, bias: bool = True, mask: bool = True, dropout: bool = True, zoneout: bool = False,
        dtype: torch.dtype = torch.float64,
    ) -> None:  # fmt: skip
        batch, steps, inputs, units, hidden = sizes
        hidden = hidden if specification.projection else units
        generator = torch.Generator().manual_seed(sum(sizes))

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)

        columns = units * len(specification.gates)
        shapes = {
            "peephole": (len(specification.peepholes), units),
            "projection": (units, hidden),
            "input_gain": (columns,),
            "recurrent_gain": (columns,),
            "cell_gain": (units,),
            "cell_bias": (units,),
        }
        weights = [draw(inputs, columns), draw(hidden, columns) / units**0.5]
        if bias:
            weights.append(draw(*((2, columns) if specification.two_biases else (columns,))))
        weights += [draw(*shapes[name]) / 2 for name in specification.extra_weights]
        self.specification = specification
        self.x = draw(batch, steps, inputs).requires_grad_()
        self.weights = [weight.requires_grad_() for weight in weights]
        widths = (hidden, units)[: len(specification.states)]
        self.state = [draw(batch, width).requires_grad_() for width in widths]
        self.mask = torch.rand(batch, steps, generator=generator) > 0.4 if mask else None
        kept = [(draw(batch, steps, width) > 0).to(dtype) for width in widths]
        self.noise = Noise(
            (draw(batch, hidden) > -0.5).to(dtype) / 0.7 if dropout else None,
            *(kept if zoneout else ()),
        )
        self.cotangents = [draw(batch, steps, hidden), *(draw(batch, width) for width in widths)]

    @property
    def leaves(self) -> list[Tensor]:
        return [self.x, *self.weights, *self.state]

    def loss(self, results: Sequence[Tensor]) -> Tensor:
        pairs = zip(results, self.cotangents, strict=True)
        return torch.stack([(result * cotangent).sum() for result, cotangent in pairs]).sum()

    def grads(self, results: Sequence[Tensor]) -> tuple[Tensor, ...]:
        return torch.autograd.grad(self.loss(results), self.leaves)

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

    def shared(self, kernel: str) -> tuple:
        return self.weights, self.state, self.mask, self.noise, self.specification, kernel


def assert_close(ours: Sequence[Tensor], expected: Sequence[Tensor], tolerance: float) -> None:
    for one, other in zip(ours, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


@needs_native
def test_the_projected_lstm_is_torchs() -> None:
    case = Case(PROJECTED, mask=False, dropout=False)
    taken = Weights.of(case.weights, PROJECTED)
    assert taken.bias is not None and taken.projection is not None
    theirs = nn.LSTM(4, 7, proj_size=3, batch_first=True, dtype=torch.float64)
    values = (taken.W.t(), taken.U.t(), taken.bias, torch.zeros(28), taken.projection.t())
    with torch.no_grad():
        for parameter, value in zip(theirs.parameters(), values, strict=True):
            parameter.copy_(value)
    outputs, state = theirs(case.x, tuple(part[None] for part in case.state))
    expected = [outputs, *(part[0] for part in state)]
    assert_close(case.equation(), expected, 1e-12)
    ours = torch.autograd.grad(case.loss(case.run("cpu")), case.leaves)
    of_torch = torch.autograd.grad(case.loss(expected), [case.x, *theirs.parameters(), *case.state])
    dx, dW, dU, db, _, projection, *states = of_torch
    assert_close(ours, [dx, dW.t(), dU.t(), db, projection.t(), *states], 1e-11)


def normalized(values: Tensor, gain: Tensor | None, bias: Tensor | None = None) -> Tensor:
    return functional.layer_norm(values, values.shape[-1:], gain, bias, EPSILON)


@pytest.mark.parametrize("specification", [NORMALIZED, BOTH], ids=Specification.encode)
def test_the_normalized_lstm_is_the_papers(specification: Specification) -> None:
    case = Case(specification, mask=False)
    taken = Weights.of(case.weights, specification)
    assert taken.bias is not None and case.noise.recurrent_dropout is not None
    (h, c), outputs = case.state, []
    for t in range(case.x.shape[1]):
        total = normalized(case.x[:, t] @ taken.W, taken.input_gain) + taken.bias
        seen = (h * case.noise.recurrent_dropout) @ taken.U
        i, f, g, o = (total + normalized(seen, taken.recurrent_gain)).chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * normalized(c, taken.cell_gain, taken.cell_bias).tanh()
        h = h if taken.projection is None else h @ taken.projection
        outputs.append(h)
    assert_close(case.equation(), [torch.stack(outputs, dim=1), h, c], 1e-12)


def test_the_normalized_gru_is_the_papers() -> None:
    case = Case(Specification("gru", layer_norm=True), mask=False, dropout=False)
    W, U, bias, gain_x, gain_h = case.weights
    (h,), outputs = case.state, []
    for t in range(case.x.shape[1]):
        x, q = case.x[:, t] @ W, h @ U
        x_zr = normalized(x[:, :14], gain_x[:14]) + bias[0, :14]
        q_zr = normalized(q[:, :14], gain_h[:14]) + bias[1, :14]
        z, r = (x_zr + q_zr).sigmoid().chunk(2, dim=1)
        given = normalized(x[:, 14:], gain_x[14:]) + bias[0, 14:]
        n = (given + r * (normalized(q[:, 14:], gain_h[14:]) + bias[1, 14:])).tanh()
        h = z * h + (1 - z) * n
        outputs.append(h)
    assert_close(case.equation(), [torch.stack(outputs, dim=1), h], 1e-12)


@each_run
def test_kernel_equals_equation(kernel: str, specification: Specification) -> None:
    for mask, dropout, bias in itertools.product([True, False], repeat=3):
        case = Case(specification, mask=mask, dropout=dropout, bias=bias)
        results, expected = case.run(kernel), case.equation()
        assert_close(results, expected, 1e-12)
        assert_close(case.grads(results), case.grads(expected), 1e-11)


@each_equation
def test_zoneout_keeps_of_the_projected_h(specification: Specification) -> None:
    for kernel in ("auto", "reference") if cpu.available() else ("reference",):
        case = Case(specification, zoneout=True)
        results, expected = case.run(kernel), case.equation()
        assert_close(results, expected, 1e-12)
        assert_close(case.grads(results), case.grads(expected), 1e-11)


@each_run
@pytest.mark.parametrize(
    "sizes", [(1, 1, 1, 1, 1), (1, 13, 5, 63, 17), (17, 2, 3, 64, 64), (2, 9, 1, 17, 30)]
)
def test_odd_sizes(
    kernel: str, specification: Specification, sizes: tuple[int, int, int, int, int]
) -> None:
    case = Case(specification, sizes)
    results, expected = case.run(kernel), case.equation()
    assert_close(results, expected, 1e-11)
    assert_close(case.grads(results), case.grads(expected), 1e-9)


@each_native
def test_single_precision_is_as_good_as_the_references(specification: Specification) -> None:
    case = Case(specification, (4, 6, 20, 63, 31), dtype=torch.float32)
    exact = Case(specification, (4, 6, 20, 63, 31))
    found = {kernel: case.run(kernel) for kernel in ("cpu", "reference")}
    expected = exact.equation()
    truths = [*expected, *exact.grads(expected)]
    errors = {
        kernel: [
            (one.double() - truth).abs().max().item()
            for one, truth in zip([*results, *case.grads(results)], truths, strict=True)
        ]
        for kernel, results in found.items()
    }
    for ours, theirs, truth in zip(errors["cpu"], errors["reference"], truths, strict=True):
        assert ours <= 2 * theirs + 4 * 2.0**-23 * truth.abs().max().item()


@each_equation
def test_gradcheck_of_the_equation(specification: Specification) -> None:
    case = Case(specification, (2, 3, 2, 3, 2))

    def function(*leaves: Tensor) -> tuple[Tensor, ...]:
        case.x, *rest = leaves
        case.weights, case.state = rest[: len(case.weights)], rest[len(case.weights) :]
        return tuple(case.equation())

    assert torch.autograd.gradcheck(function, case.leaves)


@each_run
def test_second_derivative(kernel: str, specification: Specification) -> None:
    case = Case(specification, (2, 3, 2, 3, 2))

    def second(results: Sequence[Tensor]) -> tuple[Tensor, ...]:
        first = torch.autograd.grad(case.loss(results), case.leaves, create_graph=True)
        penalty = torch.stack([(grad**2).sum() for grad in first]).sum()
        return torch.autograd.grad(penalty, case.leaves)

    assert_close(second(case.run(kernel)), second(case.equation()), 1e-8)


@each_run
def test_padding_never_changes_a_bit(kernel: str, specification: Specification) -> None:
    case = Case(specification, (4, 6, 3, 5, 2))
    case.mask = torch.tensor([[1, 1, 1, 0, 0, 0], [0, 0, 1, 1, 1, 1], [0] * 6, [1, 0, 1, 0, 1, 1]])
    case.mask = case.mask.bool()
    first = case.run(kernel)
    first_grads = case.grads(first)
    with torch.no_grad():
        case.x[~case.mask] = float("nan")
    second = case.run(kernel)
    for one, other in zip([*first, *first_grads], [*second, *case.grads(second)], strict=True):
        assert torch.equal(one, other)
    assert torch.equal(second[0][2], case.state[0][2].expand(6, -1))


@each_run
def test_weight_gradients_by_sample_and_step_add_up(
    kernel: str, specification: Specification
) -> None:
    case = Case(specification)
    with torch.no_grad():
        saved = ops.forward(case.x, *case.shared(kernel))
        cotangents, _, _ = ops.backward_scan(
            case.cotangents[0], case.cotangents[1:], saved, *case.shared(kernel)
        )
        whole, *parts = (
            ops.weight_gradient(case.x, saved, cotangents, *case.shared(kernel), reduce)
            for reduce in ops.REDUCTIONS
        )
    assert_close(whole, torch.autograd.grad(case.loss(case.equation()), case.weights), 1e-11)
    for grads in parts:
        assert_close([grad.sum(0) for grad in grads], whole, 1e-11)


@each_native
def test_either_kernel_takes_the_way_back_of_the_other(specification: Specification) -> None:
    case = Case(specification)
    runs = {kernel: ops.forward(case.x, *case.shared(kernel)) for kernel in ("cpu", "reference")}
    assert_close(runs["cpu"][2:3], runs["reference"][2:3], 1e-12)
    assert case.mask is not None
    real = case.mask.unsqueeze(-1)  # at masked steps a GRU's first numbers may be any
    assert_close([runs["cpu"].saved * real], [runs["reference"].saved * real], 1e-12)
    for there, back in [("cpu", "reference"), ("reference", "cpu")]:
        shared = case.shared(back)
        rows, _, _ = ops.backward_scan(
            case.cotangents[0], case.cotangents[1:], runs[there], *shared
        )
        grads = ops.weight_gradient(case.x, runs[there], rows, *shared)
        expected = torch.autograd.grad(case.loss(case.equation()), case.weights)
        assert_close(grads, expected, 1e-11)


def bits(case: Case) -> Iterator[Tensor]:
    results = case.run("cpu")
    yield from results
    yield from case.grads(results)


@each_native
@pytest.mark.parametrize("sizes", [(7, 5, 20, 130, 70), (1, 4, 40, 520, 260)])
def test_any_number_of_threads_gives_the_same_bits(
    specification: Specification, sizes: tuple[int, int, int, int, int]
) -> None:
    case = Case(specification, sizes, dtype=torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(list(bits(case)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))


@each_native
def test_any_pieces_of_a_series_give_the_same_bits(specification: Specification) -> None:
    case = Case(specification, (5, 12, 6, 33, 17), mask=True, dtype=torch.float32)
    whole = [part.detach() for part in case.run("cpu")]
    if specification.reverse:
        pieces = [slice(7, 12), slice(3, 7), slice(0, 3)]
    else:
        pieces = [slice(0, 1), slice(1, 8), slice(8, 12)]
    state, outputs = case.state, torch.full_like(whole[0], float("nan"))
    for piece in pieces:
        assert case.mask is not None
        part, state = recurrent(
            case.x[:, piece], case.weights, state, specification=specification,
            mask=case.mask[:, piece], noise=case.noise, kernel="cpu",
        )  # fmt: skip
        outputs[:, piece] = part.detach()
    assert torch.equal(outputs, whole[0])
    assert all(torch.equal(one, two) for one, two in zip(state, whole[1:], strict=True))
    alone = recurrent(
        case.x[2:3], case.weights, [part[2:3] for part in case.state], kernel="cpu",
        specification=specification, mask=case.mask[2:3], noise=case.noise.rows(slice(2, 3)),
    )  # fmt: skip
    assert torch.equal(alone[0][0], whole[0][2])


@each_native
def test_recomputed_gates_give_the_same_bits(specification: Specification) -> None:
    case = Case(specification, (70, 130, 3, 5, 2))  # goes back by two parts of the rows
    kept, _ = recurrent(
        case.x, case.weights, case.state, specification=specification, mask=case.mask,
        noise=case.noise, kernel="cpu",
    )  # fmt: skip
    again, _ = recurrent(
        case.x, case.weights, case.state, specification=specification, mask=case.mask,
        noise=case.noise, kernel="cpu", recompute="gates",
    )  # fmt: skip
    grads = [
        torch.autograd.grad((one * case.cotangents[0]).sum(), case.leaves) for one in (kept, again)
    ]
    assert all(torch.equal(one, two) for one, two in zip(*grads, strict=True))


@each_run
def test_compiled_equals_eager(kernel: str, specification: Specification) -> None:
    torch.compiler.reset()
    case = Case(specification)
    compiled = torch.compile(
        lambda: case.run(kernel), fullgraph=True, dynamic=False, backend="aot_eager"
    )
    results, expected = compiled(), case.run(kernel)
    assert_close(results, expected, 1e-12)
    assert_close(case.grads(results), case.grads(expected), 1e-11)


@each_run
def test_per_sample_gradients(kernel: str, specification: Specification) -> None:
    case = Case(specification, mask=False, dropout=False)
    x, weights = case.x.detach(), tuple(weight.detach() for weight in case.weights)
    state = [part.detach()[:1] for part in case.state]

    def loss(weights: tuple[Tensor, ...], x: Tensor) -> Tensor:
        outputs, _ = recurrent(
            x[None], list(weights), state, specification=specification, kernel=kernel
        )
        return (outputs**2).sum()

    together = torch.func.vmap(torch.func.grad(loss), in_dims=(None, 0))(weights, x)
    for n in range(len(x)):
        one = torch.func.grad(loss)(weights, x[n])
        assert_close([grad[n] for grad in together], one, 1e-12)


@each_equation
def test_a_specification_survives_its_text(specification: Specification) -> None:
    assert Specification.decode(specification.encode()) == specification


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(InputError, match="the h of a gru is its memory"):
        Specification("gru", projection=True)
    with pytest.raises(InputError, match="not for a simple_rnn"):
        Specification("simple_rnn", layer_norm=True)
    with pytest.raises(InputError, match="Use reset_after=True"):
        Specification("gru", reset_after=False, layer_norm=True)


def test_cudnn_says_why_it_cannot_serve() -> None:
    for specification, word in [(PROJECTED, "projection"), (NORMALIZED, "layer normalization")]:
        assert word in choose(Request(specification, "cuda", torch.float32)).reason


@each_native
def test_the_native_kernel_serves(specification: Specification) -> None:
    for precision in ("float32", "bfloat16"):
        choice = choose(Request(specification.at(precision), "cpu", torch.float32))
        assert choice.kernel == "cpu", choice.reason


@each_equation
def test_products_in_bfloat16_are_the_equations(specification: Specification) -> None:
    """The way back of the reference and autograd round the same operands."""
    rounded = specification.at("bfloat16")
    case, plain = Case(rounded), Case(specification)
    results, expected = case.run("reference"), case.equation()
    assert_close(results, expected, 1e-12)
    assert not torch.equal(results[0], plain.equation()[0])
    names = ["x", *weight_names(case.weights, rounded), *specification.states]
    pairs = zip(names, case.grads(results), case.grads(expected), strict=True)
    for name, ours, theirs in pairs:
        # A bias's gradient is a product with ones, whose operands autograd does not round.
        tolerance = 0.1 if name == "bias" else 1e-10
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance, msg=name)


@each_native
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1, 1), (1, 9, 5, 63, 17), (17, 4, 3, 64, 64)])
@pytest.mark.parametrize("masked", [False, True])
def test_bfloat16_error_is_that_of_the_rounded_equation(
    specification: Specification, sizes: tuple[int, int, int, int, int], masked: bool
) -> None:
    """Most numbers far nearer to the rounded equation than a rounding, none much beyond one.

    A number between two bfloat16 may be rounded either way once its last float32 bit differs, and a
    normalization or a projection hands some of that to every number after it.
    """
    rounded = specification.at("bfloat16")
    noise = {"mask": masked, "dropout": masked, "zoneout": masked}
    exact = Case(rounded, sizes, **noise)
    truths = exact.run("reference")
    truths += exact.grads(truths)
    case = Case(rounded, sizes, dtype=torch.float32, **noise)
    found = {}
    for kernel in ("cpu", "reference"):
        results = case.run(kernel)
        found[kernel] = [*results, *case.grads(results)]
    names = ["outputs", *specification.states, "dx"]
    names += [f"d {name}" for name in weight_names(case.weights, rounded)]
    names += [f"d {name} before" for name in specification.states]
    for name, truth, ours, theirs in zip(names, truths, *found.values(), strict=True):
        error, other = (ours - truth).abs(), (theirs - truth).abs()
        largest = truth.abs().max()
        assert error.median() <= 2 * other.median() + 2**-15 * largest, name
        assert error.max() <= 2 * other.max() + 4 * 2**-8 * largest, name


@each_native
def test_bfloat16_gives_the_same_bits_in_any_pieces_and_threads(
    specification: Specification,
) -> None:
    case = Case(specification.at("bfloat16"), (7, 5, 20, 130, 70), dtype=torch.float32)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(list(bits(case)))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(one, two) for one, two in zip(found[0], other, strict=True))
    state, outputs = case.state, torch.full_like(found[0][0], float("nan"))
    pieces = [slice(0, 2), slice(2, 5)]
    for piece in reversed(pieces) if specification.reverse else pieces:
        assert case.mask is not None
        part, state = recurrent(
            case.x[:, piece], case.weights, state, specification=case.specification,
            mask=case.mask[:, piece], noise=case.noise, kernel="cpu",
        )  # fmt: skip
        outputs[:, piece] = part.detach()
    assert torch.equal(outputs, found[0][0])


@each_equation
def test_kernels_that_know_no_options_leave_them_alone(specification: Specification) -> None:
    case = Case(specification)
    given = Pass(specification, "cpu", case.x, case.weights, case.state, None)
    assert not given.plainly_native
    assert given._replace(specification=Specification("lstm")).plainly_native
