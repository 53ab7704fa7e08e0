"""How many kernels were compiled, and how long that took: the price of the first job on a machine."""

from __future__ import annotations

import os


class Compilations:
    """Counts compilations of kernels while it is entered; kernels that come from the cache are none.

    Attributes
    ----------
    n : int
        Functions compiled, helpers included.
    seconds : float
        Time it took.
    """

    def __init__(self) -> None:
        self.n = 0
        self.seconds = 0.0

    def __enter__(self) -> Compilations:
        if os.environ.get("FLASHDET_DISABLE_JIT") != "1":
            from numba.core import event

            self._recorder = event.RecordingListener()
            event.register("numba:compile", self._recorder)
        return self

    def __exit__(self, *failure: object) -> None:
        if os.environ.get("FLASHDET_DISABLE_JIT") == "1":
            return
        from numba.core import event

        event.unregister("numba:compile", self._recorder)
        depth, begin = 0, 0.0
        for moment, happened in self._recorder.buffer:  # a kernel waits while its helpers are compiled
            if happened.is_start:
                self.n += 1
                begin = begin if depth else moment
                depth += 1
            else:
                depth -= 1
                self.seconds += 0.0 if depth else moment - begin
