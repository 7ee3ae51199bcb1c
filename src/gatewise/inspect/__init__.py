"""See inside a model: which parameters it has, what trains them, and what the time steps share.

`measure_*` functions return frozen dataclasses of numbers and arrays; `render_*` functions turn
those into text. Nothing here prints, and no measure changes the model.
"""

from gatewise.inspect.parameters import (
    GateWeight,
    LayerLedger,
    ParameterLedger,
    SetLedger,
    measure_parameters,
)
from gatewise.inspect.sharing import SetSharing, SharingMeasure, Use, measure_sharing
from gatewise.inspect.text import render_gates, render_sharing, render_summary, render_training
from gatewise.inspect.training import (
    SetTraining,
    TrainingMeasure,
    WeightTraining,
    measure_training,
)

__all__ = [
    "GateWeight",
    "LayerLedger",
    "ParameterLedger",
    "SetLedger",
    "SetSharing",
    "SetTraining",
    "SharingMeasure",
    "TrainingMeasure",
    "Use",
    "WeightTraining",
    "measure_parameters",
    "measure_sharing",
    "measure_training",
    "render_gates",
    "render_sharing",
    "render_summary",
    "render_training",
]
