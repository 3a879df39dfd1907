"""Random numbers that depend on a seed and a purpose, and on nothing else.

One counter-based stream (Philox) per (seed, purpose): no trial's numbers depend on its neighbours, on its
place in a pack, or on what was drawn before. Source: Salmon et al. (2011), "Parallel random numbers: as easy
as 1, 2, 3".
"""

from __future__ import annotations

import zlib

import numpy as np

_MASK = np.uint64(2**63 - 1)


def stream(seed: int, purpose: str) -> np.random.Generator:
    """The generator for one purpose of one seed; seeds are whole numbers in 0 … 2⁶³ − 1."""
    return np.random.Generator(np.random.Philox(key=[seed, zlib.crc32(purpose.encode())]))


def trial_seeds(search_seed: int, trials: np.ndarray) -> np.ndarray:
    """The seed of each trial number: a stable function of both, never the same for two trials.

    A bijection of 63-bit words (SplitMix64's finalizer, Steele et al. 2014, kept to 63 bits) of the trial's
    number plus an offset that depends on the search's seed.
    """
    offset = _mixed(np.array([search_seed], np.uint64))
    return _mixed((trials.astype(np.uint64) + offset) & _MASK).astype(np.int64)


def _mixed(words: np.ndarray) -> np.ndarray:
    """A bijection of the words below 2⁶³ in which every bit depends on every other."""
    words = (words + np.uint64(0x1E3779B97F4A7C15)) & _MASK
    words = ((words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)) & _MASK
    words = ((words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)) & _MASK
    return words ^ (words >> np.uint64(31))
