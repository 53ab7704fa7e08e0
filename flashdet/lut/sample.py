"""A piece of full simulation: generated particles, reconstructed tracks, and which track belongs to which particle.

Readers of files make `SampleChunk` (`flashdet.io.samples`); `flashdet.lut.residuals` compares its tracks with the
truth and `flashdet.lut.cells` adds it up. Nothing here knows files.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.kernels.jit import kernel
from flashdet.kernels.mix import absorb

#: Label of a track that belongs to no particle.
NO_LABEL = -1


@dataclass(frozen=True)
class SampleParticles:
    """Generated particles of whole events.

    Attributes
    ----------
    event : (n,) int64
        Event number; the same numbers as in `SampleTracks.event`.
    label : (n,) int64
        Name of the particle within its event, not negative.
    pdg : (n,) int32
        PDG code, antiparticles negative.
    px, py, pz : (n,) float64
        Momentum at production [GeV].
    vx, vy, vz : (n,) float64
        Production point [cm].
    nch : (n,) float64
        dN_ch/deta of its event.
    """

    event: NDArray[np.int64]
    label: NDArray[np.int64]
    pdg: NDArray[np.int32]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    vx: NDArray[np.float64]
    vy: NDArray[np.float64]
    vz: NDArray[np.float64]
    nch: NDArray[np.float64]


@dataclass(frozen=True)
class SampleTracks:
    """Reconstructed tracks of whole events, in order of preference where a particle has several.

    Attributes
    ----------
    event : (n,) int64
        Event number.
    label : (n,) int64
        Particle it was made by; negative: none (a fake).
    category : (n,) int64
        Index into `SampleChunk.categories`.
    params : (n, 7) float64
        (x, alpha, y, z, snp, tgl, q/pt) in the ALICE convention: local frame turned by alpha, reference plane at x.
    cov : (n, 15) float64
        Reported covariance of (y, z, snp, tgl, q/pt), lower triangle row by row; NaN where none is reported.
    """

    event: NDArray[np.int64]
    label: NDArray[np.int64]
    category: NDArray[np.int64]
    params: NDArray[np.float64]
    cov: NDArray[np.float64]


@dataclass(frozen=True)
class SampleChunk:
    """Some whole events of one file.

    Attributes
    ----------
    source : str
        Name of the file, for messages.
    particles : SampleParticles
        Generated particles.
    tracks : SampleTracks
        Reconstructed tracks.
    categories : tuple of str
        Names of the kinds of tracks; the same in all chunks.
    """

    source: str
    particles: SampleParticles
    tracks: SampleTracks
    categories: tuple[str, ...] = ("track",)


@kernel
def _slot(table: NDArray[np.int64], event: NDArray[np.int64], label: NDArray[np.int64], e: int, k: int) -> np.int64:
    """Place of (event, label) in an open hash table of rows, or the free place where it would go."""
    mask = len(table) - 1
    place = np.int64(absorb(absorb(np.uint64(1), np.uint64(e)), np.uint64(k)) & np.uint64(mask))
    while table[place] >= 0:
        row = table[place]
        if event[row] == e and label[row] == k:
            break
        place = (place + 1) & mask
    return place


@kernel
def _join(
    event: NDArray[np.int64],
    label: NDArray[np.int64],
    track_event: NDArray[np.int64],
    track_label: NDArray[np.int64],
    table: NDArray[np.int64],
    row: NDArray[np.int64],
) -> int:
    """Fill the row of each track's particle (-1: none); the first particle that comes twice, or -1."""
    table[:] = -1
    for i in range(len(event)):
        place = _slot(table, event, label, event[i], label[i])
        if table[place] >= 0:
            return i
        table[place] = i
    for i in range(len(track_event)):
        row[i] = -1
        if track_label[i] >= 0:
            row[i] = table[_slot(table, event, label, track_event[i], track_label[i])]
    return -1


def match(chunk: SampleChunk) -> NDArray[np.int64]:
    """Particle of each track, through a hash table: time grows with the number of rows, whatever their order.

    Parameters
    ----------
    chunk : SampleChunk
        Whole events.

    Returns
    -------
    (n_tracks,) int64
        Row of the particle; -1 for a track without label (fake) or whose particle is not in the chunk.

    Raises
    ------
    InputError
        Two particles of an event have one label.
    """
    particles, tracks = chunk.particles, chunk.tracks
    row = np.empty(len(tracks.label), np.int64)
    size = 1 << max(4, int(2 * len(particles.label) - 1).bit_length() if len(particles.label) else 4)
    twice = _join(particles.event, particles.label, tracks.event, tracks.label, np.empty(size, np.int64), row)
    if twice >= 0:
        raise InputError(
            f"event {particles.event[twice]} has two particles with label {particles.label[twice]}",
            chunk.source,
            "labels must be unique within an event, and events must not be cut by chunks",
        )
    return row


@kernel
def _mix(words: NDArray[np.uint64], labels: NDArray[np.int64]) -> None:
    for i in range(len(words)):
        state = np.uint64(3)
        for k in range(words.shape[1]):
            state = absorb(state, words[i, k])
        labels[i] = np.int64(state >> np.uint64(1))


def mixed(words: NDArray[np.uint64]) -> NDArray[np.int64]:
    """One label of several words.

    Parameters
    ----------
    words : (n, m) uint64
        What makes up a name.

    Returns
    -------
    (n,) int64
        Hashes of 63 bits, not negative.
    """
    labels = np.empty(len(words), np.int64)
    _mix(np.ascontiguousarray(words), labels)
    return labels
