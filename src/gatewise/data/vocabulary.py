"""Text as whole numbers: the words or characters of the training texts, counted once and kept."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

from gatewise.errors import InputError

Unit = Literal["word", "character"]

PADDING = 0
UNKNOWN = 1
_FIRST = 2  # the id of the most frequent token

# Letters and digits with apostrophes inside or at the edges ("o'er", "'tis", "lords'"), never an
# apostrophe alone.
_WORD = re.compile(r"'?\w+(?:'\w+)*'?")


class Vocabulary:
    """A fixed list of tokens with ids: 0 is padding, 1 any token not in the list, then the tokens.

    `tokens` in the order of their ids, from 2. `unit` says what a token is: a `"word"` (of the text
    in lower case; punctuation other than apostrophes separates words and is dropped) or a
    `"character"` (as it is). Build one from the training texts, and from these only, with
    `Vocabulary.fit`. An `Embedding(len(vocabulary), ..., mask_zero=True)` takes the ids, padded
    with 0.

    >>> vocabulary = Vocabulary.fit(["to be or not to be", "to sleep"], max_size=4)
    >>> vocabulary.tokens
    ('to', 'be')
    >>> vocabulary.encode(["To be, or not"])
    [[2, 3, 1, 1]]
    >>> Vocabulary.from_config(vocabulary.get_config()) == vocabulary
    True
    """

    def __init__(self, tokens: Sequence[str], *, unit: Unit = "word") -> None:
        if unit not in get_args(Unit):
            raise InputError(f"unit={unit!r} is not known. Use 'word' or 'character'.")
        self.tokens = tuple(tokens)
        self.unit: Unit = unit
        self._ids = {token: identity for identity, token in enumerate(self.tokens, start=_FIRST)}
        if len(self._ids) != len(self.tokens):
            twice = next(token for token, count in Counter(self.tokens).items() if count > 1)
            raise InputError(
                f"The token {twice!r} occurs twice. Every token needs an id of its own."
            )

    @classmethod
    def fit(
        cls, texts: Iterable[str], *, max_size: int | None = None, unit: Unit = "word"
    ) -> Vocabulary:
        """Return the vocabulary of `texts`: tokens by falling frequency, ties by the alphabet.

        `max_size` bounds the number of ids, padding and unknown included, so that it is an
        `Embedding`'s `input_dim`.

        >>> Vocabulary.fit(["banana"], unit="character").tokens
        ('a', 'n', 'b')
        """
        if max_size is not None and max_size <= _FIRST:
            raise InputError(
                f"max_size={max_size} leaves no room for a token: two ids are padding and unknown. "
                f"Use {_FIRST + 1} or more, or None."
            )
        empty = cls((), unit=unit)
        counts = Counter(token for text in _as_texts(texts) for token in empty.split(text))
        ranked = sorted(counts, key=lambda token: (-counts[token], token))
        return cls(ranked if max_size is None else ranked[: max_size - _FIRST], unit=unit)

    def split(self, text: str) -> list[str]:
        """Return the tokens of one text, known or not.

        >>> Vocabulary(()).split("O'er the fields -- 'tis  late.")
        ["o'er", 'the', 'fields', "'tis", 'late']
        """
        return list(text) if self.unit == "character" else _WORD.findall(text.lower())

    def encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Return the ids of each text; raise `InputError` for one without any token."""
        encoded = []
        for index, text in enumerate(_as_texts(texts)):
            ids = [self._ids.get(token, UNKNOWN) for token in self.split(text)]
            if not ids:
                raise InputError(
                    f"Text {index} ({text!r}) has no {self.unit} in it. "
                    f"Give at least one {self.unit}."
                )
            encoded.append(ids)
        return encoded

    def __call__(self, texts: Iterable[str]) -> list[list[int]]:
        """Encode raw texts: what a model that keeps this vocabulary does before predicting."""
        return self.encode(texts)

    def decode(self, ids: Iterable[int]) -> list[str]:
        """Return the tokens of ids; padding is left out, and an unknown token reads `"?"`.

        >>> Vocabulary(["sleep"]).decode([2, 1, 0, 0])
        ['sleep', '?']
        """
        return [self._token(int(identity)) for identity in ids if identity != PADDING]

    def _token(self, identity: int) -> str:
        if identity == UNKNOWN:
            return "?"
        if not _FIRST <= identity < len(self):
            raise InputError(f"The id {identity} is outside the vocabulary: 0 to {len(self) - 1}.")
        return self.tokens[identity - _FIRST]

    def __len__(self) -> int:
        """Return the number of ids, padding and unknown included."""
        return _FIRST + len(self.tokens)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self.tokens == other.tokens and self.unit == other.unit

    def __hash__(self) -> int:
        return hash((self.tokens, self.unit))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} ids, unit={self.unit!r})"

    def get_config(self) -> dict[str, Any]:
        """Return the arguments that build this vocabulary again, as JSON knows them."""
        return {"tokens": list(self.tokens), "unit": self.unit}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Vocabulary:
        """Return the vocabulary of a config that `get_config` gave."""
        return cls(config["tokens"], unit=config["unit"])


def _as_texts(texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, (str, bytes)):
        raise InputError(
            f"Expected a list of texts but got one text. Put it in a list: [{texts!r}]."
        )
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(f"Text {index} is {type(text).__name__} ({text!r}), not a string.")
        yield text
