from __future__ import annotations

import platform
import subprocess
import sys

import pytest

# Blocks such as a stream holds, all freed and allocated again: pages that the kernel had to give anew.
CHURN = """
import resource
from replicator.runtime.bootstrap import tune_malloc
assert tune_malloc()
def churn():
    blocks = [b"x" * (4 << 20) for _ in range(16)]
churn()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    churn()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc takes malloc parameters")
def test_freed_blocks_are_used_again_instead_of_given_back() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", CHURN], capture_output=True, text=True, timeout=30, check=True
    )
    assert int(ended.stdout) < 1000


def test_another_platform_is_left_alone() -> None:
    program = (
        "import sys\nsys.platform = 'darwin'\n"
        "from replicator.runtime.bootstrap import tune_malloc\nprint(tune_malloc())"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.strip() == "False"
