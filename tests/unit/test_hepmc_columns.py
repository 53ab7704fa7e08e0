"""What stands in the columns: links, positions, units, event information, weights; the same from every format."""

import numpy as np
import pyhepmc
import pytest
from hepmc_text import (
    BODY3,
    DATA,
    PP,
    event2,
    event3,
    listing2,
    listing3,
    read,
    write,
)

from flashdet import columns
from flashdet.io.hepmc.record import resolve_positions
from flashdet.testing import assert_same_tables
from flashdet.units import C_LIGHT

POSITION = ("vx", "vy", "vz", "vt")


def positions(batch):
    return np.stack([batch["particle"][name] for name in POSITION], axis=1)


def first(batch, name):
    return batch["event"][name][0].item()


@pytest.fixture(scope="module")
def sample():
    return read(PP)


def test_columns_are_the_declared_ones(sample):
    assert list(sample["particle"]) == [c.name for c in columns.PARTICLE]
    assert list(sample["event"]) == [c.name for c in (*columns.EVENT, columns.EVENT_WEIGHTS)]
    for column in (*columns.EVENT, *columns.PARTICLE):
        values = sample.column(column)
        assert values.dtype == np.dtype(column.dtype), column
        assert column.missing or np.isfinite(values).all(), column
    assert sample["event"]["number"].tolist() == [64, 181, 117, 151, 126, 6]


def test_everything_as_pyhepmc_says(sample):
    """The library's own objects, one by one, are the reference: implicit and unordered vertices are in the file."""
    row = 0
    with pyhepmc.open(PP) as file:
        for i, event in enumerate(file):
            assert sample["particle"].offsets[i] == row
            for p in event.particles:
                got = {name: values[row].item() for name, values in sample["particle"].items()}
                m = p.momentum
                assert (got["pdg"], got["status"], got["mass"]) == (p.pid, p.status, p.generated_mass)
                assert (got["px"], got["py"], got["pz"], got["energy"]) == (m.px, m.py, m.pz, m.e)
                v = p.production_vertex
                assert got["production_vertex"] == (-v.id - 1 if v is not None and v.id else -1)
                assert got["end_vertex"] == (-p.end_vertex.id - 1 if p.end_vertex is not None else -1)
                x = v.position if v is not None else event.event_pos()
                assert (got["vx"], got["vy"], got["vz"]) == (x.x * 0.1, x.y * 0.1, x.z * 0.1)
                assert got["vt"] == x.t * 0.1 / C_LIGHT
                row += 1
    assert row == sample["particle"].n_rows


def test_root_tree_gives_the_same_bits(sample):
    assert_same_tables(read(DATA / "pp14_tree.root"), sample)


def test_io_genevent_gives_the_same_events(tmp_path, sample):
    """HepMC2 text lists (and pyhepmc numbers) particles in another order; everything else is equal."""
    path = tmp_path / "e.hepmc2"
    with pyhepmc.open(PP) as source, pyhepmc.open(path, "w", format="hepmc2", precision=17) as target:
        for event in source:
            target.write(event)
    other = read(path)
    # HepMC2 has no cycles attribute and writes every position out
    names = ["pdg", "status", "px", "py", "pz", "energy", "mass", *POSITION]
    for i in range(sample.n_events):
        a, b = (np.array([t.slice_events(i, i + 1)["particle"][n] for n in names]) for t in (sample, other))
        np.testing.assert_array_equal(a[:, np.lexsort(a)], b[:, np.lexsort(b)])
    for name in ("number", "key", "weight", "cross_section", "pdf_id1", "pdf_x2", "pdf_xf1", "vx", "vt"):
        np.testing.assert_array_equal(sample["event"][name], other["event"][name], err_msg=name)


def test_links_of_a_small_event(tmp_path):
    for text in (listing3(event3()), listing2(event2())):
        p = read(write(tmp_path / "e", text))["particle"]
        assert p["pdg"].tolist() == [2212, 2212, 111, 211, 22, 22]
        assert p["status"].tolist() == [4, 4, 2, 1, 1, 1]
        assert p["production_vertex"].tolist() == [-1, -1, 0, 0, 1, 1]
        assert p["end_vertex"].tolist() == [0, 0, 1, -1, -1, -1]
        assert p["mass"].tolist() == [0.938, 0.938, 0.135, 0.1396, 0, 0]
        # the decay vertex has no position of its own: that of its mother
        np.testing.assert_allclose(
            positions(read(tmp_path / "e"))[2:], [[0.1, 0.2, 0.3, 0.4 / C_LIGHT]] * 4, rtol=1e-15
        )


