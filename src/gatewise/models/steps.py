"""The calls of a functional model as it runs them: which layer, on which slots.

A template is a call's arguments with a `Slot` where a tensor stands; in a file a slot is written
{"slot": number}.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gatewise.errors import UnsupportedError
from gatewise.layers import Symbol


@dataclass(frozen=True)
class Slot:
    """Where a tensor stands while the model runs."""

    number: int


@dataclass(frozen=True)
class Step:
    """One call: which layer, on which slots, and the slots of its results."""

    name: str
    arguments: Any
    keywords: Any
    results: tuple[int, ...]


def filled(template: Any, values: Mapping[int, Any]) -> Any:
    """Return a template with each slot replaced by what stands in it."""
    if isinstance(template, Slot):
        return values[template.number]
    if isinstance(template, dict):
        return {key: filled(one, values) for key, one in template.items()}
    if isinstance(template, (list, tuple)):
        return type(template)(filled(one, values) for one in template)
    return template


def slots_in(template: Any) -> list[Slot]:
    """Return the slots of a template or a step, in order."""
    if isinstance(template, Step):
        return slots_in([template.arguments, template.keywords])
    if isinstance(template, Slot):
        return [template]
    if isinstance(template, dict):
        template = list(template.values())
    if isinstance(template, (list, tuple)):
        return [slot for one in template for slot in slots_in(one)]
    return []


def as_json(template: Any, layer: str) -> Any:
    """Return a template as JSON values; `layer` is whose arguments these are."""
    if isinstance(template, Slot):
        return {"slot": template.number}
    if isinstance(template, dict):
        return {key: as_json(one, layer) for key, one in template.items()}
    if isinstance(template, (list, tuple)):
        return [as_json(one, layer) for one in template]
    if template is None or isinstance(template, (bool, int, float, str)):
        return template
    raise UnsupportedError(
        f"'{layer}' was called with {type(template).__name__}, which no file can hold. Give it in "
        "the layer's constructor, or as an input of the model."
    )


def from_json(stored: Any, symbols: Mapping[int, Symbol]) -> Any:
    """Return what `as_json` stored, with the symbols in the places of the slots."""
    if isinstance(stored, dict):
        if stored.keys() == {"slot"}:
            return symbols[stored["slot"]]
        return {key: from_json(one, symbols) for key, one in stored.items()}
    return [from_json(one, symbols) for one in stored] if isinstance(stored, list) else stored


def arrangement(given: Any, parts: Sequence[Any]) -> Any:
    """Return one part, or parts in a list or by name, as the symbols are given."""
    if isinstance(given, Mapping):
        return {"by_name": dict(zip(given, parts, strict=True))}
    return list(parts) if isinstance(given, (list, tuple)) else {"one": parts[0]}


def rebuilt(stored: Any, read: Any) -> Any:
    """Return what `arrangement` stored, each part as `read` returns it."""
    if isinstance(stored, list):
        return [read(one) for one in stored]
    if "by_name" in stored:
        return {key: read(one) for key, one in stored["by_name"].items()}
    return read(stored["one"])
