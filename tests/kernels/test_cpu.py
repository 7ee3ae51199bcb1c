"""The native kernels against the equations: every result at odd sizes, and the promised bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

from gatewise import cells
from gatewise.cells import NO_NOISE, Noise, Specification
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import cpu, reference

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())

SPECIFICATIONS = [
    Specification("lstm"),
    Specification("gru"),
    Specification("gru", reset_after=False),
    Specification("simple_rnn"),
]
SIZES = [(1, 1, 1, 1), (3, 5, 5, 63), (2, 1, 7, 8), (7, 6, 33, 16), (19, 3, 1, 70)]  # B, T, I, H
each_cell = pytest.mark.parametrize("specification", SPECIFICATIONS, ids=Specification.encode)
BFLOAT16 = [specification.at("bfloat16") for specification in SPECIFICATIONS]
each_precision = pytest.mark.parametrize(
    "specification", SPECIFICATIONS + BFLOAT16, ids=Specification.encode
)
each_bfloat16 = pytest.mark.parametrize("specification", BFLOAT16, ids=Specification.encode)
each_size = pytest.mark.parametrize("sizes", SIZES, ids=str)


@dataclass
class Problem:
    """One call of the kernels, with a cotangent for every result."""

    specification: Specification
    x: Tensor
    weights: list[Tensor]
    state: list[Tensor]
    mask: Tensor | None
    noise: Noise
    grad_outputs: Tensor
    grad_final: list[Tensor]
    scale: Tensor | None = None

    def to(self, dtype: torch.dtype) -> Problem:
        def cast(tensor: Tensor | None) -> Tensor | None:
            return tensor if tensor is None or tensor.dtype == torch.bool else tensor.to(dtype)

        changed = {
            name: [cast(item) for item in value] if isinstance(value, list) else cast(value)
            for name, value in vars(self).items()
            if name not in ("specification", "noise")
        }
        return replace(self, **changed, noise=self.noise.to(dtype))


def make_problem(
    specification: Specification,
    sizes: tuple[int, int, int, int],
    *,
    masked: bool = False,
    bias: bool = True,
    seed: int = 0,
) -> Problem:
    """Draw a problem; a masked one has holes, left padding, an empty row, dropout and a scale."""
    random = torch.Generator().manual_seed(seed)
    batch, time, inputs, units = sizes

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random, dtype=torch.float64)

    columns = len(specification.gates) * units
    weights = [normal(inputs, columns) / inputs**0.5, normal(units, columns) / units**0.5]
    if bias:
        weights.append(normal(*((2, columns) if specification.two_biases else (columns,))))
    mask = None
    if masked:
        mask = torch.rand(batch, time, generator=random) > 0.4
        mask[0] = False
        mask[-1, : time // 2] = False
    return Problem(
        specification=specification,
        x=normal(batch, time, inputs),
        weights=weights,
        state=[normal(batch, units) for _ in specification.states],
        mask=mask,
        noise=Noise((normal(batch, units) > -0.5).double() / 0.7) if masked else NO_NOISE,
        grad_outputs=normal(batch, time, units),
        grad_final=[normal(batch, units) for _ in specification.states],
        scale=torch.rand(time, generator=random, dtype=torch.float64) if masked else None,
    )


def run(
    problem: Problem,
    kernel=cpu,
    *,
    path: str = "full",
    reduce: str = "all",
    measured: bool = True,
) -> dict[str, Tensor]:
    """Run all four functions of a kernel; the results by name."""
    p = problem
    shared = (p.weights, p.state, p.mask, p.noise, p.specification)
    outputs, final, gates, saved = kernel.forward(p.x, *shared, True)
    grad_product, grad_state, norms = kernel.backward_scan(
        p.grad_outputs, p.grad_final, outputs, gates, saved, *shared, p.scale, path, measured
    )
    gradients = kernel.weight_gradient(p.x, outputs, gates, saved, grad_product, *shared, reduce)
    grad_x = kernel.input_gradient(grad_product, p.weights, p.mask, p.specification)
    if p.mask is not None and p.specification.cell != "lstm" and saved.numel():
        saved = torch.where(p.mask.unsqueeze(-1), saved, 0)  # unspecified there
    results = {"outputs": outputs, "gates": gates, "saved": saved, "dP": grad_product}
    results |= {"norms": norms, "dx": grad_x}
    results |= {f"final {i}": value for i, value in enumerate(final)}
    results |= {f"d(state {i})": value for i, value in enumerate(grad_state)}
    names = ("dW", "dU", "db")[: len(gradients)]
    return results | dict(zip(names, gradients, strict=True))


def assert_close(actual: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    for name, value in expected.items():
        assert actual[name].shape == value.shape, name
        torch.testing.assert_close(
            actual[name],
            value,
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, n=name: f"{n}: {text}",
        )


def assert_same_bits(actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    for name, value in expected.items():
        assert torch.equal(actual[name], value), f"{name} differs"


@pytest.fixture(autouse=True)
def uninitialized_memory_is_nan() -> Iterator[None]:
    """Fill whatever the kernels are given to write with NaN, so that an element left out shows."""
    torch.use_deterministic_algorithms(True)
    assert torch.zeros(1).new_empty(8).isnan().all()
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def threads() -> Iterator[None]:
    """Give the number of threads back after a test that sets it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


