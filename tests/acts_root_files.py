"""Files as the ROOT writers of ACTS lay them out, made with ROOT: ``python tests/acts_root_files.py`` (needs ROOT).

Branches, their order and their types are those of ``RootParticleWriter`` and ``RootTrackSummaryWriter`` with
``writeCovMat`` on the main branch of ACTS (Examples/Io/Root, 2026): one entry per event, one ``std::vector`` per
quantity, vectors of vectors for what is counted per hit. Parameters and truth are those of the stored CSV files.

What real files have and those CSV files have not is added: events in the order in which threads finish, an event
without tracks, a duplicate that comes before the better track, a fake, and a candidate whose last fit failed.
"""

from pathlib import Path

import numpy as np
import pandas as pd

DATA = Path(__file__).parent / "data/acts"
PATHS = DATA / "stored.particles.root", DATA / "stored.tracksummary.root"
STATE = ("LOC0", "LOC1", "PHI", "THETA", "QOP", "T")
CSV_STATE = ("d0", "z0", "phi", "theta", "qop")
PARTS = ("vertex_primary", "vertex_secondary", "particle", "generation", "sub_particle")
CSV_PARTS = tuple(f"particle_id_{part}" for part in ("pv", "sv", "part", "gen", "subpart"))
UNKNOWN, MATCHED, DUPLICATE, FAKE = range(4)
#: Order of the entries; event 2 has neither particles nor tracks.
EVENTS = (1, 2, 0)
#: Rows of event 0: a duplicate of row 5 stands before it, row 7 belongs to nobody, the fit of row 9 failed.
COPIED, FAKED, FAILED = 5, 7, 9
#: By how many standard deviations the duplicate is off.
SHIFT = 3.0


def tables(event):
    """Particles and tracks of a stored event."""
    name = f"event{event:09d}"
    particles, tracks = pd.read_csv(DATA / f"{name}-particles.csv"), pd.read_csv(DATA / f"{name}-tracks.csv")
    parameters = pd.read_csv(DATA / f"{name}-parameters.csv").set_index("trackId").loc[tracks["track_id"]]
    pattern = r"vp=(\d+)\|vs=(\d+)\|p=(\d+)\|g=(\d+)\|sp=(\d+)"
    barcode = tracks["particleId"].str.extract(pattern).astype(int).reset_index(drop=True)
    tracks = parameters.reset_index(drop=True)
    for i, part in enumerate(CSV_PARTS):
        tracks[part] = barcode[i].to_numpy()
    tracks["classification"] = MATCHED
    return particles, tracks


def with_special_tracks(tracks):
    """The tracks of event 0 with a duplicate, a fake and a failed fit."""
    tracks = tracks.copy()
    again = tracks.iloc[[COPIED]].copy()
    for name in CSV_STATE:
        again[name] += SHIFT * np.sqrt(again[f"var_{name}"])
    again["classification"] = DUPLICATE
    tracks.loc[FAKED, list(CSV_PARTS)], tracks.loc[FAKED, "classification"] = 0, FAKE
    numbers = [name for name in tracks.columns if name in CSV_STATE or name.startswith(("var_", "cov_"))]
    tracks.loc[FAILED, numbers] = np.nan
    return pd.concat([tracks.iloc[:COPIED], again, tracks.iloc[COPIED:]], ignore_index=True)


def particle_columns(particles):
    """Values of the vectors of one entry, with their C++ types."""
    momentum = particles[["px", "py", "pz"]].to_numpy(float)
    p, pt = np.linalg.norm(momentum, axis=1), np.hypot(momentum[:, 0], momentum[:, 1])
    phi, theta = np.arctan2(momentum[:, 1], momentum[:, 0]), np.arctan2(pt, momentum[:, 2])
    zero, q = np.zeros(len(p)), particles["q"].to_numpy(float)
    columns = [("particle_hash", "std::uint64_t", np.arange(len(p))), ("particle_type", "std::int32_t", None)]
    columns += [("process", "std::uint32_t", zero)]
    columns += [(name, "float", None) for name in ("vx", "vy", "vz", "vt", "px", "py", "pz", "m", "q")]
    columns += [("eta", "float", np.arcsinh(momentum[:, 2] / pt)), ("phi", "float", phi), ("pt", "float", pt)]
    columns += [("p", "float", p), ("q_over_p", "float", q / p), ("theta", "float", theta)]
    names = dict(zip(PARTS, CSV_PARTS, strict=True))
    columns += [(name, "std::uint32_t", particles[names[name]].to_numpy()) for name in PARTS]
    columns += [(name, "float", zero) for name in ("e_loss", "total_x0", "total_l0")]
    columns += [("number_of_hits", "std::int32_t", zero + 11), ("outcome", "std::uint32_t", zero)]
    return [(name, kind, particles[name].to_numpy() if v is None else v) for name, kind, v in columns]


