"""How a cell runs fast: one operator a cell, several kernels, and the choice between them."""

from gatewise.kernels.dispatch import Choice, Request, choose
from gatewise.kernels.recording import Record, recording
from gatewise.kernels.recurrent import recurrent

__all__ = ["Choice", "Record", "Request", "choose", "recording", "recurrent"]
