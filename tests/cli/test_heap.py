"""The command's heap: memory that was let go is used again without page faults."""

import os
import subprocess
import sys

import pytest

PROGRAM = """
import resource
import numpy as np
from flashdet.cli import heap

kept = heap.keep()
for _ in range(3):
    a = [np.ones(100_000) for _ in range(50)]
    del a
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    a = [np.ones(100_000) for _ in range(50)]
    del a
print(kept, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def outcome(**variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_")} | variables
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, env=environment, check=True
    )
    kept, faults = result.stdout.split()
    return kept == "True", int(faults)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_memory_is_kept_and_the_user_comes_first():
    kept, faults = outcome()
    if not kept:
        pytest.skip("this C library has no mallopt")
    assert faults < 500  # 40 MB five times over are 50 000 pages
    assert outcome(MALLOC_TRIM_THRESHOLD_="1000000")[0] is False