CHAIN = """\
P 1 0 2212 0 0 7000 7000 0.938 4
P 2 1 2212 0 0 7000 7000 0.938 2
P 3 2 111 0 0 7000 7000 0.938 2
V -3 0 [3] @ 5 6 7 8
P 4 -3 111 0 0 7000 7000 0.938 2
P 5 4 111 0 0 7000 7000 0.938 1
P 6 0 111 0 0 7000 7000 0.938 1
"""


@pytest.mark.parametrize(
    ("at", "cycles", "expected"),
    [
        ("", "", [0, 0, 0, 5, 5, 0]),
        (" @ 1 2 3 4", "", [1, 1, 1, 5, 5, 1]),
        (" @ 1 2 3 4", "A 0 cycles 0\n", [1, 1, 1, 5, 5, 1]),
        (" @ 1 2 3 4", "A 0 cycles 1\n", [1, 1, 1, 5, 1, 1]),
    ],
)
def test_ancestor_rule(tmp_path, at, cycles, expected):
    text = listing3(event3(head="U GEV CM\n" + cycles, body=CHAIN, e="4 6" + at))
    batch = read(write(tmp_path / "e", text))
    assert batch["particle"]["vx"].tolist() == expected
    assert first(batch, "vx") == (1 if at else 0)  # the beam ends in a vertex without position


def test_ancestor_rule_equals_the_library():
    """Random trees: positions as GenVertex::position finds them."""
    rng = np.random.default_rng(5)
    for _ in range(20):
        event = pyhepmc.GenEvent()
        particles = [pyhepmc.GenParticle((0, 0, 1, 1), 211, 4) for _ in range(2)]
        vertices = []
        for _ in range(30):
            has_position = rng.random() < 0.3
            vertex = pyhepmc.GenVertex(rng.normal(size=4) if has_position else (0, 0, 0, 0))
            free = [p for p in particles if p.end_vertex is None]
            for i in rng.choice(len(free), size=min(len(free), rng.integers(1, 3)), replace=False):
                vertex.add_particle_in(free[i])
            for _ in range(rng.integers(1, 4)):
                particles.append(pyhepmc.GenParticle((0, 0, 1, 1), 211, 1))
                vertex.add_particle_out(particles[-1])
            event.add_vertex(vertex)
            vertices.append(vertex)
        n = len(vertices)
        raw = np.array([_raw(v) for v in vertices])
        mother = [v.particles_in[0].production_vertex for v in vertices]
        index = np.array([-m.id - 1 if m is not None and m.id else n for m in mother])
        resolved = resolve_positions(raw, index, (0, 0, 0, 0), has_cycles=False)
        expected = [[v.position.x, v.position.y, v.position.z, v.position.t] for v in vertices]
        np.testing.assert_array_equal(resolved[:n], expected)


def _raw(vertex):
    position = vertex.position
    return [position.x, position.y, position.z, position.t] if vertex.has_set_position() else [0.0] * 4


def test_loop_of_vertices_ends_at_the_event_position():
    resolved = resolve_positions(np.zeros((3, 4)), np.array([1, 0, 0]), (1, 2, 3, 4), has_cycles=False)
    np.testing.assert_array_equal(resolved, [[1, 2, 3, 4]] * 4)


def test_units(tmp_path):
    gev = read(write(tmp_path / "a", listing3(event3())))
    mev_cm = read(write(tmp_path / "b", listing3(event3(head="U MEV CM\nA 0 event_scale 91200\n"))))
    for name in ("px", "pz", "energy", "mass"):
        np.testing.assert_allclose(mev_cm["particle"][name], 1e-3 * gev["particle"][name], rtol=1e-15)
    np.testing.assert_allclose(positions(mev_cm), 10 * positions(gev), rtol=1e-15)
    assert first(mev_cm, "event_scale") == pytest.approx(91.2)
    assert first(read(write(tmp_path / "c", listing2(event2(head="U MEV MM\n")))), "event_scale") == pytest.approx(
        0.0912
    )


def test_beams_without_vertex_and_event_position(tmp_path):
    body = "P 1 0 211 0.1 0.2 0.3 0.4 0.1396 1\n"
    batch = read(write(tmp_path / "e", listing3(event3(body=body, e="0 1 @ 10 20 30 40"))))
    np.testing.assert_allclose(positions(batch), [[1, 2, 3, 4 / C_LIGHT]])
    assert [first(batch, n) for n in POSITION] == positions(batch)[0].tolist()
    assert batch["particle"]["production_vertex"].tolist() == [-1]