def summary_columns(tracks, particles):
    """Likewise of the track summary."""
    n = len(tracks)
    row = {tuple(values): i for i, values in enumerate(particles[list(CSV_PARTS)].to_numpy().tolist())}
    own = np.array([row.get(tuple(values), -1) for values in tracks[list(CSV_PARTS)].to_numpy().tolist()], np.int64)
    truth = {name: np.where(own >= 0, values[own], np.nan) for name, _, values in particle_columns(particles)}
    index = np.arange(n)
    columns = [("track_nr", "std::uint32_t", index)]
    columns += [(name, "unsigned int", index * 0 + 11) for name in ("nStates", "nMeasurements")]
    columns += [(name, "unsigned int", index * 0) for name in ("nOutliers", "nHoles", "nSharedHits")]
    columns += [("chi2Sum", "float", index * 0.0 + 20), ("NDF", "unsigned int", index * 0 + 22)]
    hits = [[2] * (9 + i % 3) for i in range(n)]
    columns += [("measurementChi2", "std::vector<double>", hits), ("outlierChi2", "std::vector<double>", [[]] * n)]
    columns += [(f"measurement{what}", "std::vector<std::uint32_t>", hits) for what in ("Volume", "Layer")]
    columns += [("measurementParticleId", "std::vector<std::uint64_t>", hits)]
    columns += [(f"outlier{what}", "std::vector<std::uint32_t>", [[]] * n) for what in ("Volume", "Layer")]
    columns += [("nMajorityHits", "unsigned int", index * 0 + 11)]
    columns += [
        (f"majorityParticleId_{name}", "std::uint32_t", tracks[csv].to_numpy())
        for name, csv in zip(PARTS, CSV_PARTS, strict=True)
    ]
    columns += [("trackClassification", "int", tracks["classification"].to_numpy())]
    columns += [("t_charge", "int", np.nan_to_num(truth["q"], nan=2**31 - 1))]
    names = (("time", "vt"), ("vx",) * 2, ("vy",) * 2, ("vz",) * 2, ("px",) * 2, ("py",) * 2, ("pz",) * 2)
    names += (("theta",) * 2, ("phi",) * 2, ("eta",) * 2, ("p",) * 2, ("pT", "pt"), ("d0", "vx"), ("z0", "vz"))
    columns += [(f"t_{name}", "float", truth[ours]) for name, ours in names]
    columns += [("t_prodR", "float", np.hypot(truth["vx"], truth["vy"]))]
    fitted = {s: tracks[csv].to_numpy() for s, csv in zip(STATE, CSV_STATE, strict=False)} | {"T": index * 0.0}
    columns += [("hasFittedParams", "bool", np.isfinite(fitted["QOP"]))]
    columns += [(f"e{s}_fit", "float", values) for s, values in fitted.items()]
    variance = {s: tracks[f"var_{csv}"].to_numpy() for s, csv in zip(STATE, CSV_STATE, strict=False)}
    columns += [(f"err_e{s}_fit", "float", np.sqrt(variance.get(s, index * 0.0 + 1))) for s in STATE]
    columns += [(f"{what}_e{s}_fit", "float", index * 0.0) for what in ("res", "pull") for s in STATE]
    for a in STATE:
        for b in STATE:
            csv = [CSV_STATE[STATE.index(s)] if s != "T" else "" for s in (a, b)]
            name = f"var_{csv[0]}" if a == b else f"cov_{csv[0]}{csv[1]}"
            columns += [(f"cov_e{a}_e{b}", "float", tracks[name].to_numpy() if all(csv) else index * 0.0)]
    return columns


def write(path, tree_name, event_name, entries):
    """Write a tree with ROOT."""
    import ROOT

    file = ROOT.TFile.Open(str(path), "RECREATE")
    tree = ROOT.TTree(tree_name, tree_name)
    number = np.zeros(1, np.uint32)
    tree.Branch(event_name, number, f"{event_name}/i")
    vectors = {name: ROOT.std.vector[kind]() for name, kind, _ in next(iter(entries.values()))}
    for name, vector in vectors.items():
        tree.Branch(name, vector)
    for event, columns in entries.items():
        number[0] = event
        for name, kind, values in columns:
            vectors[name].clear()
            convert = {"bool": bool, "float": float}.get(kind, int)
            for value in values:
                vectors[name].push_back(value if "vector" in kind else convert(value))
        tree.Fill()
    tree.Write()
    file.Close()


def write_all(paths=PATHS):
    """Write both files."""
    particles, summary = {}, {}
    for event in EVENTS:
        p, t = tables(min(event, 1))
        if event == 0:
            t = with_special_tracks(t)
        if event == 2:
            p, t = p.iloc[:0], t.iloc[:0]
        particles[event], summary[event] = particle_columns(p), summary_columns(t, p)
    write(paths[0], "particles", "event_id", particles)
    write(paths[1], "tracksummary", "event_nr", summary)


if __name__ == "__main__":
    write_all()
