"""How fast a recurrent layer is here: beside torch's layer, and beside the machine's own limit.

Two things run alternately in one process, in the other order every round, and are compared by the
median over the rounds of their ratio: a machine that slows down for a while slows both. The limit
is the rate of the multiply-adds that the same threads do when they do nothing else, measured in the
same run.
"""

from __future__ import annotations

import math
import platform
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gatewise.cells import GATES
from gatewise.errors import InputError, unknown_name
from gatewise.kernels import cpu
from gatewise.layers import GRU, LSTM, SimpleRNN

Work = Callable[[], Any]
Shape = tuple[int, int, int, int]  # B, T, I, H
OURS: dict[str, Any] = {"lstm": LSTM, "gru": GRU, "simple_rnn": SimpleRNN}
THEIRS: dict[str, Any] = {"lstm": nn.LSTM, "gru": nn.GRU, "simple_rnn": nn.RNN}


@dataclass(frozen=True)
class Comparison:
    """Two things that did the same work: milliseconds a call, one number a round."""

    ours: list[float]
    peer: list[float]

    @property
    def ours_ms(self) -> float:
        """The median of ours."""
        return statistics.median(self.ours)

    @property
    def peer_ms(self) -> float:
        """The median of the peer's."""
        return statistics.median(self.peer)

    @property
    def quartiles(self) -> tuple[float, float, float]:
        """The quartiles over the rounds of peer / ours; the middle one is the ratio.

        >>> Comparison([2.0, 2.0, 1.0], [4.0, 6.0, 2.0]).quartiles
        (2.0, 2.0, 2.5)
        """
        ratios = [peer / ours for ours, peer in zip(self.ours, self.peer, strict=True)]
        low, middle, high = statistics.quantiles(ratios, n=4, method="inclusive")
        return low, middle, high


@dataclass(frozen=True)
class Rounds:
    """How long to measure: so many rounds (at least 2) of at least so many seconds a side.

    Before each side's turn nothing runs for ``rest`` seconds: the threads of some pools go on
    looking for work long after it has ended, and would take a processor from the other side.
    """

    count: int = 15
    seconds: float = 0.05
    rest: float = 0.0

    def compare(self, ours: Work, peer: Work) -> Comparison:
        """Run both alternately."""
        sides = [(work, self._repeats(work), []) for work in (ours, peer)]
        order = list(sides)
        for _ in range(self.count):
            for work, repeats, times in order:
                time.sleep(self.rest)
                began = time.perf_counter()
                for _ in range(repeats):
                    work()
                times.append((time.perf_counter() - began) / repeats * 1e3)
            order.reverse()
        return Comparison(sides[0][2], sides[1][2])

    def _repeats(self, work: Work) -> int:
        work()
        began = time.perf_counter()
        work()
        return max(1, math.ceil(self.seconds / (time.perf_counter() - began)))


@dataclass(frozen=True)
class Speed:
    """What one shape takes; times are medians in milliseconds a call."""

    cell: str
    shape: Shape
    training: bool  # a step forward and back, with dx; else the way forward alone
    kernel: str
    reason: str
    ours_ms: float
    peer: str
    peer_ms: float
    ratio: float  # peer / ours
    quartiles: tuple[float, float]  # of the ratio
    peak_share: float | None  # of the machine's multiply-adds; None without the native kernels
    precision: str = "float32"


@dataclass(frozen=True)
class Machine:
    """What figures of speed depend on."""

    cpu: str
    instruction_set: str  # empty without the native kernels
    threads: int
    peak_multiply_adds_per_second: float | None  # None without the native kernels
    handover_seconds: float | None  # of a line of memory to another thread and back
    versions: dict[str, str]


