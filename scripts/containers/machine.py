"""What this machine must have before anything is tried."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile

from containers.outcome import Skipped

# Program, and Debian's package of it.
_PROGRAMS = {
    "dockerd": "docker.io",
    "docker": "docker.io (docker-cli)",
    "containerd": "containerd",
    "iptables": "iptables",
    "mmdebstrap": "mmdebstrap",
    "ip": "iproute2",
    "unshare": "util-linux",
    "curl": "curl",
}
NAMESPACES = ("--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
_PROBE_TIMEOUT_S = 30.0


def require_machine() -> None:
    """Raise `Skipped`, naming everything that is missing."""
    missing = _missing_basics() or _missing_kernel_features()
    if missing:
        raise Skipped("; ".join(missing))


def _missing_basics() -> list[str]:
    missing = []
    if sys.platform != "linux" or platform.machine() != "x86_64":
        missing.append("Linux on x86_64")
    elif os.geteuid() != 0:
        missing.append("root")
    if sys.version_info[:2] != (3, 11):
        missing.append(f"Python 3.11 (this is {platform.python_version()})")
    absent = sorted(program for program in _PROGRAMS if not shutil.which(program))
    missing += [f"the program '{name}' (Debian's package {_PROGRAMS[name]})" for name in absent]
    return missing


def _missing_kernel_features() -> list[str]:
    missing = []
    if not _succeeds("unshare", *NAMESPACES, "ip", "link", "set", "lo", "up"):
        missing.append("the right to make namespaces (CAP_SYS_ADMIN)")
    elif not _overlay_works():
        missing.append(f"overlayfs on {tempfile.gettempdir()} (TMPDIR chooses another folder)")
    return missing


def _overlay_works() -> bool:
    with tempfile.TemporaryDirectory(prefix="replicator-overlay-") as folder:
        script = (
            "mkdir lower upper work merged"
            " && mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged"
        )
        return _succeeds("unshare", "--mount", "sh", "-c", f"cd '{folder}' && {script}")


def _succeeds(*argv: str) -> bool:
    return subprocess.run(argv, capture_output=True, timeout=_PROBE_TIMEOUT_S).returncode == 0
