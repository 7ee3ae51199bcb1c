"""Models: stacks of layers that train, predict, explain themselves and go into files."""

from __future__ import annotations

from typing import Any

from gatewise.errors import missing
from gatewise.models.cloning import clone_model
from gatewise.models.functional import Functional
from gatewise.models.model import Model
from gatewise.models.saving import load_model
from gatewise.models.sequential import Sequential

__all__ = ["Functional", "Model", "Sequential", "clone_model", "load_model"]

_INSTEAD = {
    "model_from_json": "Use Sequential.from_config(json.loads(text)), or load_model(path).",
    "save_model": "Use model.save(path).",
}


def __getattr__(name: str) -> Any:
    """Say what is nearest to a name that does not exist here."""
    raise missing("gatewise.models", name, __all__, _INSTEAD)
