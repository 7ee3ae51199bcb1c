"""Weights of 8 bits in the native kernels: exact sums, the equations' numbers, the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from gatewise.cells import Noise, Specification
from gatewise.cells.int8 import QuantizedMatrix, quantize_columns
from gatewise.errors import InputError, UnsupportedError
from gatewise.kernels import Request, cpu, recording
from gatewise.kernels.int8 import Int8Weights, choose_int8, recurrent_int8

pytestmark = pytest.mark.skipif(not cpu.available(), reason=cpu.unavailable_reason())


class Case(NamedTuple):
    """A cell, and whether a share of its states stays as it was."""

    specification: Specification
    zoneout: bool = False

    def __str__(self) -> str:
        return self.specification.encode() + (" zoneout" if self.zoneout else "")


CASES = [
    Case(Specification("lstm")),
    Case(Specification("gru")),
    Case(Specification("gru", reset_after=False)),
    Case(Specification("simple_rnn")),
    Case(Specification("lstm", "relu", "hard_sigmoid")),
    Case(Specification("lstm", peephole=True)),
    Case(Specification("cifg")),
    Case(Specification("lstm", cell_clip=0.3)),
    Case(Specification("lstm"), zoneout=True),
    Case(Specification("lstm", projection=True)),
    Case(Specification("lstm", layer_norm=True)),
    Case(Specification("lstm", projection=True, layer_norm=True)),
    Case(
        Specification("lstm", peephole=True, cell_clip=0.3, projection=True, layer_norm=True),
        zoneout=True,
    ),
    Case(
        Specification("cifg", "softsign", peephole=True, projection=True, layer_norm=True),
        zoneout=True,
    ),
    Case(Specification("gru"), zoneout=True),
    Case(Specification("gru", reset_after=False), zoneout=True),
    Case(Specification("gru", layer_norm=True)),
    Case(Specification("simple_rnn"), zoneout=True),
]
# B, T, I, H: a row alone, more rows than are multiplied at once, odd units.
SIZES = [
    (1, 1, 1, 1),
    (3, 5, 5, 63),
    (2, 1, 7, 8),
    (31, 3, 33, 16),
    (7, 4, 130, 70),
    (1, 6, 9, 129),
]
each_case = pytest.mark.parametrize("case", CASES, ids=str)
each_size = pytest.mark.parametrize("sizes", SIZES, ids=str)


@dataclass
class Problem:
    """One call."""

    specification: Specification
    x: Tensor
    weights: Int8Weights
    state: list[Tensor]
    mask: Tensor | None
    noise: Noise

    def run(self, kernel: str = "cpu") -> tuple[Tensor, tuple[Tensor, ...]]:
        return recurrent_int8(
            self.x,
            self.weights,
            self.state,
            specification=self.specification,
            mask=self.mask,
            noise=self.noise,
            kernel=kernel,
        )

    def at(self, part: slice, state: list[Tensor]) -> Problem:
        """Return the problem of some time steps that go on from a state."""
        mask = None if self.mask is None else self.mask[:, part]
        noise = self.noise.piece(part.start, part.stop)
        return replace(self, x=self.x[:, part], state=state, mask=mask, noise=noise)


def make_problem(
    case: Case,
    sizes: tuple[int, int, int, int],
    *,
    masked: bool = False,
    bias: bool = True,
) -> Problem:
    specification, random = case.specification, torch.Generator().manual_seed(4)
    batch, time, inputs, units = sizes
    hidden = max(1, units // 3) if specification.projection else units

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=random)

    columns = len(specification.gates) * units
    W = quantize_columns(normal(inputs, columns) / inputs**0.5)
    U = quantize_columns(normal(hidden, columns) / units**0.5)
    b = normal(*((2, columns) if specification.two_biases else (columns,))) if bias else None
    shapes = {
        "peephole": (len(specification.peepholes), units),
        **dict.fromkeys(("input_gain", "recurrent_gain"), (columns,)),
        **dict.fromkeys(("cell_gain", "cell_bias"), (units,)),
    }
    extra = specification.extra_weights
    further = {name: normal(*shapes[name]) for name in extra if name in shapes}
    if specification.projection:
        P = quantize_columns(normal(units, hidden) / units**0.5)
        further |= {"projection": P[0], "projection_scale": P[1]}
    x, mask, dropout, zones = normal(batch, time, inputs), None, None, []
    if masked:
        mask = torch.rand(batch, time, generator=random) > 0.4
        mask[0] = False
        mask[-1, : time // 2] = False
        x[~mask] = float("nan")
        dropout = (normal(batch, hidden) > -0.5).float() / 0.7
    widths = (hidden, units)[: len(specification.states)]
    if case.zoneout:
        zones = [torch.rand(batch, time, width, generator=random) for width in widths]
    state = [normal(batch, width) / 2 for width in widths]
    weights = Int8Weights(*W, *U, b, **further)
    return Problem(specification, x, weights, state, mask, Noise(dropout, *zones))


def turned(weights: Int8Weights) -> float:
    """How far one number of a projected h moves where the rounding of one factor turns."""
    if weights.projection is None or weights.projection_scale is None:
        return 0.0
    return (weights.projection.abs() * weights.projection_scale).max().item() / 127


def assert_near(found: Tensor, expected: Tensor, turned: float) -> None:
    """Equal but for the last bits; a row in a hundred may hold a turned rounding."""
    off = (found - expected).abs()
    near = (off <= 1e-6 + 2e-6 * expected.abs()).flatten(end_dim=-2).all(-1)
    assert (~near).sum() <= (len(near) // 100 + 1 if turned else 0), off.max()
    assert off.max() <= max(turned, 1e-6 + 2e-6 * expected.abs().max().item())


@pytest.fixture(autouse=True)
def uninitialized_memory_is_nan() -> Iterator[None]:
    """Fill whatever the kernels are given to write with NaN, so that an element left out shows."""
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def threads() -> Iterator[None]:
    """Give the number of threads back after a test that sets it."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def assert_same_bits(found: tuple[Tensor, tuple[Tensor, ...]], expected: tuple) -> None:
    for one, other in zip([found[0], *found[1]], [expected[0], *expected[1]], strict=True):
        assert torch.equal(one, other)


