"""An option that takes one of some names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer


def choice(flag: str, names: Sequence[str], *, help: str) -> Any:
    """Return an option that takes one of these names; help and the shell's completion show them.

    A `Literal` as the option's type would do, but for the words of the library that checks it,
    which stand before the message of a wrong name.
    """

    def parse(given: str) -> str:
        if given not in names:
            raise typer.BadParameter(f"{given!r} is not one of {', '.join(map(repr, names))}.")
        return given

    def complete(incomplete: str) -> list[str]:
        return [name for name in names if name.startswith(incomplete)]

    return typer.Option(
        flag, parser=parse, autocompletion=complete, metavar=f"<{'|'.join(names)}>", help=help
    )
