"""Time per track of propagate and tracking, against the same work written with NumPy.

Run: ``pytest benchmarks/bench_tracking.py --benchmark-enable -s``. The yardstick does the same on whole arrays, without
counters, multiplicity and reproducible random numbers. Watch the ratio, measured in one run: nanoseconds depend on the
machine and on what else it does.
"""

import time

import numpy as np
import pytest

from flashdet.lut.axis import Axis
from flashdet.lut.table import Lut
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_CHARGE, SPECIES_MASS, SPECIES_PDG
from flashdet.stages.base import Setup
from flashdet.stages.propagate.stage import Propagate, PropagateConfig
from flashdet.stages.tracking.stage import Tracking, TrackingConfig
from flashdet.testing import make_events

#: CPU time: other jobs on the machine disturb it less.
pytestmark = pytest.mark.benchmark(timer=time.process_time)
FIELD = 2.0
N_TRACKS = 20_000
TRUTH = ("pdg", "mass", "vx", "vy", "vz", "vt")
CODES, SHARES = (211, 321, 2212, 11, 13), (0.84, 0.09, 0.05, 0.01, 0.01)


def make_lut(species):
    """A table of the size of ALICE's (20 x 1 x 80 x 200)."""
    i = SPECIES.index(species)
    nch, radius = Axis("nch", "", 20, 10**0.5, 10**3.5, "log"), Axis("radius", "cm", 1, 0.0, 100.0)
    eta, pt = Axis("eta", "", 80, -4.0, 4.0), Axis("pt", "GeV", 200, 0.01, 100.0, "log")
    p, stretch = pt.centers, np.cosh(eta.centers)[:, None] ** 0.5
    scatter = np.sqrt(1.0 + 1.0 / p**2)
    sigma = np.stack([s * scatter * stretch for s in (5e-4, 6e-4, 1e-3, 1e-3)] + [0.01 * scatter / p * stretch], -1)
    correlation = np.eye(5)
    correlation[0, 2] = correlation[2, 0] = -0.65
    covariance = (sigma[..., :, None] * sigma[..., None, :] * correlation)[..., *np.tril_indices(5)]
    efficiency = np.broadcast_to(0.95 * (1.0 - np.exp(-p / 0.05)), (20, 80, 200)).copy()
    return Lut(
        species=species,
        pdg=SPECIES_PDG[i],
        mass=SPECIES_MASS[i],
        charge=SPECIES_CHARGE[i],
        field=FIELD,
        efficiency_axes=(nch, eta, pt),
        efficiency=efficiency,
        covariance_axes=(radius, eta, pt),
        covariance=covariance[None],
        valid=np.ones((1, 80, 200), np.bool_),
    )


@pytest.fixture(scope="module")
def luts():
    return {species: make_lut(species) for species in SPECIES}


@pytest.fixture(scope="module")
def events():
    """Like minimum bias: 200 events of 100 charged particles, pt exponential with mean 0.35 GeV, |eta| < 1.5.

    As in the records of generators, nine more rows come with each of them: partons, decayed particles and photons.
    """
    rng = np.random.default_rng(1)
    n_events, per_event = N_TRACKS // 100, 1000
    n = n_events * per_event
    vertex = np.repeat(rng.normal(size=(n_events, 4)) * (1e-3, 1e-3, 5.0, 0.0), per_event, axis=0)
    kind = np.concatenate([rng.permutation(np.repeat([0, 1, 2], [100, 250, 650])) for _ in range(n_events)])
    charged = rng.choice(CODES, n, p=SHARES) * rng.choice([-1, 1], n)
    pdg = np.choose(kind, [charged, np.full(n, 22), rng.choice([21, 113, 2, 111], n)])
    return make_events(
        pdg,
        0.05 + rng.exponential(0.35, n),
        rng.uniform(-1.5, 1.5, n),
        rng.uniform(-np.pi, np.pi, n),
        sizes=[per_event] * n_events,
        vertex=vertex,
        status=np.where(kind == 2, 2, 1),
    )


