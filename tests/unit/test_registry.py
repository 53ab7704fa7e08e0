"""Names to classes: plugins through entry points, misses, clashes."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from flashdet import registry
from flashdet.errors import CardError
from flashdet.registry import Registry

PLUGIN = Path(__file__).parents[1] / "plugin"


@pytest.fixture
def stages(monkeypatch):
    monkeypatch.syspath_prepend(PLUGIN)
    return Registry(
        "stages", "stage kind", {"tof": "flashdet.stages.tof.stage:Tof", "vertex": "flashdet.stages.vertex:Vertex"}
    )


def test_a_plugin_is_found_by_its_entry_point(stages):
    assert set(stages.names()) == {"tof", "vertex", "dummy", "broken"}
    assert stages.get("dummy").kind == "dummy"
    assert stages.entry("dummy").origin == "flashdet-dummy 1.5"


def test_a_miss_names_the_nearest_and_all(stages):
    with pytest.raises(
        CardError, match="unknown stage kind 'vertx'; did you mean 'vertex'\\? allowed: broken, dummy, tof"
    ):
        stages.get("vertx")


def test_nothing_near_is_not_guessed(stages):
    with pytest.raises(CardError) as caught:
        stages.get("calorimeter")
    assert "did you mean" not in str(caught.value)


def test_a_broken_plugin_is_fatal_only_when_asked_for(stages, caplog):
    assert stages.get("vertex").kind == "vertex"
    with pytest.raises(CardError, match=r"'broken' .*of flashdet-broken 0.1.* ModuleNotFoundError"):
        stages.get("broken")
    with caplog.at_level(logging.WARNING):
        loaded = stages.load_all()
    assert set(loaded) == {"vertex", "dummy"}
    assert "flashdet-broken 0.1" in caplog.text


def test_two_origins_of_a_name_are_an_error_when_asked_for(stages):
    with pytest.raises(CardError, match=r"'tof' is claimed by flashdet and flashdet-broken 0\.1"):
        stages.get("tof")


def test_register_adds_once(monkeypatch):
    monkeypatch.setattr(registry.stages, "_entries", dict(registry.stages._entries))
    registry.register("stages", "mine", int)
    assert registry.stages.get("mine") is int
    with pytest.raises(CardError, match="'mine' exists already, from this program"):
        registry.register("stages", "mine", float)
    with pytest.raises(CardError, match="unknown family 'stage'; did you mean 'stages'"):
        registry.register("stage", "mine", float)


@pytest.mark.parametrize("family", [registry.stages, registry.readers, registry.writers])
def test_every_name_of_the_package_can_be_imported(family):
    for name in family.names():
        if family.entry(name).origin == registry.BUILT_IN:
            assert callable(family.get(name))
