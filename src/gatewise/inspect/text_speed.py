"""Measured speed as a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

from gatewise.inspect.speed import Machine, Speed

_HEAD = ("cell", "B, T, I, H", "kernel", "ours, ms", "peer, ms", "ratio", "quartiles", "peak")


def render_speed(speeds: Sequence[Speed], machine: Machine) -> str:
    """Return the machine, a row for each shape, and why each kernel was chosen.

    >>> speed = Speed("lstm", (1, 2, 3, 4), True, "cpu", "native, avx2", 1.5, "nn.LSTM", 3.0, 2.0,
    ...               (1.9, 2.125), 0.5)
    >>> print(render_speed([speed], Machine("a CPU", "avx2", 2, 4e10, 1e-7, {"torch": "2.13"})))
    a CPU, 2 threads 100 ns apart, 40.0 billion multiply-adds a second; torch 2.13
    A training step beside torch's layer; peak: our share of those multiply-adds.
    <BLANKLINE>
    cell  B, T, I, H  kernel  ours, ms  peer, ms  ratio  quartiles  peak
    lstm  1, 2, 3, 4  cpu        1.500     3.000   2.00  1.90-2.12   50%
    <BLANKLINE>
    cpu: native, avx2
    """
    rows = [_HEAD, *(_row(speed) for speed in speeds)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if place < 3 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells))
    reasons = dict.fromkeys(f"{speed.kernel}: {speed.reason}" for speed in speeds)
    return "\n".join([_machine(machine), _what(speeds), "", *lines, "", *reasons])


def _row(speed: Speed) -> tuple[str, ...]:
    return (
        speed.cell,
        ", ".join(map(str, speed.shape)),
        speed.kernel,
        f"{speed.ours_ms:#.4g}",
        f"{speed.peer_ms:#.4g}",
        f"{speed.ratio:.2f}",
        "{:.2f}-{:.2f}".format(*speed.quartiles),
        "" if speed.peak_share is None else f"{speed.peak_share:.0%}",
    )


def _machine(machine: Machine) -> str:
    threads = f"{machine.threads} thread" + ("s" if machine.threads > 1 else "")
    if machine.handover_seconds is not None:
        threads += f" {machine.handover_seconds * 1e9:.0f} ns apart"
    peak = machine.peak_multiply_adds_per_second
    limit = "" if peak is None else f", {peak / 1e9:.1f} billion multiply-adds a second"
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    return f"{machine.cpu}, {threads}{limit}; {versions}"


def _what(speeds: Sequence[Speed]) -> str:
    training = any(speed.training for speed in speeds)
    what = "A training step" if training else "The way forward alone"
    if any(speed.precision != "float32" for speed in speeds):
        what += ", with products in bfloat16,"
        return f"{what} beside torch's layer in bfloat16; peak: our share of those multiply-adds."
    return f"{what} beside torch's layer; peak: our share of those multiply-adds."
