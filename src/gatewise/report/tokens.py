"""The words of a text coloured by the state of a unit.

After Karpathy, Johnson and Fei-Fei, "Visualizing and understanding recurrent networks" (arXiv
1506.02078).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gatewise.inspect import GateActivity

UNITS = 12
"""Of how many units the states are shown: those that change most."""

TOKENS_DRAWN = 200
"""How many tokens of a text are shown at most: the first ones."""


@dataclass(frozen=True)
class ColouredTokens:
    """One text; ``values[unit]`` holds h of a unit after each token in hundredths, -100 to 100."""

    series: int
    set: str
    tokens: tuple[str, ...]
    of: int
    values: dict[int, list[int]]


def colour_tokens(measure: GateActivity, texts: list[tuple[str, ...]]) -> list[ColouredTokens]:
    """Return each text with the states of the first weight set; of data without tokens, none."""
    if not measure.sets:
        return []
    one = measure.sets[0]
    found = []
    for series, tokens in enumerate(texts):
        states = one.signals["h"].values[series][one.real[series]]  # (T, H), real steps
        if not tokens or len(tokens) != len(states):
            continue
        units = np.sort(np.argsort(-states.std(axis=0), kind="stable")[:UNITS])
        shown = np.clip(states[:TOKENS_DRAWN], -1, 1)
        values = {
            int(one.units[unit]): np.rint(100 * shown[:, unit]).astype(int).tolist()
            for unit in units
        }
        found.append(ColouredTokens(series, one.name, tokens[:TOKENS_DRAWN], len(tokens), values))
    return found
