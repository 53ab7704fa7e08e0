"""Options and guards of the whole test suite."""

from __future__ import annotations

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests in full")


@pytest.fixture(scope="session")
def slow(request: pytest.FixtureRequest) -> bool:
    """True if slow tests shall run in full instead of in a smaller form."""
    return bool(request.config.getoption("--slow"))


@pytest.fixture(autouse=True)
def _no_network(socket_disabled: None) -> None:
    """No test may open a connection."""
