"""The most memory a process ever had resident."""

from __future__ import annotations

from pathlib import Path

MISSING_NOTICE = "peak memory is not reported: this system has no /proc with VmHWM"


def peak_rss_bytes(pid: int) -> int | None:
    """VmHWM of process `pid` in bytes, or None on a system that does not keep it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return None
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None