# Against the equations


@each_cell
@each_size
@pytest.mark.parametrize("reverse", [False, True])
def test_autograd_on_the_equation_gives_the_same(
    specification: Specification, sizes: tuple[int, int, int, int], reverse: bool
) -> None:
    problem = make_problem(replace(specification, reverse=reverse), sizes, masked=True)
    problem.scale = None
    leaves = [problem.x, *problem.weights, *problem.state]
    for leaf in leaves:
        leaf.requires_grad_()
    product = cells.input_product(problem.x, problem.weights, problem.mask, problem.specification)
    scan = cells.scan(
        product,
        problem.weights,
        problem.state,
        problem.mask,
        problem.noise,
        problem.specification,
    )
    results = [scan.outputs, *scan.final_state]
    expected = torch.autograd.grad(results, leaves, [problem.grad_outputs, *problem.grad_final])
    for leaf in leaves:
        leaf.requires_grad_(False)
    actual = run(problem)
    assert_close(actual, {"outputs": scan.outputs, "final 0": scan.final_state[0]}, 1e-12)
    names = ["dx", "dW", "dU", "db", *(f"d(state {i})" for i in range(len(problem.state)))]
    assert_close(actual, dict(zip(names, expected, strict=True)), 1e-12)


@each_cell
@each_size
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("path", ["full", "diagonal", "cell"])
def test_every_path_equals_the_reference(
    specification: Specification, sizes: tuple[int, int, int, int], masked: bool, path: str
) -> None:
    problem = make_problem(specification, sizes, masked=masked, bias=not masked)
    assert_close(run(problem, path=path), run(problem, reference, path=path), 1e-12)


@each_cell
@pytest.mark.parametrize("reduce", ["sample", "step"])
@pytest.mark.parametrize("masked", [False, True])
def test_gradients_apart_for_each_sample_or_step(
    specification: Specification, reduce: str, masked: bool
) -> None:
    problem = make_problem(specification, (6, 7, 5, 19), masked=masked)
    actual = run(problem, reduce=reduce)
    assert_close(actual, run(problem, reference, reduce=reduce), 1e-12)
    whole = run(problem)
    for name in ("dW", "dU", "db"):
        torch.testing.assert_close(actual[name].sum(0), whole[name])


@each_cell
@pytest.mark.parametrize("activation", ["linear", "relu", "hard_sigmoid", "softsign", "sigmoid"])
@pytest.mark.parametrize("recurrent_activation", ["hard_sigmoid", "tanh"])
def test_activations(
    specification: Specification, activation: str, recurrent_activation: str
) -> None:
    chosen = replace(
        specification, activation=activation, recurrent_activation=recurrent_activation
    )
    problem = make_problem(chosen, (4, 3, 6, 21))
    assert_close(run(problem), run(problem, reference), 1e-11)


@each_cell
def test_absent_cotangents_are_zeros(specification: Specification) -> None:
    p = make_problem(specification, (3, 4, 5, 6))
    shared = (p.weights, p.state, None, NO_NOISE, p.specification)
    outputs, _, gates, saved = cpu.forward(p.x, *shared, True)

    def scan(grad_outputs: Tensor | None, grad_final: list[Tensor | None]) -> Tensor:
        return cpu.backward_scan(
            grad_outputs, grad_final, outputs, gates, saved, *shared, None, "full", False
        )[0]

    zeros = [torch.zeros_like(grad) for grad in p.grad_final]
    assert torch.equal(scan(None, p.grad_final), scan(0 * p.grad_outputs, p.grad_final))
    assert torch.equal(scan(p.grad_outputs, [None] * len(zeros)), scan(p.grad_outputs, zeros))


