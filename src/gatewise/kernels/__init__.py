"""How a cell runs fast: one operator a cell, several kernels, and the choice between them."""

from gatewise.kernels.dispatch import Choice, Request, choose
from gatewise.kernels.recording import Record, recording
from gatewise.kernels.recurrent import recurrent, run
from gatewise.kernels.steering import Pass, Steer, steering

__all__ = [
    "Choice",
    "Pass",
    "Record",
    "Request",
    "Steer",
    "choose",
    "recording",
    "recurrent",
    "run",
    "steering",
]
