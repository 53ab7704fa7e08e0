"""What every format does to names alike: no underscores."""

from __future__ import annotations


def camel(name: str) -> str:
    """``n_sigma_pion`` as ``NSigmaPion``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))
