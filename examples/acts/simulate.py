"""Simulate a layout card with ACTS: particle gun, Fatras, hits, Kalman fit; writes CSV files and the generated HepMC3.

    python examples/acts/simulate.py --layout alice3_v3 --output sample --particles 100000

Needs ``pip install "flashdet[acts]"`` (pyacts 48). What the settings are for is told in ``docs/full_simulation.md``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import acts
import acts.examples
import acts.examples.hepmc3
import numpy as np
from acts.examples import reconstruction, simulation
from geometry import Geometry
from numpy.typing import NDArray
from seeding import add_found_tracks

from flashdet.kernels.jit import kernel
from flashdet.kernels.philox import uniforms
from flashdet.layout import read_layout
from flashdet.species import SPECIES, SPECIES_PDG

u = acts.UnitConstants
QUIET = acts.logging.WARNING
#: Standard deviations of the seeds around the truth: loc0, loc1 [mm], phi, theta [rad], relative in pt; the angles are
#: what three hits of 2.5 um within 2 cm give. The Kalman filter takes its derivatives along the seed: with the default
#: of ACTS, 1 degree, residuals of theta and z0 are up to three times wider than they should be at |eta| > 0.8.
SEED = (0.01, 0.01, 2e-4, 2e-4, 0.03)
#: Standard deviations the fit starts from, beyond those of any fitted track: with the 1 mm and 1 degree of ACTS
#: the truth in the seed would make soft forward tracks 7 % better than their hits do.
START = (10.0 * u.mm, 100.0 * u.mm, 10.0 * u.degree, 10.0 * u.degree, 0.0, 1.0 * u.ns)


@kernel
def _uniforms(key: np.uint64, event: np.uint64, out: NDArray[np.float64]) -> None:
    for i in range(len(out)):
        out[i] = uniforms(key, event, i, 0)[0]


class HitEfficiency(acts.examples.IAlgorithm):
    """Drop simulated hits: those of inert layers, and of the others the fraction that a layer misses.

    The smearing digitisation of ACTS has no inefficiency; hits on surfaces that are not in its file must not reach it.
    """

    def __init__(self, efficiency: dict[int, float], seed: int) -> None:
        super().__init__("HitEfficiency", QUIET)
        self._efficiency, self._seed = efficiency, seed
        self._read = acts.examples.ReadDataHandle(self, acts.examples.SimHitContainer, "InputHits")
        self._read.initialize("simhits_all")
        self._write = acts.examples.WriteDataHandle(self, acts.examples.SimHitContainer, "OutputHits")
        self._write.initialize("simhits")

    def execute(self, context: Any) -> Any:
        """Do one event."""
        hits = self._read(context.eventStore)
        kept = acts.examples.SimHitContainer()
        thrown = np.empty(len(hits))
        _uniforms(np.uint64(self._seed), np.uint64(context.eventNumber), thrown)
        for number, hit in zip(thrown, hits, strict=True):
            if number < self._efficiency.get(hit.geometryId.value, 0.0):
                kept.insert(hit)
        self._write(context, kept)
        return acts.examples.ProcessCode.SUCCESS


def run(geometry: Geometry, species: str, options: argparse.Namespace, folder: Path) -> None:
    """Simulate one species into a folder."""
    n_events = -(-options.particles // options.per_event)
    rnd = acts.examples.RandomNumbers(seed=options.seed)
    s = acts.examples.Sequencer(
        events=n_events, numThreads=options.threads, logLevel=QUIET, trackFpes=False, outputDir=str(folder)
    )
    simulation.addParticleGun(
        s,
        simulation.MomentumConfig(options.pt[0] * u.GeV, options.pt[1] * u.GeV, transverse=True, logUniform=True),
        simulation.EtaConfig(-options.eta, options.eta, uniform=True),
        simulation.PhiConfig(0.0, 360.0 * u.degree),
        simulation.ParticleConfig(
            options.per_event, acts.PdgParticle(SPECIES_PDG[SPECIES.index(species)]), randomizeCharge=True
        ),
        multiplicity=1,
        rnd=rnd,
        outputDirCsv=str(folder),
        logLevel=QUIET,
    )
    hepmc3 = folder / f"{species}.hepmc3"
    s.addWriter(acts.examples.hepmc3.HepMC3Writer(level=QUIET, inputEvent="particle_gun_event", outputPath=hepmc3))
    simulation.addFatras(
        s,
        geometry.tracking_geometry,
        geometry.field,
        rnd=rnd,
        pMin=options.p_min * u.GeV,
        inputParticles="particles_generated",
        outputSimHits="simhits_all",
        logLevel=QUIET,
    )
    s.addAlgorithm(HitEfficiency(geometry.hit_efficiency, options.seed))
    simulation.addDigitization(
        s, geometry.tracking_geometry, geometry.field, digiConfigFile=geometry.digitisation, rnd=rnd, logLevel=QUIET
    )
    simulation.addDigiParticleSelection(
        s,
        simulation.ParticleSelectorConfig(
            measurements=(geometry.layout.minimum_hits, None), removeNeutral=True, removeSecondaries=True
        ),
        logLevel=QUIET,
    )
    if options.seeding == "found":
        tracks = add_found_tracks(s, geometry, species, options.pt[0], START, folder)
    else:
        tracks = _add_tracks_of_the_truth(s, geometry, rnd)
    _add_writers(s, tracks, folder)
    s.run()


def _add_tracks_of_the_truth(s: Any, geometry: Geometry, rnd: Any) -> str:
    """Fit the hits of each particle, from a start near its true parameters; the name of the tracks."""
    loc0, loc1, phi, theta, pt = SEED
    reconstruction.addTruthSmearedSeeding(
        s,
        rnd,
        "particles_selected",
        reconstruction.TrackSmearingSigmas(loc0, 0.0, 0.0, loc1, 0.0, 0.0, 1.0 * u.ns, phi, theta, pt),
        initialSigmas=list(START),
        initialSigmaQoverPt=0.1 / u.GeV,
        initialSigmaPtRel=1.0,
        initialVarInflation=[1.0] * 6,
        particleHypothesis=None,  # of the particle itself
        logLevel=QUIET,
    )
    reconstruction.addKalmanTracks(s, geometry.tracking_geometry, geometry.field, logLevel=QUIET)
    return "kf_tracks"


def _add_writers(s: Any, tracks: str, folder: Path) -> None:
    """Tracks with their labels, and their parameters. Without these limits the writer leaves out tracks below 1 GeV."""
    s.addWriter(
        acts.examples.CsvTrackWriter(
            level=QUIET,
            inputTracks=tracks,
            inputMeasurementParticlesMap="measurement_particles_map",
            outputDir=str(folder),
            fileName="tracks.csv",
            nMeasurementsMin=0,
            ptMin=0.0,
            truthMatchProbMin=0.0,
        )
    )
    s.addWriter(
        acts.examples.CsvTrackParameterWriter(
            level=QUIET, inputTracks=tracks, outputDir=str(folder), outputStem="parameters"
        )
    )


def main() -> None:
    """Read the options and simulate each species."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layout", default="alice3_v3", help="shipped layout or file")
    parser.add_argument("--species", nargs="+", default=["electron", "muon", "pion", "kaon", "proton"])
    parser.add_argument("--particles", type=int, default=20_000, help="per species")
    parser.add_argument("--per-event", type=int, default=2_000)
    parser.add_argument("--pt", type=float, nargs=2, default=(0.2, 20.0), metavar=("LOW", "HIGH"), help="GeV, log-flat")
    parser.add_argument("--eta", type=float, default=4.0, help="flat in |eta| below this")
    parser.add_argument("--p-min", type=float, default=0.05, help="GeV; Fatras stops particles below")
    parser.add_argument(
        "--seeding",
        choices=("truth", "found"),
        default="truth",
        help="truth: the hits of each particle are fitted, from a start near the truth; found: seeds are searched for "
        "and followed by a combinatorial Kalman filter (use a small --per-event: tracks of an event share layers)",
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, required=True, help="folder; one folder per species in it")
    options = parser.parse_args()
    layout = read_layout(options.layout)
    for number, species in enumerate(options.species):
        folder = options.output / species
        folder.mkdir(parents=True)
        options.seed += number > 0  # other random numbers for each
        run(Geometry(layout, folder), species, options, folder)
        print(f"{species}: {folder}")


if __name__ == "__main__":
    main()
