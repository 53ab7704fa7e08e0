"""Nearest mode is the ALICE algorithm draw for draw, on an ALICE file written here byte by byte."""

import math
import struct

import numpy as np
import pytest
from tracking_tables import CORRELATION, DIAGONAL, PARAMETERS, identities, offered, tracked

from flashdet.event import Table
from flashdet.kernels.philox import normals, uniforms
from flashdet.lut.alice import read_alice
from flashdet.rng import Draw
from flashdet.species import SPECIES, SPECIES_MASS
from flashdet.testing import gun

SCALARS = [(n, "<f4") for n in ("eff", "eff2", "itof", "otof")]
ARRAYS = [("covm", "<f4", 15), ("eigval", "<f4", 5), ("eigvec", "<f4", (5, 5)), ("eiginv", "<f4", (5, 5))]
ENTRY = np.dtype([("nch", "<f4"), ("eta", "<f4"), ("pt", "<f4"), ("valid", "?"), ("padding", "V3"), *SCALARS, *ARRAYS])
MAPS = ((4, 0.5, 3.5, True), (1, 0.0, 100.0, False), (8, -4.0, 4.0, False), (10, -2.0, 2.0, True))


def write_synthetic(path, pdg, mass):
    """An ALICE file of 320 entries, invalid where pt < 0.03 and abs(eta) > 3; eigenvectors from numpy."""
    entries = np.zeros((4, 1, 8, 10), ENTRY)
    for i_nch, i_eta, i_pt in np.ndindex(4, 8, 10):
        e = entries[i_nch, 0, i_eta, i_pt]
        eta, pt = -4 + (i_eta + 0.5), 10 ** (-2 + (i_pt + 0.5) * 0.4)
        e["nch"], e["eta"], e["pt"] = 10 ** (0.5 + 0.75 * (i_nch + 0.5)), eta, pt
        e["valid"] = not (pt < 0.03 and abs(eta) > 3)
        e["eff"] = (1 - math.exp(-pt / 0.1)) * (1 - 0.05 * i_nch) * 0.98
        multiple = math.sqrt(1 + 1 / pt**2)
        s = np.array([5e-4, 6e-4, 1e-3, 1.2e-3, 0.01 / pt]) * multiple * math.cosh(eta) ** 0.3
        matrix = CORRELATION * s[:, None] * s[None, :]
        values, vectors = np.linalg.eigh(matrix)
        e["covm"] = matrix[np.tril_indices(5)]
        e["eigval"], e["eigvec"], e["eiginv"] = values[::-1], vectors[:, ::-1], np.linalg.inv(vectors[:, ::-1])
    header = struct.pack("<iiff", 20210801, pdg, mass, 2.0) + b"".join(struct.pack("<iff?3x", *m) for m in MAPS)
    path.write_bytes(header + entries.tobytes())
    assert path.stat().st_size == 80 + 312 * 320
    return entries


def find(value, n_bins, low, high, is_log):
    """Bin of ``map_t::find``: binary32, truncated towards zero, clamped."""
    value, low, high = np.float32(value), np.float32(low), np.float32(high)
    width = np.float32((high - low) / np.float32(n_bins))
    x = math.log10(value) if is_log else value
    return min(max(int((x - low) / width), 0), n_bins - 1)


def smear_track(entries, row, nch, u, g):
    """The algorithm of the ALICE TrackSmearer for one particle with recorded draws; None if it is lost."""
    p = np.array([row["y"], row["z"], 0.0, row["tgl"], row["q_over_pt"]], np.float32)
    pt = abs(row["charge"]) / abs(p[4])
    eta = math.asinh(p[3])
    entry = entries[find(nch, *MAPS[0]), 0, find(eta, *MAPS[2]), find(pt, *MAPS[3])]
    if not entry["valid"] or u > entry["eff"]:
        return None
    c = [float(np.sum(entry["eigvec"][:, k] * p, dtype=np.float64)) for k in range(5)]
    c = [c[k] + g[k] * math.sqrt(entry["eigval"][k]) for k in range(5)]
    return [sum(float(entry["eiginv"][k, i]) * c[k] for k in range(5)) for i in range(5)], entry["covm"]


@pytest.mark.parametrize(("species", "code"), [("pion", 211), ("helium3", 1000020030)])
def test_nearest_mode_is_the_alice_algorithm_draw_for_draw(tmp_path, species, code):
    entries = write_synthetic(tmp_path / "lut.dat", code, SPECIES_MASS[SPECIES.index(species)])
    lut = read_alice(tmp_path / "lut.dat")
    # beyond all axes on purpose
    batch = gun((code,), n_events=20, particles=100, pt=(0.004, 300.0), eta=(-4.9, 4.9))
    batch = offered(batch, eta_max=5.0)
    rng = np.random.default_rng(3)
    event = dict(batch["event"]) | {"dndeta": 10 ** rng.uniform(-1, 4.5, 20)}
    batch.tables["event"] = Table("event", batch["event"].offsets, event)
    track, _, counts = tracked(batch, [lut], interpolation="nearest")

    key, charged = Draw.of(1, "tracking").key, batch["charged"]
    wanted = {}
    for row in range(charged.n_rows):
        i_event, index = int(charged.event_index[row]), int(charged["particle_index"][row])
        stream = (key, event["key"][i_event], index)
        u = uniforms(*stream, 0)[0]
        g = (*normals(*stream, 1), *normals(*stream, 2), normals(*stream, 3)[0])
        values = {name: charged[name][row] for name in charged}
        smeared = smear_track(entries, values, event["dndeta"][i_event], u, g)
        if smeared is not None and abs(smeared[0][2]) < 1:
            wanted[i_event, index] = smeared
    got = identities(track)
    assert got == list(wanted)
    assert 1000 < len(got) < charged.n_rows
    params = np.array([wanted[key][0] for key in got])
    covariance = np.array([wanted[key][1] for key in got])
    np.testing.assert_array_equal(track["cov"], covariance.astype(np.float64))
    # The original keeps its parameters in single precision: rounding of a large z or tgl leaks into the others.
    sigma = np.sqrt(covariance[:, DIAGONAL].astype(np.float64))
    measured = np.stack([track[name] for name in PARAMETERS], -1)
    scale = 2.0**-23 * np.abs(params).max(axis=1, keepdims=True)
    assert np.all(np.abs(measured - params) < 0.03 * sigma + 4 * scale)
    assert np.median(np.abs(measured - params) / sigma) < 1e-3
    assert {"out of range: pt below (clamped)", "out of range: pt above (clamped)"} <= set(counts)
    assert {"out of range: nch below (clamped)", "out of range: eta above (clamped)"} <= set(counts)
