"""Surfaces: configuration, and the first crossing against a walk along the helix in small steps."""

import math

import numpy as np
import pytest
from pydantic import ValidationError

from flashdet.config import StageConfig
from flashdet.kernels.helix import advance
from flashdet.kernels.jit import kernel
from flashdet.stages.surface import CYLINDER, MAX_TURNS, Shape, Surface, first_crossing, pack


class Config(StageConfig):
    shape: Shape


BARREL = {"cylinder": {"radius": "85 cm", "half_length": "1.2 m"}}
FORWARD = {"disc": {"z": "150 cm", "r_min": "15 cm", "r_max": "1 m"}}
BACKWARD = {"disc": {"z": "-150 cm", "r_min": "15 cm", "r_max": "1 m"}}


@kernel
def crossings(x, y, z, phi, tgl, k, surfaces, out):
    for i in range(len(x)):
        hit, path, u, v, w, a = first_crossing(x[i], y[i], z[i], phi[i], tgl[i], k[i], surfaces)
        out[i, 0], out[i, 1], out[i, 2], out[i, 3], out[i, 4], out[i, 5] = hit, path, u, v, w, a


def cross(surfaces, *states):
    states = np.array(np.broadcast_arrays(*np.atleast_1d(*states)), float).reshape(6, -1)
    out = np.empty((states.shape[1], 6))
    crossings(*states, surfaces, out)
    return out


def test_one_surface_needs_no_list():
    assert Config(shape=BARREL) == Config(shape=[BARREL])
    np.testing.assert_array_equal(pack(Config(shape=[BARREL, FORWARD]).shape), [[0, 85, 120, 0], [1, 150, 15, 100]])


def test_dump_reads_back():
    config = Config(shape=[BARREL, FORWARD])
    assert Config.model_validate(config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("shape", "where", "text"),
    [
        ([], ("shape",), "at least 1"),
        ({}, ("shape",), "either a cylinder or a disc"),
        ({**BARREL, **FORWARD}, ("shape",), "exactly one"),
        ({"cylinder": {"radius": 85, "half_length": "1 m"}}, ("shape", "cylinder", "radius"), "needs a unit"),
        ([{"cylinder": {"radius": "85 s", "half_length": "1 m"}}], ("shape", 0, "cylinder", "radius"), "length"),
        ({"disc": {"z": "1 m", "r_min": "1 m", "r_max": "20 cm"}}, ("shape", "disc"), "smaller than r_max"),
        ({"cone": {}}, ("shape", "cone"), "not permitted"),
    ],
)
def test_wrong_shapes_say_where_and_why(shape, where, text):
    with pytest.raises(ValidationError) as info:
        Config(shape=shape)
    errors = {error["loc"]: error["msg"] for error in info.value.errors()}
    assert text in errors[where]


def walk(state, surfaces, step=0.01, reach=900.0):
    """Index and path of the first surface met, by steps along the helix."""
    x, y, z, phi, tgl, k = state
    s = np.arange(0.0, min(reach, 2 * math.pi * MAX_TURNS / max(abs(k), 1e-9)), step)
    half = 0.5 * k * s
    chord = s * np.sinc(half / np.pi)
    px, py, pz = x + chord * np.cos(phi + half), y + chord * np.sin(phi + half), z + tgl * s
    r = np.hypot(px, py)
    best = (-1, math.inf)
    for i, (kind, a, b, c) in enumerate(surfaces):
        if kind == CYLINDER:
            cut = np.flatnonzero((r[:-1] < a) & (r[1:] >= a))[:1]
            inside = abs(pz[cut]) <= b
        else:
            cut = np.flatnonzero((pz[:-1] - a) * (pz[1:] - a) <= 0)[:1]
            inside = (r[cut] >= b) & (r[cut] <= c)
        if len(cut) and inside[0] and s[cut[0]] < best[1]:
            best = (i, s[cut[0]])
    return best[0], best[1] * math.sqrt(1 + tgl * tgl)


