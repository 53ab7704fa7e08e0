"""Tracks found as a reconstruction finds them: seeds of three hits, their parameters, a combinatorial Kalman filter.

The counterpart of the start from the truth in ``simulate.py``. Nothing here knows which hit belongs to which particle;
only the mass that fit and search assume is that of the particles of the sample. Written for pyacts 48.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import acts
from acts.examples import reconstruction
from geometry import CM, Geometry

from flashdet.lut.layout import Layer

u = acts.UnitConstants
#: Layers whose hits make seeds: those within this radius and |z| [cm]. Three of them are enough near the beam line.
SEED_RADIUS, SEED_Z = 30.0, 130.0
#: Distances of the hits of a seed across the beam [mm]: discs at eta = 4 are 1.5 mm apart, cylinders up to 150 mm.
DISTANCE = (1.0, 150.0)
#: Seeds must point to the beam line within this length [mm] and radius [mm], and may be as flat as eta = 4.4.
BEAM_LINE, IMPACT, COT_THETA = 150.0, 10.0, 40.0
#: Softest seeds, as part of the softest particle's pt: slow protons lose a tenth of it, resolution takes as much.
SOFTEST = 0.75
#: Scattering that a seed may show, in standard deviations, in layers of this x/X0: the cold plate has 2 %, inclined.
SCATTERING, RADIATION_LENGTHS = 5.0, 0.05
#: Largest chi2 of a hit (two dimensions) that is taken up, and that is kept as an outlier.
CHI2_HIT, CHI2_OUTLIER = 25.0, 40.0


def add_found_tracks(
    s: Any, geometry: Geometry, species: str, pt_min: float, start: tuple[float, ...], folder: Path
) -> str:
    """Add what follows the digitisation.

    Parameters
    ----------
    s : acts.examples.Sequencer
        Job with the measurements.
    geometry : Geometry
        Of the detector.
    species : str
        Whose mass is assumed.
    pt_min : float
        Of the particles [GeV].
    start : tuple of 6 floats
        Standard deviations from which the filter starts, as of ``simulate.py``.
    folder : Path
        For the file that names the layers of the seeds.

    Returns
    -------
    str
        Name of the tracks.
    """
    selection = folder / "seeding.json"
    places = {
        (sensor.surface.geometryId.volume, sensor.surface.geometryId.layer)
        for sensor in geometry.sensors
        if _makes_seeds(sensor.layer)
    }
    selection.write_text(json.dumps([{"volume": volume, "layer": layer} for volume, layer in sorted(places)]))
    reconstruction.addSeeding(
        s,
        geometry.tracking_geometry,
        geometry.field,
        geoSelectionConfigFile=selection,
        seedingAlgorithm=reconstruction.SeedingAlgorithm.GridTriplet,
        seedFinderConfigArg=reconstruction.SeedFinderConfigArg(
            r=(0.0, SEED_RADIUS * CM),
            z=(-SEED_Z * CM, SEED_Z * CM),
            deltaR=DISTANCE,
            collisionRegion=(-BEAM_LINE, BEAM_LINE),
            maxSeedsPerSpM=5,
            cotThetaMax=COT_THETA,
            sigmaScattering=SCATTERING,
            radLengthPerSeed=RADIATION_LENGTHS,
            minPt=SOFTEST * pt_min * u.GeV,
            impactMax=IMPACT,
            rMinMiddle=0.0,
            rMaxMiddle=SEED_RADIUS * CM,
        ),
        seedFinderOptionsArg=reconstruction.SeedFinderOptionsArg(bFieldInZ=geometry.layout.field * u.T),
        initialSigmas=list(start),
        initialSigmaQoverPt=0.1 / u.GeV,
        initialSigmaPtRel=1.0,
        initialVarInflation=[1.0] * 6,
        particleHypothesis=getattr(acts.ParticleHypothesis, species),
        logLevel=acts.logging.WARNING,
    )
    return _add_search(s, geometry)


def _add_search(s: Any, geometry: Geometry) -> str:
    """Follow the seeds through all layers, and keep the better of tracks that share hits."""
    fewest = geometry.layout.minimum_hits
    reconstruction.addCKFTracks(
        s,
        geometry.tracking_geometry,
        geometry.field,
        reconstruction.TrackSelectorConfig(nMeasurementsMin=fewest),
        reconstruction.CkfConfig(
            chi2CutOffMeasurement=CHI2_HIT,
            chi2CutOffOutlier=CHI2_OUTLIER,
            numMeasurementsCutOff=2,
            seedDeduplication=True,
            stayOnSeed=True,
        ),
        writePerformance=False,
        writeTrackSummary=False,
        logLevel=acts.logging.FATAL,  # every seed that ends nowhere is an error to it
    )
    reconstruction.addAmbiguityResolution(
        s,
        reconstruction.AmbiguityResolutionConfig(maximumSharedHits=fewest - 1, nMeasurementsMin=fewest),
        writePerformance=False,
        writeTrackSummary=False,
        logLevel=acts.logging.WARNING,
    )
    return "ambi_tracks"


def _makes_seeds(layer: Layer) -> bool:
    limit = SEED_RADIUS if layer.kind == "cylinder" else SEED_Z
    return not layer.is_inert and abs(layer.position) <= limit