@each_cell
@pytest.mark.parametrize("masked", [False, True])
def test_inference_keeps_nothing_and_computes_the_same(
    specification: Specification, masked: bool
) -> None:
    p = make_problem(specification, (5, 9, 4, 30), masked=masked)
    arguments = (p.x, p.weights, p.state, p.mask, p.noise, p.specification)
    outputs, final, gates, saved = cpu.forward(*arguments, False)
    expected = cpu.forward(*arguments, True)
    assert gates.numel() == saved.numel() == 0
    assert torch.equal(outputs, expected[0])
    for value, other in zip(final, expected[1], strict=True):
        assert torch.equal(value, other)


# Accuracy


@each_cell
@pytest.mark.parametrize("masked", [False, True])
def test_single_precision_error_is_that_of_the_equation(
    specification: Specification, masked: bool
) -> None:
    """At most twice the error of the equation in float32, plus four units in the last place."""
    exact = make_problem(specification, (9, 40, 50, 100), masked=masked)
    truth = run(exact, reference)
    single = exact.to(torch.float32)
    actual, peer = run(single), run(single, reference)
    for name, value in truth.items():
        if value.numel() == 0:
            continue
        unit = torch.finfo(torch.float32).eps * value.abs().max()
        allowed = 2 * (peer[name] - value).abs().max() + 4 * unit
        assert (actual[name] - value).abs().max() <= allowed, name


@each_bfloat16
@each_size
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reduce", ["all", "sample", "step"])
def test_bfloat16_error_is_that_of_the_rounded_equation(
    specification: Specification, sizes: tuple[int, int, int, int], masked: bool, reduce: str
) -> None:
    """Most numbers as near to the rounded equation as float32 is, none much beyond a rounding.

    A number that lies between two bfloat16 may be rounded either way once its last float32 bit
    differs, and what is computed from it then differs by a bfloat16 rounding.
    """
    exact = make_problem(specification, sizes, masked=masked)
    truth = run(exact, reference, reduce=reduce)
    single = exact.to(torch.float32)
    actual, peer = run(single, reduce=reduce), run(single, reference, reduce=reduce)
    for name, value in truth.items():
        if value.numel() == 0:
            continue
        largest = value.abs().max()
        error, other = (actual[name] - value).abs(), (peer[name] - value).abs()
        assert error.median() <= 2 * other.median() + 16 * 2**-24 * largest, name
        assert error.max() <= 2 * other.max() + 2 * 2**-8 * largest, name


@each_bfloat16
@each_size
def test_one_step_of_rounded_operands_is_exact_to_float32(
    specification: Specification, sizes: tuple[int, int, int, int]
) -> None:
    """Where no rounded number depends on another, the error is that of float32 alone."""
    batch, _, inputs, units = sizes
    exact = make_problem(specification, (batch, 1, inputs, units))
    truth, actual = run(exact, reference), run(exact.to(torch.float32))
    plain = run(replace(exact, specification=specification.at("float32")), reference)
    dependent = {("gru", False): ("outputs", "final 0", "gates")}
    for name in ("outputs", "final 0", "gates", "saved"):
        if name in dependent.get((specification.cell, specification.reset_after), ()):
            continue  # r h is rounded, and r is itself a sum
        torch.testing.assert_close(actual[name].double(), truth[name], rtol=3e-6, atol=3e-6)
    assert (plain["outputs"] - truth["outputs"]).abs().max() > 1e-5


# The same bits


each_type = pytest.mark.parametrize(
    ("specification", "dtype"),
    [(one, torch.float32) for one in SPECIFICATIONS + BFLOAT16]
    + [(one, torch.float64) for one in SPECIFICATIONS],
    ids=str,
)


@each_type
@pytest.mark.parametrize("reduce", ["all", "sample", "step"])
def test_any_number_of_threads_gives_the_same_bits(
    specification: Specification, dtype: torch.dtype, reduce: str, threads: None
) -> None:
    problem = make_problem(specification, (11, 12, 40, 70), masked=True).to(dtype)
    torch.set_num_threads(1)
    expected = run(problem, reduce=reduce)
    for count in (2, 3, 5):
        torch.set_num_threads(count)
        assert_same_bits(run(problem, reduce=reduce), expected)