def test_first_crossing_against_small_steps():
    surfaces = pack(
        Config(shape=[BARREL, FORWARD, BACKWARD, {"cylinder": {"radius": "20 cm", "half_length": "5 cm"}}]).shape
    )
    rng = np.random.default_rng(2)
    n = 400
    states = np.stack(
        [
            rng.normal(0, 8, n), rng.normal(0, 8, n), rng.normal(0, 10, n), rng.uniform(-3, 3, n), rng.normal(0, 2, n),
            np.where(rng.random(n) < 0.2, 0.0, rng.normal(0, 0.012, n)),
        ]
    )  # fmt: skip
    got = cross(surfaces, *states)
    hits = np.zeros(5, int)
    for state, (i, path, x, y, z, _) in zip(states.T, got, strict=True):
        expected, length = walk(state, surfaces)
        hits[int(i)] += 1
        slope = math.sqrt(1 + state[4] ** 2)
        if i != expected and path < 890 * slope:
            # only a crossing within a step of an edge may be judged differently
            r = math.hypot(x, y)
            assert min(abs(abs(z) - 120), abs(abs(z) - 5), abs(r - 15), abs(r - 100)) < 0.1 * slope
        elif i == expected >= 0:
            assert abs(path - length) < 0.011 * slope
            end = advance(*state, path / slope)
            np.testing.assert_allclose((x, y, z), end[:3], atol=1e-9)
    assert hits.min() > 10, "the sample must cover every surface and misses"


def test_acceptance_follows_the_helix_and_the_vertex():
    surfaces = pack(Config(shape=BARREL).shape)
    edge = 120.0 / 85.0
    tgl = np.array([0.999, 1.001]) * edge
    assert list(cross(surfaces, 0, 0, 0, 0.3, tgl, 0.0)[:, 0]) == [0, -1]
    # the same slope from a vertex at z = -20 cm is inside, from +20 cm outside
    assert list(cross(surfaces, 0, 0, [-20, 20], 0.3, edge, 0.0)[:, 0]) == [0, -1]
    # a bent track travels farther and leaves through the end
    assert cross(surfaces, 0, 0, 0, 0.3, 0.999 * edge, 0.01)[0, 0] == -1


def test_arc_of_more_than_half_a_turn():
    # born at r = 60 cm moving inward on a circle of radius 50 cm that just reaches r = 85 cm
    k = 1 / 50
    surfaces = pack((Surface.model_validate(BARREL),))
    i, path, x, y, _, _ = cross(surfaces, 60.0, 0, 0, np.pi / 2 + 0.8, 0.0, k)[0]
    assert i == 0
    assert math.hypot(x, y) == pytest.approx(85)
    assert path > math.pi * 50
    assert path == pytest.approx(walk((60.0, 0, 0, np.pi / 2 + 0.8, 0.0, k), surfaces)[1], abs=0.011)


def test_particle_made_outside_or_curling_inside_meets_nothing():
    surfaces = pack(Config(shape=BARREL).shape)
    assert cross(surfaces, 90.0, 0, 0, np.pi, 0.1, 0.0)[0, 0] == -1
    assert cross(surfaces, 0, 0, 0, 0, 0.0, 1 / 42.0)[0, 0] == -1
    assert cross(surfaces, 0, 0, 0, 0, 0.0, 1 / 43.0)[0, 0] == 0


def test_loopers_do_not_arrive():
    """A slow particle across the beam would reach a disc at 370 cm after 100 000 turns and 200 km."""
    surfaces = pack(Config(shape={"disc": {"z": "370 cm", "r_min": "0 cm", "r_max": "1 m"}}).shape)
    k = 0.00599584916 / 0.19
    turns = np.array([370e4 * k / (2 * math.pi), 370 * k / (2 * math.pi), 1.99, 2.01])
    tgl = 370.0 * k / (2 * math.pi * turns)
    assert tgl[0] == pytest.approx(1e-4)
    got = cross(surfaces, 0, 0, 0, 0.3, tgl, k)
    assert got[:, 0].tolist() == [-1, 0, 0, -1]
    assert got[2, 1] == pytest.approx(math.hypot(370, 2 * math.pi * 1.99 / k))
