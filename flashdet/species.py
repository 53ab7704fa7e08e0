"""Particles: the species that have LUTs and PID hypotheses, and the table of all PDG codes.

Masses, charges and lifetimes come from the Particle Data Group tables as packaged by scikit-hep ``particle``; here they
are frozen into sorted arrays that kernels can search. Nothing about detectors lives here.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

#: Species with a LUT and a PID hypothesis of their own, in this order everywhere.
SPECIES = ("electron", "muon", "pion", "kaon", "proton", "deuteron", "triton", "helium3", "alpha")
#: Their PDG codes (positive).
SPECIES_PDG = (11, 13, 211, 321, 2212, 1000010020, 1000010030, 1000020030, 1000020040)
#: |charge| of the species [e].
SPECIES_CHARGE = (1, 1, 1, 1, 1, 1, 1, 2, 2)
#: Masses of the species [GeV]: PDG 2024 and CODATA 2022 (bare nuclei).
SPECIES_MASS = (
    0.00051099895069,
    0.1056583755,
    0.13957039,
    0.493677,
    0.93827208943,
    1.875612945,
    2.80892113668,
    2.80839161112,
    3.7273794118,
)
#: Mass of the electron [GeV] (CODATA 2022), to turn atomic masses into masses of bare nuclei.
ELECTRON_MASS = SPECIES_MASS[0]
#: The source gives neutrinos no mass; here it is 0.
_NEUTRINOS = (12, 14, 16)
#: File of `particle_table`, written by `freeze`.
FROZEN = Path(__file__).with_name("particles.npz")


@dataclass(frozen=True)
class ParticleTable:
    """All known PDG codes as arrays sorted by code.

    Attributes
    ----------
    pdg : (n,) int32
        Sorted signed PDG codes, particles and antiparticles.
    mass : (n,) float64
        Mass [GeV]; bare nuclei, not atoms.
    charge3 : (n,) int16
        Three times the charge [e].
    ctau : (n,) float64
        Proper decay length [cm]; inf if stable or unknown.
    """

    pdg: NDArray[np.int32]
    mass: NDArray[np.float64]
    charge3: NDArray[np.int16]
    ctau: NDArray[np.float64]

    def find(self, pdg: NDArray[np.int32]) -> NDArray[np.int64]:
        """Rows of the given codes, -1 where a code is unknown.

        Parameters
        ----------
        pdg : (m,) int32
            PDG codes.

        Returns
        -------
        (m,) int64
        """
        row = np.searchsorted(self.pdg, pdg)
        row[row == len(self.pdg)] = 0
        return np.where(self.pdg[row] == pdg, row, -1)


@cache
def particle_table() -> ParticleTable:
    """Table of all particles and nuclei, loaded once per process.

    Returns
    -------
    ParticleTable
        About 6500 codes, from the file beside this module: building it from its source (`build_table`) takes 0.7 s of
        every start, loading it 2 ms.
    """
    with np.load(FROZEN, allow_pickle=False) as file:
        return ParticleTable(file["pdg"], file["mass"], file["charge3"], file["ctau"])


def freeze() -> None:
    """Write the file of `particle_table` anew, from the installed release of ``particle``."""
    import particle

    table = build_table()
    with FROZEN.open("wb") as file:
        np.savez_compressed(
            file,
            pdg=table.pdg,
            mass=table.mass,
            charge3=table.charge3,
            ctau=table.ctau,
            source=np.array(f"particle {particle.__version__}"),
        )


def build_table() -> ParticleTable:
    """Build the table from scikit-hep ``particle``.

    Returns
    -------
    ParticleTable
        The source lists atoms for nuclei: Z electron masses are taken off (the binding of the electrons, 79 eV for
        helium and below 1e-5 of any mass, is left in). Species of `SPECIES` use `SPECIES_MASS`.
    """
    from particle import Particle

    rows: dict[int, tuple[float, int, float]] = {}
    for p in Particle.all():
        code = int(p.pdgid)
        known_mass = 0.0 if abs(code) in _NEUTRINOS else p.mass
        if known_mass is None or p.three_charge is None or abs(code) > np.iinfo(np.int32).max:
            continue
        mass = known_mass * 1e-3
        if abs(code) > 1_000_000_000:
            mass -= ELECTRON_MASS * abs(p.three_charge) / 3
        ctau = p.ctau * 0.1 if p.ctau is not None and p.ctau >= 0 else np.inf
        rows[code] = (mass, int(p.three_charge), ctau)
    for code, mass in zip(SPECIES_PDG, SPECIES_MASS, strict=True):
        for sign in (1, -1):
            _, charge3, ctau = rows[sign * code]
            rows[sign * code] = (mass, charge3, ctau)
    codes = sorted(rows)
    columns = list(zip(*(rows[c] for c in codes), strict=True))
    return ParticleTable(
        np.array(codes, np.int32),
        np.array(columns[0], np.float64),
        np.array(columns[1], np.int16),
        np.array(columns[2], np.float64),
    )


def charge3_of_code(pdg: int) -> int | None:
    """Three times the charge of a code, from the table or from the digits of a nucleus.

    Parameters
    ----------
    pdg : int
        A PDG code; nuclei follow the 10LZZZAAAI scheme (PDG Monte Carlo numbering).

    Returns
    -------
    int or None
        None if the code is unknown.
    """
    table = particle_table()
    row = int(table.find(np.array([pdg], np.int32))[0])
    if row >= 0:
        return int(table.charge3[row])
    if 1_000_000_000 <= abs(pdg) < 1_100_000_000:
        charge = abs(pdg) // 10_000 % 1000
        return 3 * charge if pdg > 0 else -3 * charge
    return None


def lut_species(charge: int, mass: float) -> int:
    """Species whose LUT stands in for a particle without one of its own: same |charge|, nearest mass.

    Parameters
    ----------
    charge : int
        Charge [e].
    mass : float
        Mass [GeV].

    Returns
    -------
    int
        Index into `SPECIES`, -1 if no species has this |charge|.
    """
    candidates = [i for i, c in enumerate(SPECIES_CHARGE) if c == abs(charge)]
    if not candidates:
        return -1
    return min(candidates, key=lambda i: abs(SPECIES_MASS[i] - mass))
