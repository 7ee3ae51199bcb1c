"""Where a mask begins in a model, which layers it passes, and where it ends."""

from __future__ import annotations

from typing import Any

import torch

from gatewise.layers import Embedding, Masking
from gatewise.layers.by_call import shape_by_running
from gatewise.layers.modes import left_as_it_was
from gatewise.models.masks import MaskStep, watching_masks


def mask_path(model: Any) -> list[MaskStep]:
    """Return what each layer does with a mask, found by running the model on zeros.

    Empty where no layer makes a mask, for a model that is not built, and for several inputs.
    """
    if not model.built or not any(_makes_mask(module) for module in model.modules()):
        return []
    if model.several_inputs:
        return _watched_several(model)
    with watching_masks() as steps:
        shape_by_running(model, model.input_shape, model.takes_ids)
    return _without_repetition(steps)


def _watched_several(model: Any) -> list[MaskStep]:
    parts = [
        torch.zeros([2 if size is None else size for size in shape], dtype=model.dtype)
        for shape in model.input_shape
    ]
    with watching_masks() as steps, left_as_it_was(model), torch.no_grad():
        model(parts)
    return _without_repetition(steps)


def render_mask_path(steps: list[MaskStep]) -> str:
    """Return one line for summary(), such as "Mask: begins at embedding, ends at lstm".

    >>> render_mask_path([MaskStep("a", False, True, False), MaskStep("b", True, False, True)])
    ' Mask: begins at a; ends at b'
    """
    parts: list[str] = []
    passed: list[str] = []
    for step in steps:
        if not step.received and step.made:
            parts.append(f"begins at {step.layer}")
        elif step.received and step.made:
            passed.append(step.layer)
            continue
        elif step.received:
            parts += [f"passes {', '.join(passed)}"] if passed else []
            passed = []
            parts.append(f"ends {'' if step.used else 'unused '}at {step.layer}")
    parts += [f"passes {', '.join(passed)}, and goes on to the loss"] if passed else []
    return f" Mask: {'; '.join(parts)}"


def _makes_mask(module: Any) -> bool:
    return isinstance(module, Masking) or (isinstance(module, Embedding) and module.mask_zero)


def _without_repetition(steps: list[MaskStep]) -> list[MaskStep]:
    return list(dict.fromkeys(steps))
