"""Close the circle: FlashDet simulates the generated particles, and its tracks must be those of ACTS.

    python examples/acts/closure.py --sample sample --card card.yaml --eta 4:-4:4 --repeat 8

For every species: the folders ``sample/SPECIES`` of ``simulate.py`` (CSV files and SPECIES.hepmc3). The HepMC3 file is
simulated with the card, whose tables were built from that sample, and both sets of tracks are compared cell by cell
with the truth: efficiencies, widths of the residuals, pulls, and the Kolmogorov-Smirnov distance of each residual.

Residuals are taken in units of the table's standard deviation at the place of the particle, so that cells in which the
resolution changes by factors can be compared; widths are half the range that holds 68.27 %. Pulls are judged where
the residuals of ACTS are Gaussian; where they have tails no width makes a pull of one. The width of the core of all
pulls, as tables define a standard deviation, is printed beside them.

The limits are plain ones for every cell. A limit can be tested where its statistical error is so small that the worst
of all cells would not exceed it by chance; else the verdict is "undecided", and how many tracks it takes is told. With
``--repeat`` the particles are simulated several times over with FlashDet, which takes a hundredth of the time of ACTS.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import chi2, ks_2samp, kstwobign, norm

from flashdet.cli.main import execute
from flashdet.io.samples.acts import find_events, read_acts
from flashdet.io.samples.aod import read_aod
from flashdet.lut.catalog import load_lut
from flashdet.lut.residuals import residuals
from flashdet.lut.robust import fit_core
from flashdet.lut.sample import SampleChunk, match
from flashdet.lut.table import Lut
from flashdet.species import particle_table

PARAMETERS = ("y", "z", "snp", "tgl", "q/pt")
DIAGONAL = [0, 2, 5, 9, 14]
#: Cells with fewer tracks are left out.
FEWEST = 1000
#: Parts of a cell whose spread gives the statistical error of a width, which tails make larger than a Gaussian's.
PARTS = 20
#: Half the range that holds 95.45 % over half of that with 68.27 %, 2 for a Gaussian: beyond this a pull says nothing.
HEAVIEST = 2.2
#: What is asked for in every cell: standard errors of an efficiency, deviations of widths and pulls from 1; and of
#: each residual over all cells: distance.
LIMITS = {"efficiency": 3.0, "sigma": 0.05, "pull": 0.05, "ks": 0.02}
#: Statistics suffices if by chance alone a species exceeds a limit in one of a hundred samples at most.
CHANCE = 0.01
#: Verdicts and exit codes.
VERDICTS = ("closed", "NOT closed", "undecided")
CLOSED, NOT_CLOSED, UNDECIDED = range(3)


@dataclass
class Tracks:
    """Particles and residuals of a sample.

    Attributes
    ----------
    generated : (n, 2) float64
        eta and pt [GeV] of every particle.
    found : (n,) bool
        Whether it has a track.
    residual : (m, 5) float64
        Of the first track of every found particle.
    sigma : (m, 5) float64
        What the track itself reports.
    place : (m, 2) float64
        eta and pt of its particle.
    """

    generated: NDArray[np.float64]
    found: NDArray[np.bool_]
    residual: NDArray[np.float64]
    sigma: NDArray[np.float64]
    place: NDArray[np.float64]


def read(chunks: Iterable[SampleChunk], bz: float) -> Tracks:
    """Compare all tracks with the truth."""
    parts: list[list[NDArray[Any]]] = []
    table = particle_table()
    for chunk in chunks:
        p = chunk.particles
        row = match(chunk)
        charge = table.charge3[table.find(p.pdg)] / 3.0
        res = residuals(p, chunk.tracks, row, charge, bz)
        usable = np.flatnonzero((row >= 0) & res.is_usable)
        particle, first = np.unique(row[usable], return_index=True)
        tracks = usable[first]
        pt = np.hypot(p.px, p.py)
        eta = np.arcsinh(np.divide(p.pz, pt, out=np.full_like(pt, np.inf), where=pt > 0.0))
        place = np.stack([eta, pt], axis=1)
        has_track = np.isin(np.arange(len(pt)), row[row >= 0])
        variance = res.cov[tracks][:, DIAGONAL]
        sigma = np.sqrt(np.where(variance > 0.0, variance, np.nan))  # what a fit reports need not be positive
        parts.append([place, has_track, res.value[tracks], sigma, place[particle]])
    return Tracks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass
class Closure:
    """Numbers of one species: one row per cell, a distance per residual over all cells, and tracks of both samples."""

    rows: list[dict[str, float]] = field(default_factory=list)
    distance: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))
    n: tuple[int, int] = (0, 0)

    def column(self, name: str) -> NDArray[np.float64]:
        """Values of all cells."""
        return np.array([row[name] for row in self.rows])

    def columns(self, text: str) -> NDArray[np.float64]:
        """(n_cells, 5) values of all parameters."""
        return np.stack([self.column(text.format(name)) for name in PARAMETERS], axis=1)


def close(
    acts: Tracks, ours: Tracks, lut: Lut, eta: NDArray[np.float64], pt: NDArray[np.float64], is_independent: bool
) -> Closure:
    """Compare two samples cell by cell."""
    result = Closure()
    scaled = [sample.residual / table_sigma(lut, sample.place) for sample in (acts, ours)]
    pulls = [sample.residual / sample.sigma for sample in (acts, ours)]
    seen: list[list[NDArray[np.float64]]] = [[], []]
    for e in range(len(eta) - 1):
        for t in range(len(pt) - 1):
            box = (eta[e], eta[e + 1], pt[t], pt[t + 1])
            numbers = [_efficiency(sample, box) for sample in (acts, ours)]
            kept = [_inside(sample.place, box) for sample in (acts, ours)]
            n = [int(k.sum()) for k in kept]
            if min(n) < FEWEST:
                continue
            row = dict(zip(("eta_low", "eta_high", "pt_low", "pt_high"), map(float, box), strict=True))
            row |= {"tracks": float(n[0]), "efficiency_acts": numbers[0][0], "efficiency": numbers[1][0]}
            row["efficiency_deviation"] = _standard_errors(*numbers, 2.0 if is_independent else 1.0)
            inside = [values[k] for values, k in zip(scaled, kept, strict=True)]
            row |= _compare(inside, [values[k] for values, k in zip(pulls, kept, strict=True)], is_independent)
            result.rows.append(row)
            for side, values in zip(seen, inside, strict=True):
                side.append(values)
    if not result.rows:
        raise SystemExit(f"no cell has {FEWEST} tracks: use wider cells (--eta, --pt) or more particles")
    both = [np.concatenate(side) for side in seen]
    result.distance, result.n = _distances(both), (len(both[0]), len(both[1]))
    return result


def _compare(
    scaled: list[NDArray[np.float64]], pulls: list[NDArray[np.float64]], is_independent: bool
) -> dict[str, float]:
    """Widths, pulls and distances of the residuals of one cell, ACTS first."""
    widths, errors = [half_width(values) for values in scaled], [width_error(values) for values in scaled]
    reported, distance = [half_width(values) for values in pulls], _distances(scaled)
    core, core_error = core_width(pulls[1]), width_error(pulls[1], core_width)
    shape = half_width(scaled[0], 0.9545) / widths[0]
    row = {}
    for i, name in enumerate(PARAMETERS):
        # fluctuations of the tracks of ACTS are in the table and so in both widths of a ratio, but not in a pull; in
        # tables of another sample they are others of the same size
        row[f"sigma_{name}_ratio"] = widths[1][i] / widths[0][i]
        row[f"error_{name}"] = np.hypot(errors[1][i], 2**0.5 * errors[0][i]) if is_independent else errors[1][i]
        row[f"pull_error_{name}"] = np.hypot(*errors)[i]
        row[f"pull_{name}"], row[f"pull_{name}_acts"] = reported[1][i], reported[0][i]
        row[f"core_{name}"], row[f"core_error_{name}"] = core[i], np.hypot(core_error, errors[0])[i]
        row[f"shape_{name}"], row[f"distance_{name}"] = shape[i], distance[i]
    return row


def _distances(both: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.array([ks_2samp(both[0][:, i], both[1][:, i]).statistic for i in range(5)])


def half_width(values: NDArray[np.float64], share: float = 0.6827) -> NDArray[np.float64]:
    """Half the range that holds a share of each column; what is not known is left out."""
    low, high = np.nanquantile(values, [0.5 - 0.5 * share, 0.5 + 0.5 * share], axis=0)
    return np.asarray(0.5 * (high - low))


def core_width(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Width of the core of each column, by the estimator that makes the standard deviations of tables."""
    fit = fit_core(values[~np.isnan(values).any(axis=1)])
    return np.full(5, np.nan) if fit is None else np.asarray(np.sqrt(np.diag(fit.covariance)))


