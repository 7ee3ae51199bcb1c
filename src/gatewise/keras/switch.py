"""On and off: Keras's own layer classes, those of models that exist included, on the kernels."""

from __future__ import annotations

from typing import Any

from gatewise.keras import loop

_before: dict[type, Any] = {}


def enable() -> None:
    """Run every Keras LSTM, GRU and SimpleRNN on gatewise's kernels, from now on.

    Also those inside ``Bidirectional`` and other wrappers, in models built, loaded or copied
    before or after the call. Calling it twice is calling it once.

    >>> enable()
    >>> is_enabled()
    True
    >>> disable()
    """
    if _before:
        return
    for kind, keras_loop in loop.KERAS_LOOPS.items():
        _before[kind] = vars(kind).get("inner_loop")
        kind.inner_loop = _on_kernels(keras_loop)  # type: ignore[attr-defined]


def disable() -> None:
    """Give Keras's layers their own loops back.

    >>> disable()
    >>> is_enabled()
    False
    """
    while _before:
        kind, own = _before.popitem()
        if own is None:  # inherited
            del kind.inner_loop  # type: ignore[attr-defined]
        else:
            kind.inner_loop = own  # type: ignore[attr-defined]


def is_enabled() -> bool:
    """Return whether :func:`enable` is in force."""
    return bool(_before)


def _on_kernels(keras_loop: loop.Loop) -> loop.Loop:
    def inner_loop(
        self: Any, sequences: Any, initial_state: Any, mask: Any, training: bool | None = False
    ) -> loop.Result:
        return loop.run(self, keras_loop, sequences, initial_state, mask, training)

    return inner_loop