@each_cell
@pytest.mark.parametrize("kernel", [reference, cpu], ids=["reference", "cpu"])
def test_a_masked_step_receives_no_gradient_whatever_the_weights(
    specification: Specification, kernel: ModuleType
) -> None:
    problem = make_problem(specification, (5, 50, 33, 20), masked=True)
    problem.weights[0][4, 0] = float("inf")
    assert problem.mask is not None
    masked = ~problem.mask
    dP = torch.randn(5, 50, problem.weights[0].shape[1], dtype=torch.float64)
    dP[masked] = 0
    dx = kernel.input_gradient(dP, problem.weights, problem.mask, specification)
    assert (dx[masked] == 0).all()
    assert dx[problem.mask][:, 4].isinf().all()
    finite = [column for column in range(33) if column != 4]
    plain = kernel.input_gradient(dP, problem.weights, None, specification)
    torch.testing.assert_close(dx[..., finite], plain[..., finite])
    nowhere = torch.zeros_like(problem.mask)
    assert (kernel.input_gradient(dP, problem.weights, nowhere, specification) == 0).all()


@each_type
def test_lengths_that_differ_much_give_the_same_bits_with_any_number_of_threads(
    specification: Specification, dtype: torch.dtype, threads: None
) -> None:
    """Rows are dealt out to the threads by their real steps."""
    problem = make_problem(specification, (17, 20, 40, 70)).to(dtype)
    lengths = torch.tensor([20, 20, 1, 1, 0, 3, 20, 7, 1, 1, 1, 19, 2, 20, 5, 5, 0])
    problem = replace(problem, mask=torch.arange(20) < lengths[:, None])
    torch.set_num_threads(1)
    expected = run(problem)
    for count in (2, 3, 5):
        torch.set_num_threads(count)
        assert_same_bits(run(problem), expected)


@each_precision
def test_x_beside_h_and_ahead_of_it_give_the_same_bits(
    specification: Specification, threads: None
) -> None:
    """Which of them it is depends on the rows of a thread, where the weights are many."""
    problem = make_problem(specification, (33, 3, 200, 210), masked=True).to(torch.float32)
    torch.set_num_threads(1)
    expected = run(problem)
    for count in (2, 3, 5):
        torch.set_num_threads(count)
        assert_same_bits(run(problem), expected)


@each_cell
def test_a_wide_layer_whose_weight_gradient_is_computed_by_parts(
    specification: Specification, threads: None
) -> None:
    # Three blocks of steps, more rows of results than are taken at once, sums beyond the caches.
    problem = make_problem(specification, (4, 55, 700, 720), masked=True)
    torch.set_num_threads(2)
    assert_close(run(problem), run(problem, reference), 1e-9)
    single = problem.to(torch.float32)
    two = run(single, measured=False)
    torch.set_num_threads(1)
    assert_same_bits(run(single, measured=False), two)


@each_precision
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [(5, 4, 30, 450), (1, 60, 9, 224), (3, 80, 5, 72)], ids=str)
def test_threads_that_take_a_few_rows_together_give_the_same_bits(
    specification: Specification, sizes: tuple[int, int, int, int], masked: bool, threads: None
) -> None:
    # Few rows of many units: slices of the batch would leave threads idle.
    problem = make_problem(specification, sizes, masked=masked).to(torch.float32)
    torch.set_num_threads(1)
    expected = run(problem, measured=False)
    for count in (2, 3, 5):
        torch.set_num_threads(count)
        assert_same_bits(run(problem, measured=False), expected)


def row_of(problem: Problem, row: int) -> Problem:
    one = slice(row, row + 1)
    return replace(
        problem,
        x=problem.x[one],
        state=[s[one] for s in problem.state],
        mask=None if problem.mask is None else problem.mask[one],
        noise=problem.noise.rows(one),
        grad_outputs=problem.grad_outputs[one],
        grad_final=[g[one] for g in problem.grad_final],
    )


def rows_of(results: dict[str, torch.Tensor], row: int) -> dict[str, torch.Tensor]:
    summed = ("dW", "dU", "db")
    return {
        name: result[row : row + 1]
        for name, result in results.items()
        if name not in summed and result.numel()
    }


# The second one's gates would fill their own vectors badly, so x is not multiplied beside h.
@each_type
@pytest.mark.parametrize("sizes", [(13, 5, 9, 37), (13, 5, 150, 3)], ids=str)
def test_a_row_is_the_same_alone(
    specification: Specification, dtype: torch.dtype, sizes: tuple[int, int, int, int]
) -> None:
    problem = make_problem(specification, sizes, masked=True).to(dtype)
    whole = run(problem)
    for row in (1, 7, 12):
        assert_same_bits(run(row_of(problem, row)), rows_of(whole, row))


