"""Maps of the ALICE 3 muon identifier: probability that a particle is tagged as a muon, over |eta| and momentum.

The numbers are those of the public file ``muonAccEffPID.root`` of the DelphesO2 project: acceptance, efficiency, decays
in flight and punch-through together. They are tabulated here at selected points and spread over regular axes. The stage
that uses the maps is :mod:`flashdet.stages.muon.stage`.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from flashdet.lut.axis import Axis
from flashdet.lut.files import SUFFIX, write_table
from flashdet.lut.table import Map

_SOURCE = "muonAccEffPID.root of DelphesO2 (https://github.com/AliceO2Group/DelphesO2), tabulated at selected points"

#: |eta| and p [GeV] of the points of `MUON`.
MUON_ETA = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.5, 1.6)
MUON_P = (1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 1.9, 2.1, 2.5, 3.1, 6.0, 10.0)
#: Probability that a muon is tagged, (|eta|, p).
MUON = (
    (0.132, 0.268, 0.869, 0.979, 0.984, 0.984, 0.982, 0.986, 0.985, 0.984, 0.987, 0.990),
    (0.143, 0.505, 0.935, 0.981, 0.984, 0.984, 0.985, 0.985, 0.983, 0.985, 0.987, 0.990),
    (0.093, 0.374, 0.843, 0.967, 0.983, 0.983, 0.985, 0.982, 0.984, 0.983, 0.986, 0.989),
    (0.090, 0.137, 0.443, 0.792, 0.938, 0.973, 0.979, 0.983, 0.984, 0.983, 0.989, 0.988),
    (0.079, 0.099, 0.188, 0.526, 0.837, 0.938, 0.981, 0.982, 0.985, 0.981, 0.987, 0.987),
    (0.063, 0.069, 0.112, 0.242, 0.461, 0.664, 0.907, 0.968, 0.981, 0.984, 0.984, 0.987),
    (0.045, 0.058, 0.079, 0.118, 0.268, 0.566, 0.857, 0.944, 0.979, 0.985, 0.984, 0.985),
    (0.029, 0.034, 0.057, 0.106, 0.180, 0.275, 0.538, 0.742, 0.936, 0.976, 0.978, 0.985),
    (0.028, 0.025, 0.036, 0.055, 0.097, 0.172, 0.357, 0.551, 0.805, 0.910, 0.982, 0.982),
    (0.017, 0.018, 0.026, 0.028, 0.050, 0.087, 0.202, 0.359, 0.444, 0.443, 0.425, 0.392),
)
#: p [GeV] of the points of `HADRON`.
HADRON_P = (1.0, 1.3, 1.5, 1.8, 2.0, 2.5, 3.0, 4.1, 6.0, 10.0, 20.0)
#: Probability that a hadron is tagged at eta = 0.
HADRON = {
    "pion": (0.0020, 0.0031, 0.0070, 0.0110, 0.0123, 0.0138, 0.0145, 0.0153, 0.0166, 0.0180, 0.0179),
    "kaon": (0.0018, 0.0028, 0.0063, 0.0136, 0.0165, 0.0177, 0.0173, 0.0158, 0.0164, 0.0147, 0.0130),
    "proton": (0.0013, 0.0010, 0.0011, 0.0012, 0.0014, 0.0047, 0.0057, 0.0055, 0.0071, 0.0081, 0.0070),
}
#: The same at |eta| = 1.6, at 3 and 20 GeV.
HADRON_EDGE_P = (3.0, 20.0)
HADRON_EDGE = {"pion": (0.0069, 0.0028), "kaon": (0.0128, 0.0036), "proton": (0.0027, 0.0006)}


def build_muon_maps() -> dict[str, Map]:
    """Build the maps of electron, muon, pion, kaon and proton.

    All points of the tables lie at multiples of 0.1 in |eta| and of 0.1 GeV in p. Bins of that width with their centres
    there hold every point exactly; values between the points are linear in |eta| and p. Electrons are never tagged in
    the source.

    For hadrons the source was tabulated at eta = 0 and in the last bin, |eta| = 1.6. In between the value of eta = 0 is
    kept up to |eta| = 1.5: the drop in the last bin is that of the muons' plateau (0.45 at 3 GeV; pions 0.48, protons
    0.47), so it is the edge of the chambers. The ratio of the last bin is linear in log p between 3 and 20 GeV and
    constant beyond.

    Returns
    -------
    dict of str to Map
        By species; axes ``abs_eta`` (outside: rejected) and ``p`` [GeV] (outside: clamped), both interpolated.
    """
    eta_axis = Axis("abs_eta", "", 17, -0.05, 1.65, out_of_range="reject")
    maps = {}
    p_axis = Axis("p", "GeV", 89, 1.15, 10.05)
    maps["muon"] = _make_map("muon", (eta_axis, p_axis), _bilinear(eta_axis.centers, p_axis.centers))
    p_axis = Axis("p", "GeV", 191, 0.95, 20.05)
    for species in HADRON:
        maps[species] = _make_map(species, (eta_axis, p_axis), _hadron(species, eta_axis.centers, p_axis.centers))
    empty = np.zeros((eta_axis.n_bins, 1))
    maps["electron"] = _make_map("electron", (eta_axis, Axis("p", "GeV", 1, 0.95, 20.05)), empty)
    return maps


def _bilinear(eta: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_eta, n_p) probability of muons, linear between the points of `MUON`."""
    along_p = np.array([np.interp(p, MUON_P, row) for row in MUON])
    return np.stack([np.interp(eta, MUON_ETA, column) for column in along_p.T], axis=1)


def _hadron(species: str, eta: NDArray[np.float64], p: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n_eta, n_p) probability of hadrons; see `build_muon_maps`."""
    center = np.interp(p, HADRON_P, HADRON[species])
    ratio = np.array(HADRON_EDGE[species]) / np.interp(HADRON_EDGE_P, HADRON_P, HADRON[species])
    edge = np.interp(np.log(p), np.log(HADRON_EDGE_P), ratio)
    share = np.interp(eta, (1.5, 1.6), (0.0, 1.0))[:, None]
    return np.asarray(center * (1.0 - share + share * edge))


def _make_map(species: str, axes: tuple[Axis, ...], values: NDArray[np.float64]) -> Map:
    meta = {"source": _SOURCE, "species": species, "builder": "flashdet.lut.muon_map.build_muon_maps"}
    return Map(f"probability of a muon tag for a {species}", "", axes, np.ascontiguousarray(values), meta)


def write_muon_maps(folder: str | Path, overwrite: bool = False) -> list[Path]:
    """Write the maps as native files, as shipped in ``luts/alice3_mid``.

    Parameters
    ----------
    folder : path
        Existing folder.
    overwrite : bool
        Replace existing files.

    Returns
    -------
    list of pathlib.Path
        ``<species>.lut.npz``.

    Raises
    ------
    OutputError
        A file exists, or cannot be written.
    """
    paths = []
    for species, table in build_muon_maps().items():
        paths.append(Path(folder) / f"{species}{SUFFIX}")
        write_table(table, paths[-1], overwrite)
    return paths
