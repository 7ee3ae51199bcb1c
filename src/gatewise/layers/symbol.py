"""What a layer is called on while a functional model is drawn: a tensor that is still to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from gatewise.errors import InputError, UnsupportedError

Shape = tuple[int | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Symbol:
    """A tensor to come: its shape, and the call that will make it; nothing is computed.

    ``shape`` has the batch axis, unknown sizes are None. Calling a layer on symbols gives symbols;
    ``Model(inputs, outputs)`` makes a model of what lies between them.

    >>> from gatewise.layers import Dense, Input
    >>> Dense(4)(Input(shape=(None, 3)))
    <Symbol (None, None, 4) of dense>
    """

    shape: Shape
    call: Call
    place: int = 0
    """Which of the call's results this is."""

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    def __repr__(self) -> str:
        return f"<Symbol {self.shape} of {self.call.layer.name}>"

    def __add__(self, other: Any) -> Any:
        return _merged("Add", self, other)

    def __sub__(self, other: Any) -> Any:
        return _merged("Subtract", self, other)

    def __mul__(self, other: Any) -> Any:
        return _merged("Multiply", self, other)

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> NoReturn:
        raise UnsupportedError(
            f"torch's {getattr(function, '__name__', function)} was given a symbol, which holds no "
            "numbers yet. Use a layer (Add, Multiply, Concatenate, Reshape …), wrap a module of "
            "torch's (gatewise.layers.TorchLayer(module)), or write a layer of your own: a "
            "subclass of gatewise.layers.Layer whose call() uses torch."
        )

    def __array__(self, *arguments: Any, **keywords: Any) -> NoReturn:
        raise InputError(
            "A symbol holds no numbers: it stands for a tensor to come. Make a model, "
            "Model(inputs, outputs), and call that on data."
        )

    def __iter__(self) -> NoReturn:
        raise InputError(
            f"{self!r} is one tensor and cannot be taken apart. A recurrent layer returns several "
            "with return_state=True."
        )


@dataclass(frozen=True, eq=False)
class Call:
    """One use of a layer in a graph: its arguments, with symbols in them, and its results."""

    layer: Any
    arguments: tuple[Any, ...] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)
    results: list[Symbol] = field(default_factory=list)
    single: bool = True
    """Whether the layer returns one tensor, not a tuple."""

    @property
    def sources(self) -> list[Symbol]:
        """The symbols among the arguments, in order."""
        return list(symbols_in((self.arguments, self.keywords)))

    @property
    def result(self) -> Any:
        """What the layer returned: a symbol, or a tuple of them."""
        return self.results[0] if self.single else tuple(self.results)


def call_on_symbols(layer: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> Any:
    """Build the layer for the shapes of the symbols; return symbols for its results."""
    if not arguments or not any(symbols_in(arguments[0])):
        raise InputError(
            f"{layer.name} was called on a symbol and on numbers. The first argument must be "
            "what came from an Input."
        )
    shapes = mapped(arguments[0], lambda symbol: symbol.shape)
    layer.build(shapes)
    produced = layer.compute_output_shape(shapes)
    if keywords.get("return_attention_scores"):
        produced = (produced, layer.compute_scores_shape(shapes))
    return record(layer, arguments, keywords, produced)


def record(
    layer: Any, arguments: tuple[Any, ...], keywords: Mapping[str, Any], produced: Any
) -> Any:
    """Note a call on the layer, and return its results."""
    single = is_shape(produced)
    call = Call(layer, arguments, dict(keywords), single=single)
    for place, shape in enumerate([produced] if single else produced):
        if not is_shape(shape):
            raise UnsupportedError(
                f"{layer.name} returns lists of states inside its result, which a functional model "
                "cannot pass on. Use one RNN for each cell of the stack."
            )
        call.results.append(Symbol(tuple(shape), call, place))
    layer.calls.append(call)
    return call.result


def is_shape(value: Any) -> bool:
    """Return whether a value is one shape, not a list of them."""
    return isinstance(value, Sequence) and all(
        size is None or hasattr(size, "__index__") for size in value
    )


def mapped(value: Any, function: Callable[[Symbol], Any]) -> Any:
    """Return lists, tuples and dictionaries with each symbol replaced."""
    if isinstance(value, Symbol):
        return function(value)
    if isinstance(value, Mapping):
        return {key: mapped(one, function) for key, one in value.items()}
    if type(value) in (list, tuple):
        return type(value)(mapped(one, function) for one in value)
    return value


def symbols_in(value: Any) -> Iterator[Symbol]:
    """Yield the symbols in lists, tuples and dictionaries, in order."""
    if isinstance(value, Symbol):
        yield value
    elif isinstance(value, Mapping):
        for one in value.values():
            yield from symbols_in(one)
    elif type(value) in (list, tuple):
        for one in value:
            yield from symbols_in(one)


def is_symbolic(arguments: tuple[Any, ...], keywords: Mapping[str, Any]) -> bool:
    """Return whether a call has symbols among its arguments; cheap, for it stands in every call."""
    for value in (*arguments, *keywords.values()):
        if isinstance(value, Symbol):
            return True
        if type(value) in (list, tuple, dict) and any(True for _ in symbols_in(value)):
            return True
    return False


def _merged(kind: str, one: Symbol, other: Any) -> Any:
    from gatewise.layers import get_layer_class

    if not isinstance(other, Symbol):
        raise UnsupportedError(
            f"A symbol and {other!r} cannot be combined by an operator. Use a layer of your own."
        )
    return get_layer_class(kind)()([one, other])