# Against exact integers and the equations


@pytest.mark.parametrize("sizes", [(1, 3, 5), (9, 1000, 70), (26, 64, 16), (4, 63, 129)], ids=str)
@pytest.mark.parametrize("extreme", [False, True])
def test_the_sums_are_exact(sizes: tuple[int, int, int], extreme: bool) -> None:
    """With scales of one and no activation, a simple RNN returns the integer sums themselves."""
    batch, depth, units = sizes
    random = torch.Generator().manual_seed(2)

    def integers(*shape: int) -> Tensor:
        found = torch.randint(-127, 128, shape, generator=random)
        return torch.where(found < 0, -127, 127) if extreme else found

    x, h = integers(batch, 1, depth), integers(batch, units)
    x[..., 0] = h[:, 0] = 127  # so that the scale of each row is one
    W, U = integers(depth, units), integers(units, units)
    if extreme:  # the largest sum that there can be
        x[0], W[:, -1] = 127, 127
    one = torch.ones(units)
    weights = Int8Weights(W.to(torch.int8), one, U.to(torch.int8), one, None)
    found, _ = recurrent_int8(
        x.float(), weights, [h.float()],
        specification=Specification("simple_rnn", "linear"), kernel="cpu",
    )  # fmt: skip
    assert torch.equal(found[:, 0], (x[:, 0] @ W).float() + (h @ U).float())


@each_case
@each_size
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_every_step_is_the_equations(
    case: Case, sizes: tuple[int, int, int, int], masked: bool, reverse: bool
) -> None:
    """From the same state: a last bit of h may turn a rounding, so the steps are compared apart."""
    case = case._replace(specification=replace(case.specification, reverse=reverse))
    whole = make_problem(case, sizes, masked=masked, bias=not masked)
    outputs, final_state = whole.run()
    steps, state = range(sizes[1]), whole.state
    for t in reversed(steps) if reverse else steps:
        step = whole.at(slice(t, t + 1), state)
        expected, expected_state = step.run("reference")
        found, state = step.run()
        assert_near(found, expected, turned(step.weights))
        for one, other in zip(state, expected_state, strict=True):
            assert_near(one, other, turned(step.weights))
        assert torch.equal(outputs[:, t : t + 1], found)
        state = list(state)
    for one, other in zip(final_state, state, strict=True):
        assert torch.equal(one, other)


