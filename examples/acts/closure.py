"""Close the circle: FlashDet simulates the generated particles, and its tracks must be those of ACTS.

    python examples/acts/closure.py --sample sample --card card.yaml

For every species: the folder ``sample/SPECIES`` of ``simulate.py`` (CSV files and SPECIES.hepmc3). The HepMC3 file is
simulated with the card, whose tables were built from that sample, and both sets of tracks are compared cell by cell
with the truth: efficiencies, widths of the residuals, pulls, and the Kolmogorov-Smirnov distance of each residual.

Residuals are taken in units of the table's standard deviation at the place of the particle, so that cells in which the
resolution changes by factors can be compared; widths are half the range that holds 68.27 %. Pulls are judged where
the residuals of ACTS are Gaussian; where they have tails no width makes a pull of one.
"""

from __future__ import annotations

import argparse
import csv
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import RegularGridInterpolator
from scipy.stats import chi2, ks_2samp, norm

from flashdet.cli.main import execute
from flashdet.io.samples.acts import find_events, read_acts
from flashdet.io.samples.aod import read_aod
from flashdet.lut.catalog import load_lut
from flashdet.lut.residuals import residuals
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
#: What is asked for: standard errors of an efficiency, deviations of widths and pulls from 1, distance. Widths and
#: pulls may deviate by as many standard errors as the worst of a species has by chance in one of a hundred samples.
LIMITS = {"efficiency": 3.0, "sigma": 0.05, "pull": 0.05, "ks": 0.02}
CHANCE = 0.01


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
        parts.append([place, has_track, res.value[tracks], np.sqrt(res.cov[tracks][:, DIAGONAL]), place[particle]])
    return Tracks(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


@dataclass
class Closure:
    """Numbers of one species: one row per cell, and a distance per residual over all cells."""

    rows: list[dict[str, float]] = field(default_factory=list)
    distance: NDArray[np.float64] = field(default_factory=lambda: np.zeros(5))

    def column(self, name: str) -> NDArray[np.float64]:
        """Values of all cells."""
        return np.array([row[name] for row in self.rows])


def close(acts: Tracks, ours: Tracks, lut: Lut, eta: NDArray[np.float64], pt: NDArray[np.float64]) -> Closure:
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
            widths = [half_width(values[k]) for values, k in zip(scaled, kept, strict=True)]
            reported = [half_width(values[k]) for values, k in zip(pulls, kept, strict=True)]
            shape = half_width(scaled[0][kept[0]], 0.9545) / widths[0]
            row = dict(zip(("eta_low", "eta_high", "pt_low", "pt_high"), map(float, box), strict=True))
            row |= {"tracks": float(n[0]), "efficiency_acts": numbers[0][0], "efficiency": numbers[1][0]}
            row["efficiency_deviation"] = _standard_errors(*numbers)
            # fluctuations of the tracks of ACTS are in the table and so in both widths of a ratio, but not in a pull
            errors = [width_error(values[k]) for values, k in zip(scaled, kept, strict=True)]
            for i, name in enumerate(PARAMETERS):
                row[f"sigma_{name}_ratio"], row[f"error_{name}"] = widths[1][i] / widths[0][i], errors[1][i]
                row[f"pull_error_{name}"] = np.hypot(*errors)[i]
                row[f"pull_{name}"], row[f"pull_{name}_acts"] = reported[1][i], reported[0][i]
                row[f"shape_{name}"] = shape[i]
            result.rows.append(row)
            for side, (values, k) in enumerate(zip(scaled, kept, strict=True)):
                seen[side].append(values[k])
    both = [np.concatenate(side) for side in seen]
    result.distance = np.array([ks_2samp(both[0][:, i], both[1][:, i]).statistic for i in range(5)])
    return result


def half_width(values: NDArray[np.float64], share: float = 0.6827) -> NDArray[np.float64]:
    """Half the range that holds a share of each column; what is not known is left out."""
    low, high = np.nanquantile(values, [0.5 - 0.5 * share, 0.5 + 0.5 * share], axis=0)
    return np.asarray(0.5 * (high - low))


def width_error(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative standard error of the half width of each column."""
    parts = np.stack([half_width(values[i::PARTS]) for i in range(PARTS)])
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


def _standard_errors(first: tuple[float, int], second: tuple[float, int]) -> float:
    """Difference of two efficiencies over its binomial error, with the pooled efficiency."""
    pooled = (first[0] * first[1] + second[0] * second[1]) / (first[1] + second[1])
    variance = pooled * (1.0 - pooled) * (1.0 / first[1] + 1.0 / second[1])
    return (second[0] - first[0]) / variance**0.5 if variance > 0.0 else 0.0


def report(species: str, result: Closure) -> bool:
    """Print the numbers of a species; true if all limits are kept."""
    off = result.column("efficiency_deviation")
    ratio, error, pull, pull_error, theirs, shape = (
        np.stack([result.column(text.format(name)) for name in PARAMETERS], axis=1)
        for text in ("sigma_{}_ratio", "error_{}", "pull_{}", "pull_error_{}", "pull_{}_acts", "shape_{}")
    )
    gaussian = shape < HEAVIEST
    print(f"{species}: {len(off)} cells, {int(result.column('tracks').sum())} tracks")
    probability = chi2.sf((off**2).sum(), len(off))
    print(f"  efficiency: worst cell {abs(off).max():.1f} standard errors, chi2 probability {probability:.3f}")
    print("  parameter:           " + "  ".join(f"{name:>14}" for name in PARAMETERS))
    everywhere = np.ones_like(gaussian)
    for title, values, used in (
        ("sigma ratio", ratio, everywhere),
        ("its standard error", error, everywhere),
        ("in standard errors", (ratio - 1.0) / error, everywhere),
        ("pull", pull, gaussian),
        ("pull of ACTS", theirs, gaussian),
    ):
        columns = [v[u] for v, u in zip(values.T, used.T, strict=True)]
        print(f"  {title:<20} " + "  ".join(f"{v.min():6.3f}..{v.max():6.3f}" if len(v) else " " * 14 for v in columns))
    print("  cells with tails     " + "  ".join(f"{n:14d}" for n in (~gaussian).sum(axis=0)))
    print("  KS distance          " + "  ".join(f"{d:14.4f}" for d in result.distance))
    errors = norm.isf(0.5 * CHANCE / ratio.size)
    return bool(
        abs(off).max() < LIMITS["efficiency"]
        and (abs(ratio - 1.0) < np.maximum(LIMITS["sigma"], errors * error)).all()
        and (abs(pull - 1.0) < np.maximum(LIMITS["pull"], errors * pull_error))[gaussian].all()
        and result.distance.max() < LIMITS["ks"]
    )


def main() -> int:
    """Run all species; 1 if one does not close."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sample", type=Path, required=True, help="folder of simulate.py")
    parser.add_argument("--card", type=Path, required=True, help="card with the tables made of it")
    parser.add_argument("--field", type=float, default=2.0, help="T")
    parser.add_argument("--eta", default="8:-4:4", help="cells of the closure, BINS:LOW:HIGH")
    parser.add_argument("--pt", default="4:0.2:20", help="likewise, equal in log pt")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=Path, help="also write all cells: CSV file")
    options = parser.parse_args()
    (n_eta, *eta), (n_pt, *pt) = (map(float, text.split(":")) for text in (options.eta, options.pt))
    edges = np.linspace(*eta, int(n_eta) + 1), np.geomspace(*pt, int(n_pt) + 1)
    folders = sorted(path for path in options.sample.iterdir() if path.is_dir())
    closed, lines = True, []
    for folder in folders:
        with tempfile.TemporaryDirectory() as scratch:
            output = Path(scratch) / "tracks.aod.root"
            events_file = str(folder / f"{folder.name}.hepmc3")
            command = ["sim", events_file, "--card", str(options.card), "-o", str(output), "--format", "aod", "--quiet"]
            if execute([*command, "--seed", str(options.seed)]) != 0:
                return 1
            ours = read(read_aod(output), options.field)
        events = find_events(sorted(folder.glob("event*.csv")))
        lut = load_lut(str(options.card.parent / "luts" / f"{folder.name}.lut.npz"))
        acts = read((chunk for event in events for chunk in read_acts(event)), options.field)
        result = close(acts, ours, lut, *edges)
        closed &= report(folder.name, result)
        lines += [{"species": folder.name, **row} for row in result.rows]
    if options.output is not None:
        with options.output.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(lines[0]))
            writer.writeheader()
            writer.writerows(lines)
    print("closed" if closed else "NOT closed")
    return 0 if closed else 1


if __name__ == "__main__":
    raise SystemExit(main())