def width_error(
    values: NDArray[np.float64], width: Callable[[NDArray[np.float64]], NDArray[np.float64]] = half_width
) -> NDArray[np.float64]:
    """Relative standard error of the width of each column."""
    parts = np.stack([width(values[i::PARTS]) for i in range(PARTS)])
    return np.asarray(parts.std(axis=0, ddof=1) / parts.mean(axis=0) / PARTS**0.5)


def table_sigma(lut: Lut, place: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviations of the table at (eta, pt), linear in eta and log pt as the tracking stage takes them."""
    eta, pt = lut.covariance_axes[1:]
    log_sigma = 0.5 * np.log(lut.covariance[0][..., DIAGONAL])
    grid = (eta.centers, np.log(pt.centers))
    inside = [np.clip(x, g[0], g[-1]) for x, g in zip((place[:, 0], np.log(place[:, 1])), grid, strict=True)]
    return np.asarray(np.exp(RegularGridInterpolator(grid, log_sigma)(np.stack(inside, axis=1))))


def _inside(place: NDArray[np.float64], box: tuple[float, ...]) -> NDArray[np.bool_]:
    eta, pt = place.T
    return np.asarray((eta >= box[0]) & (eta < box[1]) & (pt >= box[2]) & (pt < box[3]))


def _efficiency(sample: Tracks, box: tuple[float, ...]) -> tuple[float, int]:
    found = sample.found[_inside(sample.generated, box)]
    return float(found.mean()), len(found)


def _standard_errors(first: tuple[float, int], second: tuple[float, int], times: float) -> float:
    """Difference of two efficiencies over its binomial error, with the pooled efficiency; the first enters `times`."""
    pooled = (first[0] * first[1] + second[0] * second[1]) / (first[1] + second[1])
    variance = pooled * (1.0 - pooled) * (times / first[1] + 1.0 / second[1])
    return (second[0] - first[0]) / variance**0.5 if variance > 0.0 else 0.0


def report(species: str, result: Closure) -> int:
    """Print the numbers of a species; its verdict."""
    off, ratio, error = result.column("efficiency_deviation"), *map(result.columns, ("sigma_{}_ratio", "error_{}"))
    pull, pull_error, core, core_error = map(result.columns, ("pull_{}", "pull_error_{}", "core_{}", "core_error_{}"))
    gaussian = result.columns("shape_{}") < HEAVIEST
    everywhere = np.ones_like(gaussian)
    n = result.column("tracks")
    print(f"{species}: {len(off)} cells of {int(n.min())} to {int(n.max())} tracks of ACTS, {result.n[1]} of FlashDet")
    probability = chi2.sf((off**2).sum(), len(off))
    print(f"  efficiency: worst cell {abs(off).max():.1f} standard errors, chi2 probability {probability:.3f}")
    print("  parameter:           " + "  ".join(f"{name:>14}" for name in PARAMETERS))
    for title, values, used in (
        ("sigma ratio", ratio, everywhere),
        ("its standard error", error, everywhere),
        ("in standard errors", (ratio - 1.0) / error, everywhere),
        ("core of pulls", core, everywhere),
        ("its standard error", core_error, everywhere),
        ("pull", pull, gaussian),
        ("pull of ACTS", result.columns("pull_{}_acts"), gaussian),
        ("KS distance of cells", result.columns("distance_{}"), everywhere),
    ):
        columns = [v[u] for v, u in zip(values.T, used.T, strict=True)]
        print(f"  {title:<20} " + "  ".join(f"{v.min():6.3f}..{v.max():6.3f}" if len(v) else " " * 14 for v in columns))
    print("  cells with tails     " + "  ".join(f"{k:14d}" for k in (~gaussian).sum(axis=0)))
    print("  KS distance, all     " + "  ".join(f"{d:14.4f}" for d in result.distance))
    kept = (
        abs(off).max() < LIMITS["efficiency"],
        (abs(ratio - 1.0) < LIMITS["sigma"]).all(),
        (abs(pull - 1.0) < LIMITS["pull"])[gaussian].all(),
        result.distance.max() < LIMITS["ks"],
    )
    for name, limit, is_kept in zip(LIMITS, LIMITS.values(), kept, strict=True):
        print(f"  {name}: {'within' if is_kept else 'NOT within'} {limit:g}")
    if all(kept):
        return CLOSED
    deviations = np.concatenate([abs(ratio - 1.0).ravel(), abs(pull - 1.0)[gaussian]])
    errors = np.concatenate([error.ravel(), pull_error[gaussian]])
    return NOT_CLOSED if not kept[0] or _is_beyond_chance(deviations, errors, result) else UNDECIDED


def _is_beyond_chance(deviations: NDArray[np.float64], errors: NDArray[np.float64], result: Closure) -> bool:
    """Whether limits are exceeded by more than chance; if not, it is told how much statistics that would take."""
    far = norm.isf(0.5 * CHANCE / len(errors))
    distance = kstwobign.isf(CHANCE / 5.0) * (1.0 / result.n[0] + 1.0 / result.n[1]) ** 0.5
    largest = LIMITS["sigma"] / far
    if errors.max() <= largest and distance <= LIMITS["ks"]:
        return True
    if (deviations > LIMITS["sigma"] + far * errors).any() or result.distance.max() > LIMITS["ks"] + distance:
        return True
    print(f"  statistics: errors of widths and pulls up to {errors.max():.3f}, {largest:.4f} is needed;")
    print(f"  distances of equal distributions up to {distance:.4f}, {LIMITS['ks']} is needed:")
    print("  take more particles, more --repeat or wider cells")
    return False


def simulated(events: list[Path], options: argparse.Namespace) -> Tracks:
    """Tracks of FlashDet for the particles of files, as often as asked for."""
    parts = []
    for seed in range(options.seed, options.seed + options.repeat):
        with tempfile.TemporaryDirectory() as scratch:
            output = Path(scratch) / "tracks.aod.root"
            command = ["sim", *map(str, events), "--card", str(options.card), "-o", str(output), "--format", "aod"]
            if execute([*command, "--quiet", "--seed", str(seed)]) != 0:
                raise SystemExit(f"flashdet sim failed on {events[0]}")
            parts.append(read(read_aod(output), options.field))
    return Tracks(*(np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Tracks)))


def main() -> int:
    """Run all species: 0 if all close, 1 if one does not, 2 if statistics do not tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sample", type=Path, required=True, nargs="+", help="folders of simulate.py")
    parser.add_argument("--card", type=Path, required=True, help="card with the tables made of it")
    parser.add_argument("--field", type=float, default=2.0, help="T")
    parser.add_argument("--eta", default="8:-4:4", help="cells of the closure, BINS:LOW:HIGH")
    parser.add_argument("--pt", default="4:0.2:20", help="likewise, equal in log pt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--repeat", type=int, default=1, help="simulate the particles so many times, seeds one up each")
    parser.add_argument("--independent", action="store_true", help="the tables are made of another sample as large")
    parser.add_argument("--output", type=Path, help="also write all cells: CSV file")
    options = parser.parse_args()
    (n_eta, *eta), (n_pt, *pt) = (map(float, text.split(":")) for text in (options.eta, options.pt))
    edges = np.linspace(*eta, int(n_eta) + 1), np.geomspace(*pt, int(n_pt) + 1)
    names = sorted(path.name for path in options.sample[0].iterdir() if path.is_dir())
    verdicts, lines = [], []
    for name in names:
        ours = simulated([folder / name / f"{name}.hepmc3" for folder in options.sample], options)
        events = find_events([path for folder in options.sample for path in sorted((folder / name).glob("event*.csv"))])
        lut = load_lut(str(options.card.parent / "luts" / f"{name}.lut.npz"))
        acts = read((chunk for event in events for chunk in read_acts(event)), options.field)
        result = close(acts, ours, lut, *edges, options.independent)
        verdicts.append(report(name, result))
        print(f"  {VERDICTS[verdicts[-1]]}", flush=True)
        lines += [{"species": name, **row} for row in result.rows]
    if options.output is not None:
        with options.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    verdict = NOT_CLOSED if NOT_CLOSED in verdicts else max(verdicts)
    print(VERDICTS[verdict])
    return verdict


if __name__ == "__main__":
    raise SystemExit(main())
