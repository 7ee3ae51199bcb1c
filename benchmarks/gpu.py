"""How long does a training step take on a GPU, beside cuDNN and FlashRNN?

    python benchmarks/gpu.py --json gpu.json
    python benchmarks/gpu.py --flashrnn          # where flashrnn is installed, and a CUDA toolkit

A batch of 16 series of 1024 steps through one layer as wide as its input, forward and back with
the gradient of x: gatewise.nn beside torch.nn, which is cuDNN, in float32, bfloat16 and float16.
"float32" lets cuDNN multiply in TF32, which is torch's default; "exact" does not. gatewise in
bfloat16 runs under autocast and keeps its weights, state and gates in float32; the others keep
everything in bfloat16. The contenders take turns, round by round, each time in the other order; a
figure is the median over the rounds, in milliseconds of the GPU's own clock.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

import gatewise.nn

Step = Callable[[], None]


def main() -> None:
    """Measure every size and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--cell", choices=("LSTM", "GRU"), default="LSTM")
    parser.add_argument("--hidden", type=int, nargs="+", default=[128, 512, 768])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--steps", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--flashrnn", action="store_true", help="measure FlashRNN, too (LSTM)")
    parser.add_argument("--json", type=Path, help="write every figure into this file")
    arguments = parser.parse_args()
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}, "
        f"cuDNN {torch.backends.cudnn.version()}, B={arguments.batch}, T={arguments.steps}"
    )
    print(f"{'H':>5} {'contender':<24} {'forward':>8} {'training':>9} {'of gatewise':>12}")
    rows: list[dict[str, Any]] = []
    for hidden in arguments.hidden:
        for row in measured(arguments, hidden):
            rows.append(row)
            print(
                f"{hidden:>5} {row['contender']:<24} {row['forward']:>8.2f} "
                f"{row['training']:>9.2f} {row['ratio']:>12.2f}"
            )
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


def measured(arguments: argparse.Namespace, hidden: int) -> list[dict[str, Any]]:
    """Return a row for each contender; its ratio is against gatewise in the same precision."""
    makers: dict[str, Callable[[], tuple[Step, Step]]] = {}
    for precision in ("float32", "exact", "bfloat16", "float16"):
        makers[f"torch {precision}"] = lambda p=precision: of_torch(arguments, hidden, p)
    for precision in ("float32", "bfloat16"):
        makers[f"gatewise {precision}"] = lambda p=precision: of_gatewise(arguments, hidden, p)
    if arguments.flashrnn:
        for backend in ("cuda_fused", "triton_fused"):
            makers[f"flashrnn {backend}"] = lambda b=backend: of_flashrnn(arguments, hidden, b)
    steps: dict[str, tuple[Step, Step]] = {}
    for name, make in makers.items():
        try:
            steps[name] = make()
            for step in steps[name]:
                step()
        except Exception as problem:  # whatever a peer raises, the table goes on without it
            if not name.startswith("flashrnn"):
                raise
            steps.pop(name, None)
            print(f"{hidden:>5} {name:<24} cannot run: {str(problem).splitlines()[-1][:60]}")
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(arguments.rounds):
        for name in order:
            forward, training = steps[name]
            times[name].append((milliseconds(forward), milliseconds(training)))
        order.reverse()
    middle = {
        name: [statistics.median(column) for column in zip(*found, strict=True)]
        for name, found in times.items()
    }
    rows = []
    for name, (forward, training) in middle.items():
        ours = (
            "gatewise float32" if name.split()[1] in ("float32", "exact") else "gatewise bfloat16"
        )
        rows.append(
            {
                "hidden": hidden, "contender": name, "forward": forward, "training": training,
                "ratio": training / middle[ours][1],
            }
        )  # fmt: skip
    return rows


def milliseconds(step: Step) -> float:
    """Return what a step takes by the GPU's own clock."""
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    step()
    end.record()
    torch.cuda.synchronize()
    return start.elapsed_time(end)


def of_torch(arguments: argparse.Namespace, hidden: int, precision: str) -> tuple[Step, Step]:
    """Return a step forward and one of training through torch.nn."""
    dtype = torch.float32 if precision == "exact" else getattr(torch, precision)
    layer = getattr(nn, arguments.cell)(hidden, hidden, batch_first=True).to("cuda", dtype)
    layer.flatten_parameters()
    forward, training = steps_of(layer, drawn(arguments, hidden).to(dtype))

    def with_tf32(step: Step) -> Step:
        def run() -> None:
            torch.backends.cudnn.allow_tf32 = precision != "exact"
            step()

        return run

    return with_tf32(forward), with_tf32(training)


def of_gatewise(arguments: argparse.Namespace, hidden: int, precision: str) -> tuple[Step, Step]:
    """Return a step forward and one of training through gatewise.nn."""
    layer = getattr(gatewise.nn, arguments.cell)(hidden, hidden, batch_first=True).cuda()
    forward, training = steps_of(layer, drawn(arguments, hidden))

    def under_autocast(step: Step) -> Step:
        def run() -> None:
            with torch.autocast("cuda", torch.bfloat16, enabled=precision == "bfloat16"):
                step()

        return run

    return under_autocast(forward), under_autocast(training)


def of_flashrnn(arguments: argparse.Namespace, hidden: int, backend: str) -> tuple[Step, Step]:
    """Return a step forward and one of training through FlashRNN, with torch's x W before it."""
    from flashrnn.flashrnn import flashrnn

    def parameter(*shape: int) -> Tensor:
        values = torch.empty(shape, device="cuda").uniform_(-(hidden**-0.5), hidden**-0.5)
        return values.bfloat16().requires_grad_()

    W, U, b = (
        parameter(4 * hidden, hidden),
        parameter(4, 1, hidden, hidden),
        parameter(4, 1, hidden),
    )

    def layer(x: Tensor) -> tuple[Tensor, ...]:
        product = functional.linear(x, W).view(*x.shape[:2], 4, 1, hidden)
        return flashrnn(product, U, b, function="lstm", backend=backend, dtype="bfloat16")[0][0], U

    return steps_of(layer, drawn(arguments, hidden).bfloat16())


def steps_of(layer: Callable[[Tensor], tuple[Any, ...]], x: Tensor) -> tuple[Step, Step]:
    """Return a step forward without gradients, and one with the gradients of x and the weights."""
    wanted = x.clone().requires_grad_()

    def forward() -> None:
        with torch.no_grad():
            layer(x)

    def training() -> None:
        outputs = layer(wanted)[0]
        outputs.backward(torch.ones_like(outputs))

    return forward, training


def drawn(arguments: argparse.Namespace, hidden: int) -> Tensor:
    """Return x (B, T, H)."""
    return torch.randn(arguments.batch, arguments.steps, hidden, device="cuda")


if __name__ == "__main__":
    main()
