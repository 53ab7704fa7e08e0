"""Where the files that come with the package lie: cards, layouts and lookup tables."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).parent


def shipped(kind: str) -> Path:
    """Directory of the shipped files of one kind.

    Parameters
    ----------
    kind : {"cards", "luts"}
        What to look for.

    Returns
    -------
    pathlib.Path
        ``flashdet/data/<kind>`` of an installed package, or the folder beside the package in a source tree.
    """
    installed = _PACKAGE / "data" / kind
    return installed if installed.is_dir() else _PACKAGE.parent / kind
