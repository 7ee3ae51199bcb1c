"""How the gradient flows through time is a choice: `compile(gradient=TBPTT(k1=20, k2=40))`.

Read `contract.py` first: one sum, and three questions about it. Each algorithm is then a page.
"""

from __future__ import annotations

from gatewise.gradients.artbp import ARTBP
from gatewise.gradients.bptt import BPTT
from gatewise.gradients.carrying import Carried
from gatewise.gradients.comparison import (
    GradientComparison,
    GradientMeasure,
    compare_gradients,
)
from gatewise.gradients.contract import GradientAlgorithm, Trail
from gatewise.gradients.direct import backward
from gatewise.gradients.eprop import EProp
from gatewise.gradients.registry import ALGORITHMS, get, serialize
from gatewise.gradients.rtrl import RTRL
from gatewise.gradients.snap import SnAp1
from gatewise.gradients.task import Part, Task, joined
from gatewise.gradients.tbptt import TBPTT

__all__ = [
    "ALGORITHMS",
    "ARTBP",
    "BPTT",
    "RTRL",
    "TBPTT",
    "Carried",
    "EProp",
    "GradientAlgorithm",
    "GradientComparison",
    "GradientMeasure",
    "Part",
    "SnAp1",
    "Task",
    "Trail",
    "backward",
    "compare_gradients",
    "get",
    "joined",
    "serialize",
]