@each_case
def test_weights_that_are_integers_already_give_what_float32_gives(case: Case) -> None:
    """Where nothing but h is rounded, int8 is within that rounding of the operator of floats."""
    from gatewise.kernels import recurrent

    problem = make_problem(case, (5, 1, 12, 40))
    problem.x = torch.round(problem.x * 20)
    problem.x[..., 0] = 127.0
    problem.state = [torch.zeros_like(state) for state in problem.state]
    floats = [
        weight.integers * weight.scales if isinstance(weight, QuantizedMatrix) else weight
        for weight in problem.weights.of_cell(case.specification)
    ]
    expected, _ = recurrent(
        problem.x, floats, problem.state, specification=case.specification, noise=problem.noise
    )
    off = 2e-5
    if problem.weights.projection is not None:  # multiplies numbers below one, rounded by 1/254
        off += (floats[-1 - 4 * case.specification.layer_norm].abs().sum(0) / 254).max().item()
    torch.testing.assert_close(problem.run()[0], expected, rtol=2e-5, atol=off)


def test_a_row_that_is_not_finite_leaves_the_others_alone() -> None:
    problem = make_problem(Case(Specification("lstm")), (4, 3, 9, 21))
    clean, _ = problem.run()
    problem.x[1, 1, 2], problem.x[3, 2, 8] = float("nan"), float("-inf")
    found, _ = problem.run()
    assert found[1, 1:].isnan().all() and found[3, 2].isnan().all()
    assert torch.equal(found[[0, 2]], clean[[0, 2]])
    assert torch.equal(found[1, 0], clean[1, 0]) and torch.equal(found[3, :2], clean[3, :2])


def test_rows_next_to_zero_count_as_zero() -> None:
    problem = make_problem(Case(Specification("gru")), (2, 1, 9, 21))
    problem.x = torch.full_like(problem.x, 1e-37)
    found, _ = problem.run()
    problem.x = torch.zeros_like(problem.x)
    assert torch.equal(found, problem.run()[0])


# The promised bits


@each_case
@pytest.mark.parametrize("sizes", [(11, 12, 40, 70), (5, 4, 30, 650)], ids=str)
def test_any_number_of_threads_gives_the_same_bits(
    case: Case, sizes: tuple[int, int, int, int], threads: None
) -> None:
    problem = make_problem(case, sizes, masked=True)
    torch.set_num_threads(1)
    expected = problem.run()
    for count in (2, 3, 5):
        torch.set_num_threads(count)
        assert_same_bits(problem.run(), expected)


@each_case
def test_a_row_is_the_same_alone(case: Case) -> None:
    problem = make_problem(case, (29, 5, 9, 37), masked=True)
    whole, _ = problem.run()
    assert problem.mask is not None
    for row in (1, 7, 28):
        one = slice(row, row + 1)
        alone = replace(
            problem,
            x=problem.x[one],
            state=[state[one] for state in problem.state],
            mask=problem.mask[one],
            noise=problem.noise.rows(one),
        )
        assert torch.equal(alone.run()[0], whole[one])


@each_case
def test_a_series_in_pieces_has_the_bits_of_the_whole(case: Case) -> None:
    problem = make_problem(case, (3, 11, 9, 37), masked=True)
    outputs, final_state = problem.run()
    pieces, state = [], problem.state
    for start, stop in ((0, 1), (1, 6), (6, 11)):
        piece, found = problem.at(slice(start, stop), state).run()
        pieces, state = [*pieces, piece], list(found)
    assert_same_bits((torch.cat(pieces, 1), tuple(state)), (outputs, final_state))