def measure_speed(
    cell: str,
    shape: Sequence[int],
    training: bool = True,
    rounds: Rounds | None = None,
    precision: str = "float32",
) -> Speed:
    """Measure a layer of ours beside torch's, on the CPU, with torch's threads.

    With the ``precision`` "bfloat16" ours computes its products in it, and torch's layer, its input
    and its outputs are bfloat16 altogether.

    ``shape`` is B, T, I, H: series, steps, inputs a step, units. Whole sequences are returned. A
    training step computes the gradients of the weights and of the input, without an optimizer.

    Raises ``InputError`` for a cell or a shape that there is not.

    >>> speed = measure_speed("gru", (2, 3, 4, 5), rounds=Rounds(2, 0.0))
    >>> speed.peer, speed.ratio > 0
    ('nn.GRU', True)
    """
    if cell not in OURS:
        raise unknown_name("cell", cell, OURS)
    sizes = _checked(shape)
    ours, peer = pair(cell, sizes)
    ours.precision = precision
    x, sent = data(sizes)
    peer_dtype = getattr(torch, precision)
    peer, peer_x, peer_sent = peer.to(peer_dtype), x.to(peer_dtype), sent.to(peer_dtype)
    if training:
        works = train(ours, ours, x, sent), train(peer, lambda x: peer(x)[0], peer_x, peer_sent)
    else:
        works = quietly(lambda: ours(x)), quietly(lambda: peer(peer_x))
    choice = ours.train(training).kernel_choice(x)
    found = (rounds or Rounds()).compare(*works)
    low, ratio, high = found.quartiles
    done = multiply_adds(cell, sizes) * (1 if training else 1 / 3)
    share = None
    if cpu.available():
        share = done / (found.ours_ms * 1e-3) / cpu.peak(precision=precision)
    return Speed(
        cell, sizes, training, choice.kernel, choice.reason, found.ours_ms,
        f"nn.{type(peer).__name__}", found.peer_ms, ratio, (low, high), share, precision,
    )  # fmt: skip


def measure_machine(precision: str = "float32") -> Machine:
    """Return the processor, torch's threads, what they can do and how near they are; versions."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return Machine(
        models[0] if models else platform.processor(),
        cpu.isa(),
        torch.get_num_threads(),
        cpu.peak(precision=precision) if cpu.available() else None,
        cpu.handover() if cpu.available() else None,
        {"python": platform.python_version(), "torch": torch.__version__},
    )


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Have torch, and with it the kernels, use so many threads in this block; None changes nothing.

    >>> with threads(1):
    ...     measure_machine().threads
    1
    """
    if count is not None and count < 1:
        raise InputError(f"threads expected at least 1 but got {count}.")
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)


def multiply_adds(cell: str, shape: Shape) -> float:
    """Return those of a training step: the way forward and twice as many for the gradients.

    >>> multiply_adds("lstm", (1, 1, 2, 3))
    180.0
    """
    batch, steps, inputs, units = shape
    return 3.0 * batch * steps * len(GATES[cell]) * units * (inputs + units)


def data(shape: Shape) -> tuple[Tensor, Tensor]:
    """Return x (B, T, I) and a cotangent for the outputs (B, T, H)."""
    batch, steps, inputs, units = shape
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(batch, steps, inputs, generator=generator)
    return x, torch.randn(batch, steps, units, generator=generator)


def pair(cell: str, shape: Shape) -> tuple[Any, nn.Module]:
    """Return our layer, built, and torch's for a shape."""
    ours = OURS[cell](shape[3], return_sequences=True)
    ours.build((None, None, shape[2]))
    return ours, THEIRS[cell](shape[2], shape[3], batch_first=True)


def train(layer: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor, sent: Tensor) -> Work:
    """Return one training step without the optimizer, with dx."""
    leaf = x.clone().requires_grad_()

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        leaf.grad = None
        forward(leaf).backward(sent)

    return step


def quietly(work: Work) -> Work:
    """Return the work without gradients."""

    def run() -> None:
        with torch.inference_mode():
            work()

    return run


def _checked(shape: Sequence[int]) -> Shape:
    if len(shape) != 4 or any(size < 1 for size in shape):
        raise InputError(
            "A shape is four positive numbers B,T,I,H (series, steps, inputs a step, units), such "
            f"as 32,100,100,128, but this is {','.join(map(str, shape))}."
        )
    batch, steps, inputs, units = shape
    return batch, steps, inputs, units
