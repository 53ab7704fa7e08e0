"""What the C library does with memory that a command lets go.

glibc gives the top of its heap back to the system whenever a batch of events is done with, and takes it again for the
next one, page by page: 0.25 us for every 4 kB. Jobs of a few batches simulate in 0.7 of the time if it keeps what it
has; the peak, which a batch sets, stays where it is. Only the command does so: a library must not decide for others.
"""

from __future__ import annotations

import ctypes
import os
import sys

#: Parameters of ``mallopt`` (glibc, malloc.h) with their values: the heap is cut when so much is free at its top, and
#: larger pieces, up to the most that glibc takes, come from the heap and not from the system.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = (-1, 2**31 - 1), (-3, 2**25)


def keep() -> bool:
    """Let freed memory stay with this process, unless the user has set glibc's own variables.

    Returns
    -------
    bool
        Whether the C library does so; others than glibc have no such setting.
    """
    if not sys.platform.startswith("linux") or any(name.startswith("MALLOC_") for name in os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and all(mallopt(*setting) == 1 for setting in (_TRIM_THRESHOLD, _MMAP_THRESHOLD))
