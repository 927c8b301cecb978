"""Two hosts on one machine, and a link between them that can be cut: network namespaces, veth and iptables.

Each host is a namespace. It is reached over a management network, from the machine and from nowhere else, and
has a second device, its end of the link, over which the hosts reach each other. Cutting the link leaves the
management alone, so tests can go on talking to both. Dropped packets are what is seen of a cable that is
pulled or a firewall that changed: nobody is told, connections neither close nor reset.

Needs root, Linux, `ip` and `iptables`. Addresses are of 198.18.0.0/15, set aside for tests (RFC 2544).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Literal, Self

_COMMAND_SECONDS_MAX = 30.0
_LINK_MTU_BYTES = 65_535
_DEVICE = "pair"
_LINK_ADDRESSES = ("198.19.0.1", "198.19.0.2")

Direction = Literal["both", "to-first", "to-second"]


class NetworkError(Exception):
    """A command that makes or changes a network failed; the message is its own."""


@dataclass(frozen=True, slots=True)
class Host:
    """One of the two.

    Attributes:
        namespace: its name.
        address: where the machine reaches it.
        link_address: where the other host reaches it.
    """

    namespace: str
    address: str
    link_address: str

    @property
    def wrapper(self) -> tuple[str, ...]:
        """What a command is preceded by to run on this host; the process keeps its id."""
        return ("ip", "netns", "exec", self.namespace)


class Network:
    """Two hosts while the context lasts, one such network in a process. What runs on them must have ended before.

    Attributes:
        hub: the machine's own address, as the hosts reach it.
        first, second: the hosts.
    """

    def __init__(self) -> None:
        pid = os.getpid()
        prefix, base = f"198.18.{pid & 0xFF}", (pid >> 8 & 0xF) * 16
        self._tag = f"{pid:x}"
        self._bridge = f"rb{self._tag}"
        self.hub = f"{prefix}.{base + 1}"
        self.first, self.second = (
            Host(f"r{number}-{self._tag}", f"{prefix}.{base + 1 + number}", link_address)
            for number, link_address in enumerate(_LINK_ADDRESSES, start=1)
        )
        self._made = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as made:
            _run("ip", "link", "add", self._bridge, "type", "bridge")
            made.callback(_try_to_run, "ip", "link", "del", self._bridge)
            _run("ip", "addr", "add", f"{self.hub}/28", "dev", self._bridge)
            _run("ip", "link", "set", self._bridge, "up")
            for number, host in enumerate((self.first, self.second), start=1):
                outside = f"rm{number}{self._tag}"
                made.callback(_try_to_run, "ip", "netns", "del", host.namespace)
                made.callback(_try_to_run, "ip", "link", "del", outside)
                self._add(host, outside=outside)
            self._join()
            self._made = made.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def cut(self, direction: Direction = "both") -> None:
        """Drop what goes over the link, both ways or towards one of the hosts."""
        for host, towards in ((self.first, "to-first"), (self.second, "to-second")):
            if direction in ("both", towards):
                self._filter(host, "-A", "INPUT", "-i", _DEVICE, "-j", "DROP")

    def heal(self) -> None:
        """Let everything pass again."""
        for host in (self.first, self.second):
            self._filter(host, "-F", "INPUT")

    def link_bytes(self) -> int:
        """What has gone over the link so far, both ways, headers and acknowledgements included.

        Of a large packet that the devices pass on whole, its headers count once.
        """
        answer = _run(*self.second.wrapper, "cat", "/proc/net/dev")
        line = next(each for each in answer.splitlines() if each.strip().startswith(f"{_DEVICE}:"))
        counts = line.partition(":")[2].split()
        return int(counts[0]) + int(counts[8])

    def _add(self, host: Host, *, outside: str) -> None:
        _run("ip", "netns", "add", host.namespace)
        _run("ip", "link", "add", outside, "type", "veth", "peer", "name", "manage", "netns", host.namespace)
        _run("ip", "link", "set", outside, "master", self._bridge, "up")
        _run(*host.wrapper, "ip", "addr", "add", f"{host.address}/28", "dev", "manage")
        for device in ("lo", "manage"):
            _run(*host.wrapper, "ip", "link", "set", device, "up")

    def _join(self) -> None:
        first, second = self.first, self.second
        near, far = (("name", _DEVICE, "netns", host.namespace) for host in (first, second))
        _run("ip", "link", "add", *near, "type", "veth", "peer", *far)
        for host in (first, second):
            _run(*host.wrapper, "ip", "addr", "add", f"{host.link_address}/24", "dev", _DEVICE)
            _run(*host.wrapper, "ip", "link", "set", _DEVICE, "mtu", str(_LINK_MTU_BYTES), "up")

    def _filter(self, host: Host, *rule: str) -> None:
        _run(*host.wrapper, "iptables", "-w", *rule)


@cache
def missing_for_networks() -> str | None:
    """What keeps this machine from having such a network; None where it can."""
    if not sys.platform.startswith("linux") or os.geteuid() != 0:
        return "needs root on Linux, for network namespaces"
    for command in ("ip", "iptables"):
        if shutil.which(command) is None:
            return f"needs the command {command}"
    try:
        with Network() as network:
            network.cut()
            network.heal()
    except NetworkError as error:
        return f"needs the right to make network namespaces: {error}"
    return None


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS_MAX, check=False)
    if done.returncode != 0:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout.decode()


def _try_to_run(*command: str) -> None:
    """Of what was made only in part, something may be missing; what is left must go all the same."""
    subprocess.run(command, capture_output=True, timeout=_COMMAND_SECONDS_MAX, check=False)
