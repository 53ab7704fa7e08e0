"""What `flashdet.simulate` returns is what a file of the same card holds, whatever its format."""

from __future__ import annotations

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

import flashdet
from flashdet.card import Card
from flashdet.run import Job, run

EVENTS = str(Path(__file__).parents[2] / "examples" / "pp14.hepmc3.zst")
#: Columns of `track` that AO2D trees hold as functions of others.
ROUNDED = ("pt", "eta", "phi")


@pytest.fixture(scope="module")
def in_memory():
    return flashdet.simulate(EVENTS, "alice3", n_events=6)


@pytest.mark.parametrize("form", ["aod", "nano", "parquet"])
def test_simulate_is_read_of_the_file(tmp_path, in_memory, form):
    path = tmp_path / "o"
    run(Job((EVENTS,), Card.load("alice3", ["output.particles=all"]), output=path, format=form, events=6))
    from_file = flashdet.read(path)
    assert set(in_memory.fields) == set(from_file.fields)
    for table in in_memory.fields:
        assert set(in_memory[table].fields) == set(from_file[table].fields), table
        for column in in_memory[table].fields:
            got, want = (ak.to_numpy(ak.flatten(x[table][column], axis=None)) for x in (from_file, in_memory))
            if want.dtype == np.float64:
                want = want.astype(np.float32)
            tolerance = 3e-7 if form == "aod" and table == "track" and column in ROUNDED else 0
            np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance, err_msg=f"{table}.{column}")
