"""Full simulation in ALICE AO2D files: tracks, covariances, labels and generated particles.

One chunk per directory ``DF_n``. Versions of tables differ between productions; the newest that is there is taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from flashdet.errors import InputError
from flashdet.io.aod_tables import (
    PHYSICAL_PRIMARY,
    RHO_BRANCHES,
    SIGMA_BRANCHES,
    TRACK_PARAMETERS,
    unpack_covariance,
)
from flashdet.io.samples.parameters import charged_density
from flashdet.lut.sample import NO_LABEL, SampleChunk, SampleParticles, SampleTracks

_FRAME = re.compile(r"DF_(\d+)")


def read_aod(path: Path, secondaries: bool = False) -> Iterator[SampleChunk]:
    """Read a file.

    Parameters
    ----------
    path : Path
        AO2D file.
    secondaries : bool
        Also count particles that are no physical primaries; their cells are told apart by the production radius.

    Yields
    ------
    SampleChunk
        One per directory.

    Raises
    ------
    InputError
        The file is damaged or holds no tracks with labels.
    """
    import uproot

    try:
        with uproot.open(path, handler=uproot.MemmapSource) as file:
            frames = sorted(
                (int(m[1]), k) for k in file.keys(recursive=False, cycle=False) if (m := _FRAME.fullmatch(k))
            )
            if not frames:
                raise InputError("has no directory DF_n: it is no AO2D file", str(path))
            for number, name in frames:
                yield _read_frame(file[name], number, f"{path}:{name}", secondaries)
    except InputError:
        raise
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot be read: {error}", str(path)) from error


def _tree(frame: Any, stem: str, where: str) -> Any:
    """Newest version of a table: ``O2track_iu_001`` before ``O2track``."""
    names = sorted(k for k in frame.keys(recursive=False, cycle=False) if re.fullmatch(rf"{stem}(_\d+)?", k))
    if not names:
        raise InputError(f"has no table {stem}", where)
    return frame[names[-1]]


def _arrays(tree: Any, names: list[str]) -> dict[str, NDArray[Any]]:
    return {name: tree[name].array(library="np") for name in names}


def _read_frame(frame: Any, number: int, where: str, secondaries: bool) -> SampleChunk:
    names = ["fIndexMcCollisions", "fPdgCode", "fFlags", "fPx", "fPy", "fPz", "fVx", "fVy", "fVz"]
    mc = _arrays(_tree(frame, "O2mcparticle", where), names)
    px, py, pz, vx, vy, vz = (mc[name].astype(np.float64) for name in names[3:])
    pdg = mc["fPdgCode"].astype(np.int32)
    event = mc["fIndexMcCollisions"].astype(np.int64) + (np.int64(number) << 24)
    is_primary = (mc["fFlags"] & PHYSICAL_PRIMARY) != 0
    primary_pdg = np.where(is_primary, pdg, 0).astype(np.int32)
    nch = charged_density(event, primary_pdg, px, py, pz)
    stem = (
        "O2track"
        if any(re.fullmatch(r"O2track(_\d+)?", k) for k in frame.keys(recursive=False, cycle=False))
        else ("O2track_iu")
    )
    parameters = _arrays(_tree(frame, stem, where), list(TRACK_PARAMETERS))
    cov = unpack_covariance(
        _arrays(_tree(frame, stem.replace("track", "trackcov"), where), [*SIGMA_BRANCHES, *RHO_BRANCHES])
    )
    label = _tree(frame, "O2mctracklabel", where)["fIndexMcParticles"].array(library="np").astype(np.int64)
    label = np.where((label >= 0) & (label < len(pdg)), label, NO_LABEL)
    params = np.stack([parameters[name].astype(np.float64) for name in TRACK_PARAMETERS], axis=1)
    if len(params) != len(label) or len(cov) != len(params):
        raise InputError("tracks, covariances and labels have different lengths", where)
    track_event = np.where(label >= 0, event[np.maximum(label, 0)], -1) if len(pdg) else np.full(len(label), -1)
    kept = pdg if secondaries else primary_pdg  # code 0 is counted as another species
    rows = np.arange(len(pdg), dtype=np.int64)
    particles = SampleParticles(event, rows, kept, px, py, pz, vx, vy, vz, nch)
    tracks = SampleTracks(track_event.astype(np.int64), label, np.zeros(len(label), np.int64), params, cov)
    return SampleChunk(where, particles, tracks)
