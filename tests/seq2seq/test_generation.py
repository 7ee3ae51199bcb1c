"""Generation step by step equals the whole prefix run again; searches against brute force."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import pytest
import torch

from gatewise.errors import InputError, UnknownNameError, UnsupportedError
from gatewise.layers import LSTM, Bidirectional, Dense, Dropout, Embedding
from gatewise.models import Sequential
from gatewise.seq2seq import BeamSearch, Greedy, Sampling, Seq2Seq, generate

ATTENTIONS = (None, "luong", "bahdanau")
STOP = 2


@torch.no_grad()
def log_p_of_prefix(model: Seq2Seq, source: list[int], prefix: list[int]) -> torch.Tensor:
    """log p of the token after a prefix, by running all of it; padding is no token."""
    p = model([torch.tensor([source]), torch.tensor([[1, *prefix]])])[0, -1]
    return (p * (torch.arange(len(p)) > 0)).div(1 - p[0]).log()


def greedy_by_hand(model: Seq2Seq, source: list[int], length: int) -> list[int]:
    ids: list[int] = []
    while len(ids) < length:
        token = int(log_p_of_prefix(model, source, ids).argmax())
        if token == STOP:
            break
        ids.append(token)
    return ids


@pytest.mark.parametrize("attention", ATTENTIONS)
@pytest.mark.parametrize("cell", ["lstm", "gru", "simple_rnn"])
def test_greedy_equals_the_prefix_run_again(tools: Any, cell: str, attention: str | None) -> None:
    model = tools.build(cell, 2, attention, both=cell == "gru")
    sources, _ = tools.pairs()
    written = model.generate(sources, max_length=6)
    expected = [greedy_by_hand(model, source, 6) for source in sources]
    assert [one.tolist() for one in written] == expected
    assert any(expected)


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_the_decoder_a_token_at_a_time_equals_the_whole(tools: Any, attention: str | None) -> None:
    model = tools.build("lstm", 2, attention)
    (source, heard), _ = model.teacher_forced(*tools.pairs(masked=False))
    handed = model.encoder(source)
    fixed = 0 if attention is None else 2
    outputs = []
    for t in range(heard.shape[1]):
        output, *states = model.decoder([heard[:, t : t + 1], *handed])
        handed = [*handed[:fixed], *states]
        outputs.append(output)
    torch.testing.assert_close(
        torch.cat(outputs, dim=1), model([source, heard]), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize("penalty", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_wide_beam_is_an_exhaustive_search(
    tools: Any, attention: str | None, penalty: float
) -> None:
    model, length = tools.build("lstm", 1, attention), 3
    source = [3, 4, 5]
    scores: dict[tuple[int, ...], float] = {}

    @functools.cache
    def next_log_p(*prefix: int) -> list[float]:
        return log_p_of_prefix(model, source, list(prefix)).tolist()

    for count in range(1, length + 1):
        for ids in itertools.product(range(1, 7), repeat=count):
            ends = ids[-1] == STOP or count == length
            if STOP in ids[:-1] or not ends:
                continue
            total = sum(next_log_p(*ids[:t])[ids[t]] for t in range(count))
            scores[ids] = total / count**penalty
    best = max(scores, key=scores.__getitem__)
    (written,) = model.generate(
        [source], length, search=BeamSearch(width=len(scores), length_penalty=penalty)
    )
    assert written.tolist() == [token for token in best if token != STOP]
    assert len(scores) == 156


@pytest.mark.parametrize("attention", ATTENTIONS)
def test_a_beam_of_one_is_greedy(tools: Any, attention: str | None) -> None:
    for seed in range(5):
        torch.manual_seed(seed)
        model = tools.build("gru", 1, attention)
        sources, _ = tools.pairs()
        greedy = model.generate(sources, 6)
        beam = model.generate(sources, 6, search=BeamSearch(width=1, length_penalty=0.5))
        assert [one.tolist() for one in beam] == [one.tolist() for one in greedy]


def test_a_beam_finds_what_greedy_misses(tools: Any) -> None:
    def log_p(model: Seq2Seq, source: list[int], ids: np.ndarray) -> float:
        tokens = [*ids.tolist(), *([STOP] if len(ids) < 4 else [])]
        return sum(
            float(log_p_of_prefix(model, source, tokens[:t])[token])
            for t, token in enumerate(tokens)
        )

    gains = []
    for seed in range(8):
        torch.manual_seed(seed)
        model = tools.build("lstm", 1, "luong")
        sources, _ = tools.pairs()
        greedy = model.generate(sources, 4)
        beam = model.generate(sources, 4, search=BeamSearch(width=5, length_penalty=0))
        gains += [
            log_p(model, source, one) - log_p(model, source, other)
            for source, one, other in zip(sources, beam, greedy, strict=True)
        ]
    assert min(gains) > -1e-9 and max(gains) > 0.01


@pytest.mark.parametrize("search", ["greedy", "beam", Sampling(top_k=1)])
def test_sources_side_by_side_do_not_touch_each_other(tools: Any, search: Any) -> None:
    model = tools.build("lstm", 2, "bahdanau", both=True)
    sources, _ = tools.pairs()
    together = model.generate(sources, 6, search=search)
    alone = [model.generate([source], 6, search=search)[0] for source in sources]
    in_batches = model.generate(sources, 6, search=search, batch_size=2)
    for one, other, third in zip(together, alone, in_batches, strict=True):
        assert one.tolist() == other.tolist() == third.tolist()


def test_sampling_draws_from_the_sharpened_probabilities(tools: Any) -> None:
    model = tools.build(stop=None)
    source = torch.tensor([[3, 4, 5]]).expand(4000, -1)
    p = log_p_of_prefix(model, [3, 4, 5], []).exp()
    for sampling, expected in (
        (Sampling(seed=0), p),
        (Sampling(temperature=0.5, seed=0), p**2 / (p**2).sum()),
        (Sampling(top_k=2, seed=0), torch.where(p >= p.topk(2).values[-1], p, 0)),
    ):
        ids = np.concatenate(model.generate(source, 1, search=sampling, batch_size=4000))
        found = np.bincount(ids, minlength=7) / len(ids)
        assert np.abs(found - (expected / expected.sum()).detach().numpy()).max() < 0.03
        assert found[0] == 0


def test_a_seed_repeats_and_the_global_generator_serves_without(tools: Any) -> None:
    model = tools.build(attention="luong")
    sources, _ = tools.pairs()

    def drawn(search: Any) -> list[list[int]]:
        return [one.tolist() for one in model.generate(sources, 8, search=search)]

    assert drawn(Sampling(seed=3)) == drawn(Sampling(seed=3)) != drawn(Sampling(seed=4))
    apart = model.generate([[3, 4]] * 40, 8, search=Sampling(seed=3), batch_size=20)
    assert [one.tolist() for one in apart[:20]] != [one.tolist() for one in apart[20:]]
    torch.manual_seed(5)
    first = drawn("sampling")
    torch.manual_seed(5)
    assert drawn("sampling") == first


def test_without_a_stop_token_all_are_of_full_length(tools: Any) -> None:
    model = tools.build(stop=None)
    for search in ("greedy", "sampling", "beam"):
        assert [len(one) for one in model.generate([[3], [4, 5]], 5, search=search)] == [5, 5]


def test_scores_serve_as_well_as_probabilities() -> None:
    layers = [Embedding(9, 3), LSTM(4)], [Embedding(7, 3), LSTM(4), Dense(7)]
    model = Seq2Seq(*layers, start=1, stop=2)
    source, heard = torch.tensor([[3, 4]]), torch.tensor([[1]])
    (written,) = model.generate(source, 1, search=Sampling(top_k=1))
    assert written.tolist() == [int(model([source, heard])[0, -1].argmax())]


def language_model(sequences: bool, units: int = 6) -> Sequential:
    return Sequential(
        [
            Embedding(8, 4),
            LSTM(units, return_sequences=True, bias_initializer="random_normal"),
            Dropout(0.5),
            LSTM(units, return_sequences=sequences),
            Dense(8, activation="softmax"),
        ]
    )


@torch.no_grad()
def after(model: Sequential, text: list[int]) -> torch.Tensor:
    p = model(torch.tensor([text]))[0]
    return p[-1] if p.ndim == 2 else p


@pytest.mark.parametrize("sequences", [True, False])
def test_a_language_model_equals_the_prefix_run_again(sequences: bool) -> None:
    model = language_model(sequences)
    drawn = torch.randint(1, 8, (150,), generator=torch.Generator().manual_seed(2)).tolist()
    prompts = [[3, 1, 4], [1], [5, 2, 6, 5, 3], drawn, drawn[:64], drawn[:65]]
    written = generate(model, prompts, 10, search="greedy")
    for prompt, found in zip(prompts, written, strict=True):
        text = list(prompt)
        for token in found.tolist():
            assert token == int(after(model, text).argmax())
            text.append(token)
    assert generate(model, prompts[0], 10, search=Greedy()).tolist() == written[0].tolist()
    narrow = generate(model, prompts, 10, search=BeamSearch(1))
    assert [one.tolist() for one in narrow] == [one.tolist() for one in written]


def test_a_language_model_in_a_wide_beam_is_searched_exhaustively() -> None:
    model, prompt = language_model(True), [3, 1]
    scores = {}
    for ids in itertools.product(range(8), repeat=3):
        text, total = list(prompt), 0.0
        for token in ids:
            total += float(after(model, text)[token].log())
            text.append(token)
        scores[ids] = total
    found = generate(model, prompt, 3, search=BeamSearch(width=64))
    assert tuple(found.tolist()) == max(scores, key=scores.__getitem__)


def test_a_language_model_ends_at_the_stop_token() -> None:
    model = language_model(True)
    free = generate(model, [1], 40, search=Sampling(seed=0))
    stop = int(free[5])
    stopped = generate(model, [1], 40, search=Sampling(seed=0), stop=stop)
    assert stopped.tolist() == free[: free.tolist().index(stop)].tolist()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([],), InputError, "Prompt 0 has the shape"),
        (([[1], []],), InputError, "Prompt 1 has the shape"),
        (([1, 8],), InputError, "whole numbers from 0 to 7"),
        (("abc",), InputError, "Encode it first"),
        (([1], 0), InputError, "whole number of tokens from 1"),
        (([1], True), InputError, "whole number of tokens from 1"),
    ],
)
def test_bad_prompts(arguments: tuple[Any, ...], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        generate(language_model(True), *arguments)


def test_models_that_cannot_go_on() -> None:
    with pytest.raises(UnsupportedError, match="fed with tokens"):
        generate(Sequential([LSTM(3, input_shape=(None, 2)), Dense(2, "softmax")]), [1])
    with pytest.raises(UnsupportedError, match="no probabilities of the next token"):
        generate(Sequential([Embedding(4, 2), LSTM(3), Dense(4, "tanh")]), [1])
    with pytest.raises(InputError, match=r"scores 5 tokens, but its Embedding knows 4"):
        generate(Sequential([Embedding(4, 2), LSTM(3), Dense(5)]), [1])
    with pytest.raises(UnsupportedError, match="Bidirectional"):
        generate(Sequential([Embedding(4, 2), Bidirectional(LSTM(3)), Dense(4)]), [1])
    with pytest.raises(UnsupportedError, match="has generate"):
        generate(Seq2Seq([Embedding(4, 2), LSTM(3)], [Embedding(4, 2), LSTM(3), Dense(4)]), [1])  # pyright: ignore


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Sampling(temperature=0.0), "temperature above 0"),
        (lambda: Sampling(top_k=0), "top_k to be a whole number from 1"),
        (lambda: BeamSearch(width=0), "width to be a whole number from 1"),
        (lambda: BeamSearch(length_penalty=-1.0), "length_penalty from 0"),
    ],
)
def test_bad_searches(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()


def test_unknown_searches(tools: Any) -> None:
    model = tools.build()
    with pytest.raises(UnknownNameError, match="Did you mean 'greedy'"):
        model.generate([[3]], search="greedi")
    with pytest.raises(InputError, match=r"BeamSearch\(width=4\)"):
        model.generate([[3]], search=4)