def test_strides_and_layouts_do_not_matter() -> None:
    problem = make_problem(Case(Specification("lstm")), (3, 4, 5, 17))
    expected = problem.run()
    kernel = problem.weights.kernel
    spread = torch.zeros(5, 2 * kernel.shape[1], dtype=torch.int8)[:, ::2]
    spread.copy_(kernel)
    problem.weights = problem.weights._replace(kernel=spread)
    problem.x = problem.x.transpose(1, 2).contiguous().transpose(1, 2)
    assert_same_bits(problem.run(), expected)


# Choice and refusal


@pytest.mark.parametrize("isa", ["portable", "avx2", "avx512"])
def test_slower_instruction_sets_pass_these_tests(isa: str) -> None:
    names = cpu.available_isas()
    if isa not in names[:-1]:
        pytest.skip(f"this processor has {', '.join(names)}, and runs these on the last")
    if cpu.isa() != names[-1]:
        pytest.skip("already running with a forced instruction set")
    chosen = "exact or equations or bits or alone or finite or zero"
    result = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "-k",
            chosen,
            "-p",
            "no:cacheprovider",
            __file__,
        ],
        env=os.environ | {"GATEWISE_ISA": isa},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-3000:]


def test_all_instruction_sets_sum_the_same_integers() -> None:
    """Without an activation the sets differ in no bit but those of float arithmetic around it."""
    program = (
        "import torch; from gatewise.layers import SimpleRNN; torch.manual_seed(0);"
        "layer = SimpleRNN(40, activation='linear', use_bias=False); layer.build((None, None, 30));"
        "layer.quantize('int8'); print(layer(torch.randn(3, 1, 30)).numpy().tobytes().hex())"
    )
    printed = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"GATEWISE_ISA": isa},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for isa in cpu.available_isas()
    }
    assert len(printed) == 1


def test_the_choice_and_its_reason() -> None:
    request = Request(Specification("lstm"), "cpu", torch.float32)
    choice = choose_int8(request)
    assert choice.kernel == "cpu" and choice.reason == f"native, {cpu.isa()}, weights of 8 bits"
    unusual = choose_int8(request._replace(specification=Specification("lstm", "elu")))
    assert unusual.kernel == "reference" and "elu" in unusual.reason
    on_gpu = choose_int8(request._replace(device="cuda"))
    assert on_gpu.kernel == "reference" and "no GPU kernel has" in on_gpu.reason
    with pytest.raises(UnsupportedError, match="it has no weights of 8 bits"):
        choose_int8(request._replace(kernel="cudnn"))


@dataclass(frozen=True)
class Clipped(Specification):
    """A cell with an option that the products of 8 bits were not made for."""

    clip: float | None = None


def test_a_cell_with_further_options_is_refused() -> None:
    request = Request(Clipped("lstm"), "cpu", torch.float32)
    assert choose_int8(request).kernel == "cpu"
    with pytest.raises(UnsupportedError, match=r"this cell has clip=3\.0\. Leave it in float32"):
        choose_int8(request._replace(specification=Clipped("lstm", clip=3.0)))


def test_the_way_back_is_refused_with_the_reason() -> None:
    problem = make_problem(Case(Specification("gru")), (2, 3, 4, 5))
    problem.x.requires_grad_()
    outputs, _ = problem.run()
    with pytest.raises(UnsupportedError, match="rounding has no gradient"):
        outputs.sum().backward()


def test_looking_inside_is_refused_with_the_reason() -> None:
    problem = make_problem(Case(Specification("gru")), (2, 3, 4, 5))
    with recording(), pytest.raises(UnsupportedError, match="as it was before quantize"):
        problem.run()


def test_scales_of_another_type_are_refused() -> None:
    problem = make_problem(Case(Specification("gru")), (2, 3, 4, 5))
    problem.weights = problem.weights._replace(kernel_scale=problem.weights.kernel_scale.double())
    with pytest.raises(InputError, match=r"model\.float\(\)"):
        problem.run()


def test_one_node_for_compile_and_export() -> None:
    from gatewise.layers import LSTM

    layer = LSTM(8)
    layer.build((None, None, 3))
    layer.quantize("int8")
    x = torch.randn(2, 5, 3)
    expected = layer(x)
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), expected)
    program = torch.export.export(layer, (x,))
    assert "gatewise.int8" in program.graph_module.code
    assert torch.equal(program.module()(x), expected)