def test_event_without_particles(tmp_path):
    batch = read(write(tmp_path / "e", listing3(event3(), event3(8, body="", e="0 0"), event3(9))))
    assert np.diff(batch["particle"].offsets).tolist() == [6, 0, 6]


HEAVY_ION = {
    "v0": "A 0 GenHeavyIon v0 94 32 26 116 5 6 -1 -1 -1 11.047835 -2.8371961 0.25 67.6 55 -1 1 2 3 4 0 0\n",
    "old": "A 0 GenHeavyIon 94 32 26 116 5 6 -1 -1 -1 11.047835 -2.8371961 0.25 67.6 55\n",
    "v1": "A 0 GenHeavyIon v1 94 32 26 116 -1 -1 -1 11.047835 -2.8371961 67.6 55 -1 2 3 1 5 0 0\n",
}


@pytest.mark.parametrize("version", HEAVY_ION)
def test_heavy_ion_attribute(tmp_path, version):
    batch = read(write(tmp_path / "e", listing3(event3(head="U GEV MM\nW 1\n" + HEAVY_ION[version]))))
    names = ("n_coll_hard", "n_part_projectile", "n_part_target", "n_coll")
    assert [first(batch, n) for n in names] == [94, 32, 26, 116]
    assert [first(batch, n) for n in ("n_spectator_neutrons", "n_spectator_protons")] == [5, 6]
    assert first(batch, "impact_parameter") == 11.047835
    assert first(batch, "event_plane_angle") == -2.8371961
    assert first(batch, "sigma_inel_nn") == 67.6
    assert first(batch, "centrality") == 55
    assert np.isnan(first(batch, "eccentricity")) if version == "v1" else first(batch, "eccentricity") == 0.25


def test_heavy_ion_line(tmp_path):
    head = "U GEV MM\nH 94 32 26 116 -1 -1 -1 -1 -1 1.104783e+01 -2.837196e+00 -1.000000e+00 6.760000e+01\n"
    batch = read(write(tmp_path / "e", listing2(event2(head=head))))
    assert first(batch, "n_coll") == 116
    assert first(batch, "n_spectator_protons") == -1
    assert first(batch, "impact_parameter") == 11.04783
    assert np.isnan([first(batch, "eccentricity"), first(batch, "centrality")]).all()


def test_partons_and_cross_section(tmp_path):
    line = "21 -1 0.03 0.004 7.25 3.2 9.8 0 0\n"
    a = read(
        write(
            tmp_path / "a", listing3(event3(head=f"U GEV MM\nA 0 GenPdfInfo {line}A 0 GenCrossSection 5e10 4e8 3 3\n"))
        )
    )
    b = read(write(tmp_path / "b", listing2(event2(head=f"U GEV MM\nC 5e10 4e8\nF {line}"))))
    for batch in (a, b):
        assert [first(batch, n) for n in ("pdf_id1", "pdf_id2", "pdf_x1", "pdf_scale")] == [21, -1, 0.03, 7.25]
        assert [first(batch, n) for n in ("cross_section", "cross_section_error")] == [5e10, 4e8]
    assert first(b, "signal_process") == 101
    assert first(b, "event_scale") == 91.2
    nan = read(write(tmp_path / "c", listing3(event3(head="U GEV MM\nA 0 GenCrossSection nan nan 0 0\n"))))
    assert np.isnan(first(nan, "cross_section"))


def test_what_is_not_given(sample):
    assert np.isnan(sample["event"]["impact_parameter"]).all()
    assert (sample["event"]["n_coll"] == -1).all()
    assert (sample["event"]["signal_process"] == -1).all()


def test_weights_keep_names_and_bits(tmp_path):
    names = ("Weight", "MUR0.5", "MUR2", "isr:muRfac=2.0")
    values = [1.0 / 3, -2.5e-7, 3.0, 0.0]
    numbers = " ".join(f"{v:.22e}" for v in values)
    three = listing3(event3(head=f"U GEV MM\nW {numbers}\n"), head="W " + "\\|".join(names) + "\n")
    quoted = " ".join(f'"{n}"' for n in names)
    two = listing2(event2(head=f"N 4 {quoted}\nU GEV MM\n", e=f"2 1 2 0 4 {numbers}"))
    for text in (three, two):
        batch = read(write(tmp_path / "e", text))
        assert batch.weight_names == names
        assert batch["event"]["weights"].tolist() == [values]
        assert first(batch, "weight") == values[0]