def numpy_tracks(events, efficiency, factor):
    """The same job with whole arrays: perigee, bilinear factors, efficiency, correlated normals, gathered truth."""
    record = events["particle"]
    rows = np.flatnonzero((record["status"] == 1) & np.isin(np.abs(record["pdg"]), CODES))
    particle = {name: record[name][rows] for name in ("px", "py", "pz", *TRUTH)}
    px, py, pz = particle["px"], particle["py"], particle["pz"]
    species = np.searchsorted(sorted(CODES), np.abs(particle["pdg"]))
    charge = np.where(species < 2, -1, 1) * np.sign(particle["pdg"])
    pt = np.hypot(px, py)
    phi, tgl = np.arctan2(py, px), pz / pt
    eta = np.arcsinh(tgl)
    k = -0.00299792458 * FIELD * charge / pt
    u = particle["vx"] * px / pt + particle["vy"] * py / pt
    w = particle["vy"] * px / pt - particle["vx"] * py / pt
    turn = np.arctan2(-k * u, 1.0 + k * w)
    y = (k * (u * u + w * w) + 2.0 * w) / (1.0 + np.hypot(k * u, 1.0 + k * w))
    params = np.stack([y, particle["vz"] + tgl * turn / k, 0 * y, tgl, charge / pt], -1)
    x_eta, x_pt = np.clip((eta + 4.0) * 10.0 - 0.5, 0, 78.99), np.clip((np.log10(pt) + 2.0) * 50.0 - 0.5, 0, 198.99)
    i_eta, i_pt = x_eta.astype(int), x_pt.astype(int)
    f_eta, f_pt = x_eta - i_eta, x_pt - i_pt
    rng = np.random.Generator(np.random.PCG64(1))
    accepted = np.flatnonzero(rng.random(len(pt)) <= bilinear(efficiency, species, i_eta, i_pt, f_eta, f_pt))
    root = bilinear(factor, *(a[accepted] for a in (species, i_eta, i_pt, f_eta[:, None, None], f_pt[:, None, None])))
    covariance = (root @ np.swapaxes(root, 1, 2))[:, *np.tril_indices(5)]
    noise = np.einsum("nij,nj->ni", root, rng.standard_normal((len(accepted), 5)))
    params = params[accepted] + noise
    azimuth = np.mod((phi + turn)[accepted] + np.arcsin(params[:, 2]) + np.pi, 2 * np.pi) - np.pi
    truth = [values[accepted] for values in (pt, eta, phi, charge, species, *(particle[c] for c in TRUTH))]
    return params, covariance, azimuth, np.arcsinh(params[:, 3]), 1.0 / np.abs(params[:, 4]), truth


def bilinear(table, species, i_eta, i_pt, f_eta, f_pt):
    """Interpolate between four cells."""
    low = (1 - f_pt) * table[species, i_eta, i_pt] + f_pt * table[species, i_eta, i_pt + 1]
    high = (1 - f_pt) * table[species, i_eta + 1, i_pt] + f_pt * table[species, i_eta + 1, i_pt + 1]
    return (1 - f_eta) * low + f_eta * high


@pytest.fixture(scope="module")
def yardstick(events, luts):
    """CPU time of the NumPy version [s], best of five."""
    tables = [luts[SPECIES[SPECIES_PDG.index(code)]] for code in sorted(CODES)]
    matrix = np.zeros((len(CODES), 80, 200, 5, 5))
    row, column = np.tril_indices(5)
    matrix[..., row, column] = matrix[..., column, row] = np.stack([lut.covariance[0] for lut in tables])
    efficiency, factor = np.stack([lut.efficiency[0] for lut in tables]), np.linalg.cholesky(matrix)
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        params, *_ = numpy_tracks(events, efficiency, factor)
        best = min(best, time.process_time() - start)
    assert 0.8 < len(params) / N_TRACKS < 1.0
    return best


def stages(luts, interpolation):
    setup = Setup(FIELD, luts)
    return (
        (Propagate("propagate", PropagateConfig(), setup), Draw.of(1, "propagate")),
        (Tracking("tracking", TrackingConfig(interpolation=interpolation), setup), Draw.of(1, "tracking")),
    )


@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_propagate_and_tracking(benchmark, events, luts, yardstick, interpolation):
    chain = stages(luts, interpolation)

    def run():
        batch = events.copy()
        for stage, draw in chain:
            for table in stage.run(batch, draw).tables:
                batch.add(table)
        return batch

    batch = benchmark.pedantic(run, rounds=15, warmup_rounds=2)
    assert batch["track"].n_rows > 0.8 * N_TRACKS
    report(benchmark, yardstick)


def test_propagate(benchmark, events, luts, yardstick):
    stage, draw = stages(luts, "linear")[0]
    output = benchmark.pedantic(stage.run, (events, draw), rounds=15, warmup_rounds=2)
    assert output.tables[0].n_rows == N_TRACKS
    report(benchmark, yardstick)


def report(benchmark, yardstick):
    """Nanoseconds per generated charged particle, and the ratio to the NumPy version of both stages."""
    if benchmark.stats is None:
        return
    n, best = N_TRACKS, benchmark.stats.stats.min
    benchmark.extra_info["ns_per_track"] = round(best / n * 1e9, 1)
    benchmark.extra_info["numpy_ns_per_track"] = round(yardstick / n * 1e9, 1)
    benchmark.extra_info["time_over_numpy"] = round(best / yardstick, 3)
    print(f"\n{benchmark.name}: {benchmark.extra_info}")
