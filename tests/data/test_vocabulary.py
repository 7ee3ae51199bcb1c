"""Text to ids and back."""

from __future__ import annotations

import json
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data import Vocabulary, preprocessor_from_json, preprocessor_to_json
from gatewise.data.vocabulary import Unit
from gatewise.errors import InputError, UnknownNameError

TEXTS = ["the sea the sky", "the sea, The SEA!", "a bee"]


def test_order_is_by_frequency_then_alphabet():
    vocabulary = Vocabulary.fit(TEXTS)
    assert vocabulary.tokens == ("the", "sea", "a", "bee", "sky")
    assert Vocabulary.fit(reversed(TEXTS)) == vocabulary
    assert len(vocabulary) == 7


def test_max_size_counts_padding_and_unknown():
    vocabulary = Vocabulary.fit(TEXTS, max_size=4)
    assert vocabulary.tokens == ("the", "sea")
    assert len(vocabulary) == 4
    assert vocabulary.encode(["the bee sea"]) == [[2, 1, 3]]
    assert vocabulary(["the bee sea"]) == [[2, 1, 3]]


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.text(alphabet="ab c'\n-Éß0", max_size=12), min_size=1, max_size=5),
    st.sampled_from(["word", "character"]),
)
def test_known_text_comes_back_and_ids_fit(texts, unit):
    vocabulary = Vocabulary.fit(texts, unit=unit)
    for text in texts:
        tokens = vocabulary.split(text)
        if not tokens:
            continue
        (ids,) = vocabulary.encode([text])
        assert vocabulary.decode(ids) == tokens
        assert all(2 <= identity < len(vocabulary) for identity in ids)
    stored = json.loads(json.dumps(preprocessor_to_json(vocabulary)))
    assert preprocessor_from_json(stored) == vocabulary


def test_characters_are_kept_as_they_are():
    assert Vocabulary.fit(["Aa b"], unit="character").split("A a") == ["A", " ", "a"]


def test_equality_includes_the_unit():
    assert Vocabulary(["a"]) != Vocabulary(["a"], unit="character")
    assert Vocabulary(["a"]) != ["a"]
    assert len({Vocabulary(["a"]), Vocabulary(["a"])}) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: Vocabulary.fit("one text"), "Put it in a list"),
        (lambda: Vocabulary.fit(["a", cast(str, 3)]), "Text 1 is int (3), not a string"),
        (lambda: Vocabulary.fit(["a"], max_size=2), "max_size=2 leaves no room"),
        (lambda: Vocabulary.fit(["a"], unit=cast(Unit, "line")), "unit='line' is not known"),
        (lambda: Vocabulary(["a", "a"]), "'a' occurs twice"),
        (lambda: Vocabulary(["a"]).encode(["a", "--"]), "Text 1 ('--') has no word in it"),
        (lambda: Vocabulary(["a"], unit="character").encode([""]), "no character in it"),
        (lambda: Vocabulary(["a"]).decode([3]), "The id 3 is outside the vocabulary: 0 to 2."),
    ],
)
def test_refusals(wrong, message):
    with pytest.raises(InputError) as error:
        wrong()
    assert message in str(error.value)


def test_only_registered_classes_are_stored():
    with pytest.raises(InputError, match="list cannot be kept in a model file"):
        preprocessor_to_json([])  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match="Did you mean 'Vocabulary'"):
        preprocessor_from_json({"class": "Vocabularry", "config": {}})
