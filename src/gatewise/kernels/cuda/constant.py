"""What torch.compile is not to trace."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

_Function = TypeVar("_Function", bound=Callable[..., object])


def constant_when_compiled(function: _Function) -> _Function:
    """Have torch.compile call a function while it traces, and keep the result as a constant.

    So does ``torch.compiler.assume_constant_result``, which only sets this mark, but it imports the
    compiler, and that takes longer than importing all of this package.

    >>> constant_when_compiled(lambda size: 2 * size)(128)
    256
    """
    function._dynamo_marked_constant = True  # pyright: ignore[reportFunctionMemberAccess]
    return function
