"""Python's collector of cyclic garbage while a command starts.

Importing Numba, pydantic and awkward makes a million lasting objects, and the collector walks over all of them again
and again to find nothing: 0.4 to 0.6 s of the 3 s until the first event. No command is defined here.
"""

from __future__ import annotations

import gc

#: Python's own setting: a collection of the youngest objects after so many, of older ones after so many of those.
_THRESHOLDS = gc.get_threshold()
#: While starting: so many new objects before the collector looks.
_STARTING = 100_000


def relax() -> None:
    """Let the collector rest while modules are imported."""
    gc.set_threshold(_STARTING, *_THRESHOLDS[1:])


def resume() -> None:
    """Back to Python's own setting, for everything that is made from now on; what is there is there to stay."""
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)
