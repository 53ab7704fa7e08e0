"""Tables for tests: a small ALICE file made byte by byte without FlashDet's code, and a smooth analytic detector."""

from __future__ import annotations

import struct

import numpy as np

from flashdet.kernels.symmat import to_packed
from flashdet.lut.axis import Axis
from flashdet.lut.table import Lut

#: An entry of an ALICE file as NumPy sees the C structure.
ENTRY = np.dtype(
    [
        *((name, "<f4") for name in ("nch", "eta", "pt")),
        ("valid", "u1"),
        ("padding", "V3"),
        *((name, "<f4") for name in ("eff", "eff2", "itof", "otof")),
        ("covm", "<f4", 15),
        ("eigval", "<f4", 5),
        ("eigvec", "<f4", (5, 5)),
        ("eiginv", "<f4", (5, 5)),
    ]
)
#: (bins, low, high, is_log) of nch, radius, eta, pt.
ALICE_AXES = ((4, 0.5, 3.5, 1), (1, 0.0, 100.0, 0), (8, -4.0, 4.0, 0), (10, -2.0, 2.0, 1))
CORRELATIONS = {(0, 2): -0.65, (1, 3): -0.70, (0, 4): 0.25, (2, 4): -0.40}


def alice_header(pdg=211, version=20210801, axes=ALICE_AXES, mass=0.13957, field=2.0) -> bytes:
    """80 bytes."""
    return struct.pack("<iiff", version, pdg, mass, field) + b"".join(struct.pack("<iffB3x", *axis) for axis in axes)


def alice_centers(n, low, high, is_log) -> np.ndarray:
    """Bin centres in binary32."""
    width = (np.float32(high) - np.float32(low)) / np.float32(n)
    x = np.array([np.float32(float(np.float32(low)) + (b + 0.5) * float(width)) for b in range(n)])
    return (10.0 ** x.astype(float)).astype(np.float32) if is_log else x


def alice_entries(axes=ALICE_AXES) -> np.ndarray:
    """Entries (nch, radius, eta, pt): correlated covariances, efficiency falls with nch, soft forward ones are lost."""
    shape = tuple(axis[0] for axis in axes)
    entries = np.zeros(shape, ENTRY)
    nch, _, eta, pt = (alice_centers(*axis) for axis in axes)
    entries["nch"], entries["eta"], entries["pt"] = nch[:, None, None, None], eta[:, None], pt
    entries["valid"] = ~((pt < 0.03) & (abs(eta[:, None]) > 3.0))
    entries["eff"] = 0.98 * pt / (pt + 0.03) - 0.05 * np.log10(nch)[:, None, None, None] * abs(eta[:, None]) / 4
    entries["eff2"] = 0.5 * entries["eff"] + 0.25
    entries["itof"] = entries["otof"] = 0.5
    correlation = np.eye(5)
    for (i, j), rho in CORRELATIONS.items():
        correlation[i, j] = correlation[j, i] = rho
    for i, e in enumerate(eta):
        for j, p in enumerate(pt):
            stretch = np.cosh(float(e))
            sigma = np.array(
                [3e-4 + 2e-3 / p, 3e-4 + 2e-3 * stretch / p, 1e-4 + 4e-3 / p, 1e-4 + 4e-3 / p, 0.01 / p + 1e-3]
            )
            matrix = correlation * sigma[:, None] * sigma
            packed = to_packed(matrix).astype(np.float32)
            values, vectors = np.linalg.eigh(matrix)
            cell = entries[:, :, i, j]
            cell["covm"], cell["eigval"] = packed, values[::-1]
            cell["eigvec"], cell["eiginv"] = vectors[:, ::-1], vectors[:, ::-1].T
    lost = entries["valid"] == 0
    for name in ("eff", "eff2", "itof", "otof", "covm", "eigval"):
        entries[name][lost] = 0.0
    entries["eigvec"][lost] = entries["eiginv"][lost] = np.eye(5)
    return entries


def alice_bytes(entries=None, **header) -> bytes:
    """A whole file."""
    return alice_header(**header) + (alice_entries() if entries is None else entries).tobytes()


def smooth_covariance(eta, pt) -> np.ndarray:
    """(..., 5, 5) covariances of a silicon tracker between the limits of scattering and of point resolution."""
    eta, pt = np.broadcast_arrays(np.asarray(eta, float), np.asarray(pt, float))
    stretch = np.cosh(eta)
    beta = pt * stretch / np.hypot(pt * stretch, 0.1396)
    scattering = 0.0136 / (beta * pt * stretch) * np.sqrt(0.001 * stretch)
    lever = 0.1 + 0.9 / (1.0 + np.exp((abs(eta) - 2.2) / 0.25))
    sigma = np.stack(
        [
            np.hypot(2.5e-4, 0.5 * scattering * stretch**1.5),
            np.hypot(2.5e-4, 0.5 * scattering * stretch**2),
            np.hypot(2e-4, 3.0 * scattering),
            np.hypot(2e-4 * stretch**2, 3.0 * scattering * stretch**2),
            np.hypot(5e-4 / lever**2, 0.005 / (beta * pt) / lever),
        ],
        axis=-1,
    )
    soft = 1.0 / (1.0 + pt)
    correlation = np.zeros((*eta.shape, 5, 5))
    correlation[...] = np.eye(5)
    for i, j, rho in (
        (0, 2, -0.5 - 0.4 * soft),
        (1, 3, -0.6 - 0.3 * soft),
        (0, 4, 0.25 + 0.3 * soft),
        (2, 4, -0.4 - 0.35 * soft),
        (3, 4, 0.1 * soft * np.tanh(eta)),
    ):
        correlation[..., i, j] = correlation[..., j, i] = rho
    return correlation * sigma[..., :, None] * sigma[..., None, :]


def smooth_lut(n_eta=40, n_pt=100, n_nch=4, n_radius=1, **rules) -> Lut:
    """The analytic detector as a table; not valid below 30 MeV for |eta| > 3. `rules` sets out_of_range of axes."""
    nch = Axis("nch", "", n_nch, 10**0.5, 10**3.5, "log", rules.get("nch", "clamp"))
    radius = Axis("radius", "cm", n_radius, 0.0, 100.0, "linear", rules.get("radius", "clamp"))
    eta = Axis("eta", "", n_eta, -4.0, 4.0, "linear", rules.get("eta", "clamp"))
    pt = Axis("pt", "GeV", n_pt, 0.01, 100.0, "log", rules.get("pt", "clamp"))
    e, p = np.meshgrid(eta.centers, pt.centers, indexing="ij")
    growth = (1.0 + np.arange(n_radius))[:, None, None, None]
    covariance = growth * to_packed(smooth_covariance(e, p))
    efficiency = 0.98 / (1.0 + (0.05 / p) ** 3) * (1.0 - 0.02 * np.log10(nch.centers)[:, None, None])
    valid = np.broadcast_to((p > 0.03) | (abs(e) < 3.0), (n_radius, n_eta, n_pt)).copy()
    covariance[~valid] = 0.0
    meta = {"source": "analytic model of the tests"}
    return Lut("pion", 211, 0.13957039, 1, 2.0, (nch, eta, pt), efficiency, (radius, eta, pt), covariance, valid, meta)
