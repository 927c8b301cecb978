"""What a process does before anything else: memory allocator, collector, open files."""

from __future__ import annotations

import ctypes
import gc
import resource
import sys

# <malloc.h>. Streaming allocates and frees blocks of a mebibyte all the time; by default glibc maps and
# unmaps each, and page faults then cost more than the copying.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -2, -3, -8
_MEBIBYTE = 1024 * 1024
OPEN_FILES_MAX = 65_536
COLLECT_AFTER_ALLOCATIONS = 20_000


def tune_malloc() -> bool:
    """Keep freed memory for reuse instead of giving each block back to the kernel.

    The number of arenas is bounded as well, because each keeps what it once held.

    Returns:
        Whether the C library took the parameters; only glibc has them.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    wanted = {
        _M_MMAP_THRESHOLD: 32 * _MEBIBYTE,
        _M_TRIM_THRESHOLD: 128 * _MEBIBYTE,
        _M_TOP_PAD: 16 * _MEBIBYTE,
        _M_ARENA_MAX: 2,
    }
    return all(mallopt(parameter, value) == 1 for parameter, value in wanted.items())


def raise_open_files_limit() -> int:
    """Allow as many open files as this process may have: each connection and each segment is one.

    Returns:
        How many that are.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES_MAX)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        return wanted
    return OPEN_FILES_MAX if soft == resource.RLIM_INFINITY else soft


def tune_collector() -> None:
    """Look for cycles seldom, and never among what a process keeps all its life.

    Requests leave few cycles; looking for them at the default pace takes a twentieth of a small upload.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER_ALLOCATIONS, 20, 20)
