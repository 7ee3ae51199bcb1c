"""What an LSTM, a GRU and a simple RNN *are*: one readable equation file a cell.

Everything faster is tested against these files: outputs, final states and every gradient.
"""

from gatewise.cells.gates import (
    GATES,
    KEEPERS,
    PEEPHOLES,
    STATES,
    gate_slice,
    reorder_gates,
    split_gates,
)
from gatewise.cells.noise import NO_NOISE, Noise
from gatewise.cells.scan import Scan, backward_scan, input_product, scan
from gatewise.cells.specification import Specification
from gatewise.cells.weights import Weights, WeightSet, split_weight, units_of, weight_names

__all__ = [
    "GATES",
    "KEEPERS",
    "NO_NOISE",
    "PEEPHOLES",
    "STATES",
    "Noise",
    "Scan",
    "Specification",
    "WeightSet",
    "Weights",
    "backward_scan",
    "gate_slice",
    "input_product",
    "reorder_gates",
    "scan",
    "split_gates",
    "split_weight",
    "units_of",
    "weight_names",
]
