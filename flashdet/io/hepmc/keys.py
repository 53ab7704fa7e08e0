"""Event keys: the 64-bit counter word that names an event for all its random numbers (ADR 0001).

A key is made of the event number, of the particles as they stand in the columns (code, status and the bits of the
four-momentum) and of how often the same number with the same particles has come before in this run. It does not depend
on the file, its format or compression, the place of the event in it, or the batch.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from flashdet.kernels.jit import bare_kernel
from flashdet.kernels.mix import absorb, scramble

_LOW = np.uint64(0xFFFFFFFF)
_32 = np.uint64(32)


def fingerprints(
    number: NDArray[np.int64],
    offsets: NDArray[np.int64],
    pdg: NDArray[np.int32],
    status: NDArray[np.int32],
    momentum: tuple[NDArray[np.float64], ...],
) -> NDArray[np.uint64]:
    """Names of events by number and content.

    The particles of an event are summed up, so that formats which list the same particles in another order give the
    same name.

    Parameters
    ----------
    number : (n_events,) int64
        Event numbers.
    offsets : (n_events + 1,) int64
        Rows of event i are ``offsets[i]:offsets[i + 1]``.
    pdg, status : (n,) int32
        Codes and statuses.
    momentum : tuple of four (n,) float64
        px, py, pz, energy [GeV]; every bit counts.

    Returns
    -------
    (n_events,) uint64
    """
    names = np.empty(len(number), np.uint64)
    px, py, pz, energy = (np.ascontiguousarray(p).view(np.uint64) for p in momentum)
    with np.errstate(over="ignore"):  # words wrap around; NumPy would mind if the kernels run without Numba
        _fingerprint(number, offsets, pdg, status, px, py, pz, energy, names)
    return names


@bare_kernel
def _fingerprint(
    number: NDArray[np.int64],
    offsets: NDArray[np.int64],
    pdg: NDArray[np.int32],
    status: NDArray[np.int32],
    px: NDArray[np.uint64],
    py: NDArray[np.uint64],
    pz: NDArray[np.uint64],
    energy: NDArray[np.uint64],
    names: NDArray[np.uint64],
) -> None:
    for event in range(len(number)):
        total = np.uint64(0)
        first, last = offsets[event], offsets[event + 1]
        for i in range(first, last):
            word = ((np.uint64(pdg[i]) & _LOW) << _32) | (np.uint64(status[i]) & _LOW)
            state = absorb(absorb(absorb(absorb(scramble(word), px[i]), py[i]), pz[i]), energy[i])
            total = total + state
        names[event] = absorb(absorb(scramble(np.uint64(number[event])), np.uint64(last - first)), total)


class KeyMaker:
    """Turns names into keys and counts repeated events of a run.

    Memory grows by about 60 bytes per event.

    Attributes
    ----------
    n_repeated : int
        Events so far whose number and content had come before.
    """

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._repeats: dict[int, int] = {}
        self.n_repeated = 0

    def keys(self, names: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Keys of the next events of the run.

        Parameters
        ----------
        names : (n_events,) uint64
            From `fingerprints`, in the order of the run.

        Returns
        -------
        (n_events,) uint64
            The names themselves, mixed with the occurrence index for every repetition.
        """
        keys = names.copy()
        with np.errstate(over="ignore"):
            for i, name in enumerate(names.tolist()):
                if name not in self._seen:
                    self._seen.add(name)
                    continue
                occurrence = self._repeats.get(name, 0) + 1
                self._repeats[name] = occurrence
                self.n_repeated += 1
                keys[i] = _occurrence_key(names[i], np.uint64(occurrence))
        return keys


@bare_kernel
def _occurrence_key(name: np.uint64, occurrence: np.uint64) -> np.uint64:
    return absorb(scramble(name), occurrence)
