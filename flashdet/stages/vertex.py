"""Primary vertex of each event from its smeared tracks, and the distance of every track to it.

One room: configuration and stage; the fit is :mod:`flashdet.kernels.vertexfit`. One vertex per event: events that pile
up are separate events here. The truth is not looked at.
"""

from __future__ import annotations

import numpy as np
from pydantic import Field

from flashdet.columns import TRACK, TRACK_VERTEX, VERTEX, for_stage
from flashdet.config import AnyLength, Length, StageConfig, StrictModel
from flashdet.event import EventBatch, Table
from flashdet.kernels.approach import Parameters
from flashdet.kernels.vertexfit import fit_vertices
from flashdet.rng import Draw
from flashdet.stages.base import Setup, Stage, StageOutput

_READS = (*Parameters._fields, "cov")
#: Signs that the beam spot of the card does not describe the events: a vertex farther from it than this [sigma], or
#: fewer than this part of at least so many tracks in the vertex (a narrow beam spot elsewhere keeps tracks out).
_FAR = 6.0
_FEW, _MANY_TRACKS = 1 / 3, 10


class BeamSpot(StrictModel):
    """Where collisions happen: centre and standard deviations."""

    x: AnyLength = "0 cm"  # type: ignore[assignment]
    """Centre in x."""
    y: AnyLength = "0 cm"  # type: ignore[assignment]
    """Centre in y."""
    z: AnyLength = "0 cm"  # type: ignore[assignment]
    """Centre in z."""
    sigma_x: Length = "100 um"  # type: ignore[assignment]
    """Standard deviation in x."""
    sigma_y: Length = "100 um"  # type: ignore[assignment]
    """Standard deviation in y."""
    sigma_z: Length = "6 cm"  # type: ignore[assignment]
    """Standard deviation in z."""


class VertexConfig(StageConfig):
    """Configuration of the vertex fit."""

    beam_spot: BeamSpot = BeamSpot()
    """Constraint of the fit; must describe the generated vertices, or vertices of few tracks are biased."""
    outlier_cut: float = Field(default=3.5, gt=0)
    """Distance of a track to the vertex, in standard deviations, at which it has weight one half."""
    min_tracks: int = Field(default=2, ge=1)
    """Contributors that a vertex needs; events with fewer have no vertex."""


class Vertex(Stage):
    """Fit the primary vertex.

    ``track.dca_xy`` and ``track.dca_z`` are distances to the vertex fitted *without* the track in question (the track's
    information is taken out of the fit, with the weight it had). A track pulls the vertex towards itself, so its
    distance to the common vertex is too small and correlated with it, strongly so in events with few tracks. The errors
    quoted add the covariances of track and that vertex; pulls of primary tracks have width 1. An only track
    is measured against the beam spot. dca_xy is positive if the track passes the vertex on the left of its momentum:
    (-sin phi, cos phi) dca_xy is the transverse vector from the vertex to the closest point, as in ALICE O2.
    """

    kind = "vertex"
    Config = VertexConfig
    config: VertexConfig

    def __init__(self, name: str, config: VertexConfig, setup: Setup) -> None:
        super().__init__(name, config, setup)
        self.reads = tuple(c for c in TRACK if c.name in _READS)
        self.writes = (*for_stage(VERTEX, self.kind, name), *TRACK_VERTEX)

    def run(self, batch: EventBatch, draw: Draw) -> StageOutput:
        """Fit all vertices of a batch; see :class:`flashdet.stages.base.Stage`. No random numbers are used.

        Counts: events without a vertex, and events that the beam spot of the card does not seem to describe.
        """
        track = batch["track"]
        n, n_events = track.n_rows, track.n_events
        spot = self.config.beam_spot
        beam = np.array([spot.x, spot.y, spot.z, spot.sigma_x, spot.sigma_y, spot.sigma_z])
        position, cov = np.full((n_events, 3), np.nan), np.full((n_events, 6), np.nan)
        chi2, count = np.empty(n_events), np.empty(n_events, np.int32)
        contributor, dca = np.empty(n, np.bool_), np.empty((4, n))
        fit_vertices(
            track.offsets,
            Parameters(*(track[c] for c in Parameters._fields)),
            track["cov"],
            float(self.setup.magnetic_field),
            beam,
            float(self.config.outlier_cut),
            int(self.config.min_tracks),
            position,
            cov,
            chi2,
            count,
            contributor,
            dca,
        )
        found = count > 0
        offsets = np.concatenate([[0], np.cumsum(found, dtype=np.int64)])
        x, y, z = np.ascontiguousarray(position[found].T)
        rows = {"x": x, "y": y, "z": z, "cov": cov[found], "chi2": chi2[found], "n_contributors": count[found]}
        names = ("dca_xy", "dca_z", "dca_xy_error", "dca_z_error")
        columns = {**dict(zip(names, dca, strict=True)), "is_pv_contributor": contributor}
        spread = np.sqrt(beam[3:] ** 2 + cov[:, (0, 2, 5)])
        n_tracks = np.diff(track.offsets)
        with np.errstate(invalid="ignore"):
            far = found & (np.abs(position - beam[:3]) > _FAR * spread).any(axis=1)
        doubtful = int((far | ((n_tracks >= _MANY_TRACKS) & (count < _FEW * n_tracks))).sum())
        counts = {"events without a vertex": int(n_events - found.sum())}
        if doubtful:
            counts["warning: vertices far from the beam spot of the card, or without most of the tracks"] = doubtful
        return StageOutput((Table(self.name, offsets, rows), Table("track", track.offsets, columns)), counts)
