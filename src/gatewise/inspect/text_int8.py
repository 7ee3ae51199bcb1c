"""The cost of weights of 8 bits as text for the terminal."""

from __future__ import annotations

from gatewise.inspect.int8 import Int8Cost
from gatewise.inspect.layout import size_text


def render_int8(cost: Int8Cost) -> str:
    """Return the difference of the outputs, the sizes, and a row of times for each way to run.

    >>> from gatewise.inspect.int8 import Timing
    >>> rows = (Timing("one series", 0.5, 0.25, (1.9, 2.0, 2.1)),)
    >>> print(render_int8(Int8Cost(0.0125, 1.5, 4096, 1536, "cpu: native", rows)))
      largest difference of an output  0.0125 (largest output 1.5)
      weights                          4.00 KB, int8 1.50 KB
      kernel                           cpu: native
    <BLANKLINE>
      ms a time step   float32       int8  ratio  quartiles
      one series        0.5000     0.2500   2.00  1.90-2.10
    """
    facts = {
        "largest difference of an output": f"{cost.largest_difference:.3g} "
        f"(largest output {cost.largest_output:.3g})",
        "weights": f"{size_text(cost.float32_bytes)}, int8 {size_text(cost.int8_bytes)}",
        "kernel": cost.kernel,
    }
    wide = max(map(len, facts))
    lines = [f"  {name:<{wide}}  {value}" for name, value in facts.items()]
    width = max(len("ms a time step"), *(len(one.what) for one in cost.timings))
    lines += ["", f"  {'ms a time step':<{width}} {'float32':>9}  {'int8':>9}  ratio  quartiles"]
    for one in cost.timings:
        low, middle, high = one.quartiles
        lines.append(
            f"  {one.what:<{width}} {one.float32_ms:>#9.4g}  {one.int8_ms:>#9.4g}  "
            f"{middle:>5.2f}  {low:.2f}-{high:.2f}"
        )
    return "\n".join(lines)
