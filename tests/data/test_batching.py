"""Batches by length: complete, of the right size, repeatable, and with less padding."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewise.data import bucket_batches, padding_share
from gatewise.errors import InputError

LENGTHS = st.lists(st.integers(0, 40), max_size=300)


@settings(max_examples=80, deadline=None)
@given(lengths=LENGTHS, batch_size=st.integers(1, 40), seed=st.integers(0, 2**31))
def test_every_index_once_in_full_batches(lengths, batch_size, seed):
    batches = bucket_batches(lengths, batch_size, seed)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    sizes = sorted((len(batch) for batch in batches), reverse=True)
    assert all(size == batch_size for size in sizes[:-1])
    assert bucket_batches(lengths, batch_size, seed) == batches


def test_the_generator_decides_and_moves_on():
    lengths = list(range(100))
    generator = torch.Generator().manual_seed(5)
    first, second = (bucket_batches(lengths, 8, generator) for _ in range(2))
    assert first != second
    assert first == bucket_batches(lengths, 8, 5)
    assert first != bucket_batches(lengths, 8, 6)
    global_state = torch.get_rng_state()
    bucket_batches(lengths, 8, 5)
    assert torch.equal(torch.get_rng_state(), global_state)


def test_without_a_generator_torch_s_own_decides():
    torch.manual_seed(3)
    first = bucket_batches([1] * 50, 8)
    torch.manual_seed(3)
    assert bucket_batches([1] * 50, 8) == first


def test_batches_are_alike_in_length_but_not_in_order():
    lengths = np.random.default_rng(0).integers(1, 200, 2048)
    batches = bucket_batches(lengths, 32, 0)
    plain = np.arange(2048).reshape(-1, 32)
    assert padding_share(lengths, batches) < 0.1 < 0.4 < padding_share(lengths, plain)
    longest = [lengths[batch].max() for batch in batches]
    assert longest != sorted(longest)
    assert longest != sorted(longest, reverse=True)


def test_padding_share_counts_steps():
    assert padding_share([2, 4, 4], [[0, 1], [2]]) == pytest.approx(2 / 12)
    assert padding_share([], []) == 0.0
    assert padding_share([0, 0], [[0, 1]]) == 0.0


def test_batch_size_must_be_a_size():
    with pytest.raises(InputError, match="batch_size=0 is not a size"):
        bucket_batches([1, 2], 0)
