"""Two-body decays of K0S and Lambda at given radii, worked out without FlashDet's code; not a test itself."""

import math
from dataclasses import dataclass

import numpy as np

C = 0.299792458e-2  # GeV/c per T cm
MASSES = {"kshort": (0.497611, 0.13957039, 0.13957039), "lambda": (1.115683, 0.93827209, 0.13957039)}
CODES = {"kshort": (211, -211), "lambda": (2212, -211)}


@dataclass(frozen=True)
class Daughter:
    """Positive daughter of a decay: truth at the vertex, and its perigee."""

    species: str
    radius: float
    vertex: tuple[float, float, float]
    pt: float
    eta: float
    phi: float
    perigee: np.ndarray  # (y, z, snp, tgl, q/pt)
    arc: float  # transverse, from the perigee to the vertex; negative if it flies inwards


def momenta(kind, p, rng):
    """Momenta of both daughters of a particle of momentum p, isotropic in its rest frame."""
    m, m1, m2 = MASSES[kind]
    energy = math.hypot(m, np.linalg.norm(p))
    star = math.sqrt((m * m - (m1 + m2) ** 2) * (m * m - (m1 - m2) ** 2)) / (2 * m)
    cosine, angle = rng.uniform(-1, 1), rng.uniform(-np.pi, np.pi)
    sine = math.sqrt(1 - cosine**2)
    q = star * np.array([sine * math.cos(angle), sine * math.sin(angle), cosine])
    out = []
    for sign, mass in ((1, m1), (-1, m2)):
        beta, gamma = p / energy, energy / m
        along = beta @ (sign * q)
        out.append(sign * q + (gamma * along * gamma / (gamma + 1) + gamma * math.hypot(star, mass)) * beta)
    return out


def decay(kind, pt, eta, radius, field, rng):
    """Positive daughter of a K0S or Lambda that flies along x and decays at a radius."""
    p = np.array([pt, 0.0, pt * math.sinh(eta)])
    d, _ = momenta(kind, p, rng)
    v = np.array([radius, 0.0, radius * math.sinh(eta)])
    d_pt, phi = math.hypot(d[0], d[1]), math.atan2(d[1], d[0])
    bend = d_pt / (C * field)  # positive particles turn clockwise
    centre = v[:2] + bend * np.array([math.sin(phi), -math.cos(phi)])
    distance = np.hypot(*centre)
    nearest = centre / distance * (distance - bend)
    start, end = (math.atan2(*(point - centre)[::-1]) for point in (nearest, v[:2]))
    arc = ((start - end + math.pi) % (2 * math.pi) - math.pi) * bend
    alpha = start - math.pi / 2
    y = -nearest[0] * math.sin(alpha) + nearest[1] * math.cos(alpha)
    tgl = d[2] / d_pt
    perigee = np.array([y, v[2] - arc * tgl, 0.0, tgl, 1.0 / d_pt])
    species = "proton" if kind == "lambda" else "pion"
    return Daughter(species, radius, tuple(v), d_pt, math.asinh(tgl), phi, perigee, arc)