@each_type
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sizes", [(2, 35, 30, 128), (2, 50, 170, 101), (2, 40, 1, 190)], ids=str)
def test_a_single_row_of_many_steps_is_the_same_as_beside_another(
    specification: Specification, dtype: torch.dtype, sizes: tuple[int, int, int, int],
    masked: bool, threads: None,
) -> None:  # fmt: skip
    """Alone, its x may be multiplied some steps ahead, while the steps before wait for U."""
    problem = make_problem(specification, sizes, masked=masked).to(dtype)
    torch.set_num_threads(1)
    whole = run(problem, measured=False)
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        for row in (0, 1):
            assert_same_bits(run(row_of(problem, row), measured=False), rows_of(whole, row))


# The second one's W is too large for the caches and is multiplied by 20 steps at a time, ahead.
@each_precision
@pytest.mark.parametrize("sizes", [(4, 11, 9, 37), (5, 23, 150, 1100)], ids=str)
@pytest.mark.parametrize("needs_backward", [False, True])
def test_two_chunks_equal_the_whole(
    specification: Specification, sizes: tuple[int, int, int, int], needs_backward: bool
) -> None:
    p = make_problem(specification, sizes, masked=True).to(torch.float32)
    whole = cpu.forward(p.x, p.weights, p.state, p.mask, p.noise, specification, needs_backward)
    for cut in (1, 4, 10):
        state, outputs = p.state, []
        for part in (slice(None, cut), slice(cut, None)):
            noise = p.noise.piece(*part.indices(11)[:2])
            chunk = cpu.forward(
                p.x[:, part], p.weights, state, p.mask[:, part], noise, specification,
                needs_backward,
            )  # fmt: skip
            outputs.append(chunk[0])
            state = chunk[1]
        assert torch.equal(torch.cat(outputs, dim=1), whole[0])
        for value, expected in zip(state, whole[1], strict=True):
            assert torch.equal(value, expected)


@each_precision
def test_the_way_back_in_two_chunks_equals_the_whole(specification: Specification) -> None:
    p = make_problem(specification, (4, 11, 9, 37)).to(torch.float32)
    outputs, _, gates, saved = cpu.forward(
        p.x, p.weights, p.state, None, NO_NOISE, specification, True
    )

    def scan(part: slice, state: list[Tensor], grad_final: list[Tensor]):
        kept = saved[:, part] if saved.numel() else saved
        return cpu.backward_scan(
            p.grad_outputs[:, part], grad_final, outputs[:, part], gates[:, part], kept,
            p.weights, state, None, NO_NOISE, specification, None, "full", False,
        )  # fmt: skip

    whole, grad_state, _ = scan(slice(None), p.state, p.grad_final)
    between = [outputs[:, 4], saved[:, 4]][: len(p.state)] if saved.numel() else [outputs[:, 4]]
    second, grad_between, _ = scan(slice(5, None), between, p.grad_final)
    first, grad_first, _ = scan(slice(None, 5), p.state, grad_between)
    assert torch.equal(torch.cat((first, second), dim=1), whole)
    for value, expected in zip(grad_first, grad_state, strict=True):
        assert torch.equal(value, expected)
    dx = cpu.input_gradient(whole, p.weights, None, specification)
    assert torch.equal(dx[:, :5], cpu.input_gradient(first, p.weights, None, specification))


@each_type
@pytest.mark.parametrize("reverse", [False, True])
def test_what_lies_in_the_padding_changes_no_bit(
    specification: Specification, dtype: torch.dtype, reverse: bool
) -> None:
    reversible = replace(specification, reverse=reverse)
    problem = make_problem(reversible, (5, 6, 7, 18), masked=True).to(dtype)
    for reduce in ("all", "sample", "step"):
        expected = run(problem, reduce=reduce)
        poisoned = torch.where(problem.mask.unsqueeze(-1), problem.x, float("nan"))
        assert_same_bits(run(replace(problem, x=poisoned), reduce=reduce), expected)


