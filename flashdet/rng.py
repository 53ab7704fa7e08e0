"""Keys of the counter-based random numbers.

The generator itself is :mod:`flashdet.kernels.philox`. A stream belongs to one stage: its key is made of the run's seed
and the stage's name in the card. The counter is (event key, index of the particle in its event, slot), so that numbers
depend on nothing else: not on batches, threads, files, other particles or other stages (ADR 0001).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from operator import index

import numpy as np

from flashdet.errors import CardError


def stream_key(seed: int, name: str) -> np.uint64:
    """Key of the stream of one stage.

    Parameters
    ----------
    seed : int
        Seed of the run, 0 to 2**64 - 1.
    name : str
        Name of the stage in the card.

    Returns
    -------
    numpy.uint64
        First 8 bytes of the SHA-256 of seed and name: distinct pairs get distinct keys but for a chance of 2**-64.

    Raises
    ------
    CardError
        The seed is no whole number in range.
    """
    try:
        number = index(seed)
    except TypeError:
        number = -1
    if not 0 <= number < 2**64:
        raise CardError(f"seed {seed!r}; allowed: whole numbers from 0 to 2**64 - 1")
    digest = hashlib.sha256(number.to_bytes(8, "little") + name.encode()).digest()
    return np.uint64(int.from_bytes(digest[:8], "little"))


@dataclass(frozen=True)
class Draw:
    """What a stage hands to its kernel to draw random numbers.

    Attributes
    ----------
    key : numpy.uint64
        Key of the stage's stream.
    """

    key: np.uint64

    @classmethod
    def of(cls, seed: int, name: str) -> Draw:
        """Draw of the stage `name` in a run with `seed`."""
        return cls(stream_key(seed, name))
