"""Models: stacks of layers that train, predict, explain themselves and go into files."""

from __future__ import annotations

from gatewise.models.cloning import clone_model
from gatewise.models.functional import Functional
from gatewise.models.model import Model
from gatewise.models.saving import load_model
from gatewise.models.sequential import Sequential

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model"]
