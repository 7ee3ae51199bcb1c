"""Batches of series of similar length, so that little time goes into padding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import torch

from gatewise.errors import InputError

# A pool is sorted as a whole. More batches in it: less padding; fewer: more varied company for each
# series.
_BATCHES_IN_A_POOL = 16


def bucket_batches(
    lengths: Sequence[int] | np.ndarray | torch.Tensor,
    batch_size: int,
    generator: torch.Generator | int | None = None,
) -> list[list[int]]:
    """Return one epoch of batches, lists of indices, each of series of similar lengths.

    The indices are shuffled and dealt into pools of some batches; each pool is sorted by length and
    cut into batches; the batches are shuffled. Every index occurs exactly once, and at most one
    batch is smaller than `batch_size`. `generator` (or a seed) decides everything: equal states,
    equal batches.

    >>> batches = bucket_batches([3, 9, 3, 9, 3, 9], batch_size=2, generator=0)
    >>> sorted(index for batch in batches for index in batch)
    [0, 1, 2, 3, 4, 5]
    >>> [len(batch) for batch in batches]
    [2, 2, 2]
    """
    if batch_size < 1:
        raise InputError(f"batch_size={batch_size} is not a size. Use a whole number from 1.")
    if isinstance(generator, int):
        generator = torch.Generator().manual_seed(generator)
    size_of = np.asarray(lengths)
    order = torch.randperm(len(size_of), generator=generator).numpy()
    pool_size = batch_size * _BATCHES_IN_A_POOL
    batches: list[list[int]] = []
    for start in range(0, len(order), pool_size):
        pool = order[start : start + pool_size]
        pool = pool[np.argsort(size_of[pool], kind="stable")]
        batches += (pool[at : at + batch_size].tolist() for at in range(0, len(pool), batch_size))
    return [batches[i] for i in torch.randperm(len(batches), generator=generator).tolist()]


def padding_share(lengths: Sequence[int] | np.ndarray, batches: Iterable[Sequence[int]]) -> float:
    """Return the share of all steps computed for `batches` that are padding, from 0 to 1.

    >>> padding_share([1, 3], [[0, 1]]), padding_share([1, 3], [[0], [1]])
    (0.3333333333333333, 0.0)
    """
    size_of = np.asarray(lengths)
    computed = real = 0
    for batch in batches:
        in_batch = size_of[list(batch)]
        computed += int(in_batch.max(initial=0)) * len(in_batch)
        real += int(in_batch.sum())
    return (computed - real) / computed if computed else 0.0
