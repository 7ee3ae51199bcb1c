"""Initializers and regularizers by name, from JSON and back."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from gatewise.errors import InputError, unknown_name


def snake_case(name: str) -> str:
    """Return a class name the way layers and initializers are called.

    >>> snake_case("SimpleRNN"), snake_case("GlorotUniform"), snake_case("LSTM")
    ('simple_rnn', 'glorot_uniform', 'lstm')
    """
    parted = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub("([a-z])([A-Z])", r"\1_\2", parted).lower()


class Registry:
    """The classes of one kind, found by name and written to and read from JSON.

    ``kind`` names them in messages. ``factories`` are names beside those of the classes themselves.
    """

    def __init__(
        self,
        kind: str,
        classes: Iterable[type],
        factories: Mapping[str, Callable[[], Any]],
        article: str = "A",
    ) -> None:
        self.kind = kind
        self.article = article
        self.classes = {cls.__name__: cls for cls in classes}
        self.factories: dict[str, Callable[[], Any]] = {
            **{snake_case(name): cls for name, cls in self.classes.items()},
            **self.classes,
            **factories,
        }

    def get(self, given: Any) -> Any:
        """Return the object for a name, a dictionary of JSON, a class or a callable."""
        if isinstance(given, str):
            if given not in self.factories:
                raise unknown_name(self.kind, given, self.factories.keys() - self.classes.keys())
            return self.factories[given]()
        if isinstance(given, Mapping):
            return self._from_dictionary(given)
        if isinstance(given, type):
            return given()
        if callable(given):
            return given
        raise InputError(
            f"{self.article} {self.kind} is a name, a dictionary with class_name and config, "
            f"or a callable but got {given!r}. Known names: {', '.join(sorted(self.factories))}."
        )

    def serialize(self, found: Any) -> dict[str, Any]:
        """Return the dictionary that :meth:`get` reads; a callable of the user's own has none."""
        if type(found) not in self.classes.values():
            raise InputError(
                f"The {self.kind} {found!r} has no name, so no configuration can hold it. "
                f"Use one of {', '.join(sorted(self.classes))}, or save the weights alone."
            )
        return {"class_name": type(found).__name__, "config": dataclasses.asdict(found)}

    def _from_dictionary(self, given: Mapping[str, Any]) -> Any:
        name = given.get("class_name")
        if name not in self.classes:
            raise unknown_name(self.kind, name, self.classes)
        accepted = {field.name for field in dataclasses.fields(self.classes[name])}
        # Keras writes arguments that are not given as None, also those that it alone has.
        given_config = (given.get("config") or {}).items()
        config = {key: value for key, value in given_config if key in accepted or value is not None}
        if not config.keys() <= accepted:
            raise InputError(
                f"{name} takes {', '.join(sorted(accepted)) or 'no arguments'} "
                f"but got {', '.join(sorted(config))}."
            )
        return self.classes[name](**config)
