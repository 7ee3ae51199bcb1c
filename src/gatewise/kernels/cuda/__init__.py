"""The GPU kernels: a cluster of blocks keeps U and exchanges h, for the whole sequence.

Each is CUDA C++ in ``source``, compiled at run time by :mod:`gatewise.kernels.cuda.build` for the
layout that :mod:`gatewise.kernels.cuda.layout` chooses; :mod:`gatewise.kernels.cuda.sequence` runs
them. They keep what the reference keeps, so either may take the way back of the other.
"""

from gatewise.kernels.cuda.sequence import (
    backward_scan,
    forward,
    input_gradient,
    refusal,
    weight_gradient,
    worthwhile,
)

__all__ = ["backward_scan", "forward", "input_gradient", "refusal", "weight_gradient", "worthwhile"]
