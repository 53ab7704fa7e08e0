"""What every format does to tables alike: fewer of them, half the bits, names without underscores."""

from __future__ import annotations

import numpy as np

from flashdet.event import EventBatch, Table


def camel(name: str) -> str:
    """``n_sigma_pion`` as ``NSigmaPion``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def narrow(batch: EventBatch, tables: tuple[str, ...]) -> EventBatch:
    """Keep some tables and turn float64 into float32.

    Parameters
    ----------
    batch : EventBatch
    tables : tuple of str
        Names of tables to keep.

    Returns
    -------
    EventBatch
    """
    kept = EventBatch({}, batch.weight_names)
    for name in tables:
        table = batch[name]
        arrays = {
            c: v.astype(np.float32) if v.dtype == np.float64 else v
            for c, v in table.items()
            if v.ndim == 1 or v.shape[1] > 0
        }
        kept.add(Table(name, table.offsets, arrays))
    return kept
