"""See inside a model: which parameters it has, what trains them, what the time
steps share, how far back the gradient reaches, and what the gates do.

`measure_*` functions return frozen dataclasses of numbers and arrays; `render_*` functions turn
those into text. Nothing here prints, and no measure changes the model.
"""

from gatewise.inspect.activity import GateActivity, SetActivity, Signal, measure_gates
from gatewise.inspect.attention import AttentionMeasure, AttentionWeights, measure_attention
from gatewise.inspect.counting import Convention
from gatewise.inspect.flow import GradientFlow, SetFlow, StateFlow, measure_gradient_flow
from gatewise.inspect.parameters import (
    GateWeight,
    LayerLedger,
    ParameterLedger,
    SetLedger,
    measure_parameters,
)
from gatewise.inspect.sharing import SetSharing, SharingMeasure, Use, measure_sharing
from gatewise.inspect.text import (
    render_conventions,
    render_gates,
    render_sharing,
    render_summary,
    render_training,
)
from gatewise.inspect.text_attention import render_attention
from gatewise.inspect.text_dynamics import render_gates_activity, render_gradient_flow
from gatewise.inspect.training import (
    SetTraining,
    TrainingMeasure,
    WeightTraining,
    measure_training,
)
from gatewise.inspect.within import return_cell_sequence, return_gates

__all__ = [
    "AttentionMeasure",
    "AttentionWeights",
    "Convention",
    "GateActivity",
    "GateWeight",
    "GradientFlow",
    "LayerLedger",
    "ParameterLedger",
    "SetActivity",
    "SetFlow",
    "SetLedger",
    "SetSharing",
    "SetTraining",
    "SharingMeasure",
    "Signal",
    "StateFlow",
    "TrainingMeasure",
    "Use",
    "WeightTraining",
    "measure_attention",
    "measure_gates",
    "measure_gradient_flow",
    "measure_parameters",
    "measure_sharing",
    "measure_training",
    "render_attention",
    "render_conventions",
    "render_gates",
    "render_gates_activity",
    "render_gradient_flow",
    "render_sharing",
    "render_summary",
    "render_training",
    "return_cell_sequence",
    "return_gates",
]
