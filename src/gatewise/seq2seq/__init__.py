"""Sequence to sequence: a model that reads one sequence and writes another, and generation."""

from __future__ import annotations

from gatewise.seq2seq.language import generate
from gatewise.seq2seq.model import Seq2Seq
from gatewise.seq2seq.search import BeamSearch, Greedy, Sampling, Search

__all__ = ["BeamSearch", "Greedy", "Sampling", "Search", "Seq2Seq", "generate"]
