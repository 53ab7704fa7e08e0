"""FlashDet: generator events in, analysis-level tracks and particle-identification signals out.

Public names are imported when they are first used, so that ``import flashdet`` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flashdet.card import Card
    from flashdet.event import EventBatch
    from flashdet.io.read import read
    from flashdet.lut.table import Lut
    from flashdet.pipeline import Pipeline
    from flashdet.registry import register
    from flashdet.run import simulate
    from flashdet.stages.base import Stage

#: Version of the package.
__version__ = "0.1.0"

_PUBLIC = {
    "Card": "flashdet.card",
    "EventBatch": "flashdet.event",
    "Lut": "flashdet.lut.table",
    "Pipeline": "flashdet.pipeline",
    "Stage": "flashdet.stages.base",
    "read": "flashdet.io.read",
    "register": "flashdet.registry",
    "simulate": "flashdet.run",
}

__all__ = ["Card", "EventBatch", "Lut", "Pipeline", "Stage", "__version__", "read", "register", "simulate"]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'flashdet' has no attribute {name!r}")
    return getattr(importlib.import_module(_PUBLIC[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