def test_hundreds_of_weights(tmp_path):
    """146 weights occur; pyhepmc gives up on lines of more than 256 kB."""
    n = 20_000
    text = listing3(event3(head="U GEV MM\nW" + " 1.0000000000000000e+00" * n + "\n"), head="")
    batch = read(write(tmp_path / "e", text))
    assert batch["event"]["weights"].shape == (1, n)
    assert batch.weight_names[:2] == ("0", "1")


def test_event_without_weights(tmp_path):
    batch = read(write(tmp_path / "e", listing3(event3(head="U GEV MM\n"), head="")))
    assert batch.weight_names == ("Default",)
    assert batch["event"]["weights"].tolist() == [[1.0]]


def test_new_run_information_between_events(tmp_path):
    """The names change where the text says so, not at once and not never; here they only get another order of lines."""
    changed = "T Pythia8\\|8.3\\|again\nW Default\nA tool_note x\n"
    batch = read(write(tmp_path / "e", listing3(event3(1), changed, event3(2))))
    assert batch.weight_names == ("Default",)
    assert batch.n_events == 2


def test_attributes_of_particles_are_passed_over(tmp_path):
    flows = "".join(f"A {i} flow1 {100 + i}\n" for i in range(1, 7))
    head = f"U GEV MM\nW 1.5\n{flows}A 0 GenCrossSection 5 1 1 1\n{flows}A -1 weights 1 2\nA 0 event_scale 3\n"
    batch = read(write(tmp_path / "e", listing3(event3(head=head))))
    assert first(batch, "cross_section") == 5
    assert first(batch, "event_scale") == 3
    plain = read(write(tmp_path / "f", listing3(event3())))
    np.testing.assert_array_equal(batch["particle"]["px"], plain["particle"]["px"])


def test_forward_references_and_unordered_vertices(tmp_path):
    """Vertices may come in any order and before their incoming particles (HepMC3 writes so after reading HepMC2)."""
    body = """\
P 1 0 2212 0 0 7000 7000 0.938 4
V -2 0 [3] @ 9 9 9 9
V -1 0 [1,2] @ 1 2 3 4
P 2 0 2212 0 0 -7000 7000 0.938 4
P 3 -1 111 0.5 0.25 1 1.2 0.135 2
P 4 -2 22 0.25 0.125 0.5 0.6 0 1
P 5 -2 22 0.25 0.125 0.5 0.6 0 1
"""
    p = read(write(tmp_path / "e", listing3(event3(body=body, e="2 5"))))["particle"]
    assert p["production_vertex"].tolist() == [-1, -1, 0, 1, 1]
    assert p["end_vertex"].tolist() == [0, 0, 1, -1, -1]
    np.testing.assert_allclose(p["vx"], [0, 0, 0.1, 0.9, 0.9])


UPPER = BODY3.replace("0.25", "2.5E-01").replace("7000", "7.0E+03")
ODD = {
    "CRLF": lambda text: text.replace("\n", "\r\n"),
    "blank first line": lambda text: "\n" + text,
    "no final newline": lambda text: text.rstrip("\n"),
    "blank line at the end": lambda text: text + "\n\n",
    "blank lines between events": lambda text: text.replace("E 8", "\nE 8"),
    "blanks at line ends": lambda text: text.replace("\nU", " \nU").replace(" 1\n", " 1 \n"),
    "upper-case exponents": lambda text: text.replace(BODY3, UPPER),
    "no version line": lambda text: text.split("\n", 1)[1],
    "two listings": lambda text: text.replace("E 8", END_START + "E 8"),
}
END_START = "HepMC::Asciiv3-END_EVENT_LISTING\n\nHepMC::Version 3\nHepMC::Asciiv3-START_EVENT_LISTING\nW Default\n"


@pytest.mark.parametrize("oddity", ODD)
def test_harmless_oddities(tmp_path, oddity):
    plain = listing3(event3(7), event3(8))
    assert_same_tables(read(write(tmp_path / "a", ODD[oddity](plain))), read(write(tmp_path / "b", plain)))


def test_missing_units_are_noted(tmp_path):
    from flashdet.io.hepmc import open_events

    plain = read(write(tmp_path / "a", listing3(event3())))
    for text in (listing3(event3(head="W 1.5\n")), listing2(event2(head=""))):
        with open_events([write(tmp_path / "e", text)]) as reader:
            (batch,) = reader.batches()
        assert reader.counts == {"warning: events without units (GEV MM assumed)": 1}
        np.testing.assert_array_equal(positions(batch), positions(plain))