@each_precision
def test_strides_of_weights_input_and_cotangents_change_no_bit(
    specification: Specification,
) -> None:
    problem = make_problem(specification, (5, 6, 7, 18)).to(torch.float32)
    expected = run(problem)
    weights = [weight.t().contiguous().t() for weight in problem.weights[:2]]
    weights += problem.weights[2:]
    wide = torch.full((6, 5, 9), float("nan"))
    x = wide[:, :, 1:8].transpose(0, 1)
    x.copy_(problem.x)
    assert_same_bits(run(replace(problem, weights=weights, x=x)), expected)
    columns = torch.full((7, 2 * weights[0].shape[1]), float("nan"))[:, ::2]
    columns.copy_(weights[0])
    assert_same_bits(run(replace(problem, weights=[columns, *weights[1:]])), expected)
    transposed = problem.x.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same_bits(run(replace(problem, x=transposed)), expected)
    # As the halves of two directions side by side, and one with no dense axis.
    half = torch.full((6, 5, 36), float("nan"))[:, :, 18:].transpose(0, 1)
    half.copy_(problem.grad_outputs)
    assert_same_bits(run(replace(problem, grad_outputs=half)), expected)
    transposed = problem.grad_outputs.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same_bits(run(replace(problem, grad_outputs=transposed)), expected)


@each_precision
@pytest.mark.parametrize("sizes", [*SIZES, (9, 5, 530, 40)], ids=str)
def test_gradients_lie_as_their_weights_do_with_the_same_bits(
    specification: Specification, sizes: tuple[int, int, int, int]
) -> None:
    problem = make_problem(specification, sizes).to(torch.float32)
    turned = [weight.t().contiguous().t() for weight in problem.weights[:2]]
    found = run(replace(problem, weights=turned + problem.weights[2:]))
    assert_same_bits(found, run(problem))
    for name, weight in zip(("dW", "dU"), turned, strict=True):
        assert found[name].stride() == weight.stride(), name


# Choice and refusal


@pytest.mark.parametrize("isa", ["portable", "avx2"])
def test_slower_instruction_sets_pass_these_tests(isa: str) -> None:
    names = cpu.available_isas()
    if isa not in names[:-1]:
        pytest.skip(f"this processor has {', '.join(names)}; the tests run with the last")
    if cpu.isa() != names[-1]:
        pytest.skip("already running with a forced instruction set")
    chosen = "bfloat16 or reference or activation or infinities or error or bits or alone or chunks"
    chosen += " or (variants and equals_equation)"
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-k", chosen, "-p", "no:cacheprovider"]
    tests = Path(__file__).parents[1]
    others = [
        str(tests / name)
        for name in (
            "kernels/test_bfloat16.py",
            "kernels/test_cpu_activations.py",
            "kernels/test_variants.py",
            "layers/test_stream.py",
            "optimizers/test_rmsprop.py",
        )
    ]
    result = subprocess.run(
        [*command, __file__, *others],
        env=os.environ | {"GATEWISE_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_an_unknown_instruction_set_is_an_error() -> None:
    program = "from gatewise.kernels import cpu; cpu.isa()"
    result = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"GATEWISE_ISA": "sse9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode != 0
    assert "GATEWISE_ISA is 'sse9'" in result.stderr
    assert "Available here: portable" in result.stderr


def test_what_is_not_supported_is_said() -> None:
    lstm = Specification("lstm")
    assert cpu.supports(lstm, torch.float32) is None
    assert "not torch.bfloat16" in str(cpu.supports(lstm, torch.bfloat16))
    assert "softsign" in str(cpu.supports(replace(lstm, activation="gelu"), torch.float32))


def test_refused_input_is_named() -> None:
    p = make_problem(Specification("lstm"), (2, 3, 4, 5))
    arguments = (p.state, None, NO_NOISE, p.specification, False)
    with pytest.raises(UnsupportedError, match=r"not torch.float16.*kernel='reference'"):
        cpu.forward(p.x.half(), p.weights, *arguments)
    with pytest.raises(InputError, match=r"expected W of shape \(4, 20\).*got \(4, 19\)"):
        cpu.forward(p.x, [p.weights[0][:, 1:], *p.weights[1:]], *arguments)
    mask = torch.ones(2, 4, dtype=torch.bool)
    with pytest.raises(InputError, match=r"expected a bool mask of shape \(2, 3\)"):
        cpu.forward(p.x, p.weights, p.state, mask, None, p.specification, False)
    with pytest.raises(InputError, match="expected 2 state tensors but got 1"):
        cpu.forward(p.x, p.weights, p.state[:1], None, None, p.specification, False)
