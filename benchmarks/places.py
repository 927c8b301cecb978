"""Where the processes of a run live: on loopback, or on two hosts of their own whose link is counted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

from replicator.testing.netns import Host, Network, missing_for_networks

LOOPBACK = "127.0.0.1"
NOT_COUNTED_NOTICE = "bytes on the wire are as the jobs say, not counted outside: "


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host as those on it and around it see it.

    Attributes:
        wrapper: what a command is preceded by to run there.
        bind: where its servers listen.
        host: where this process reaches it, and `peer_host` the other place.
    """

    wrapper: tuple[str, ...] = ()
    bind: str = LOOPBACK
    host: str = LOOPBACK
    peer_host: str = LOOPBACK


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """A place for sources and one for destinations, and what passes between them.

    Attributes:
        hub: where this process is reached from both.
        link_bytes: bytes between the two so far, headers included; None where nobody counts.
    """

    source: Place
    destination: Place
    hub: str
    link_bytes: Callable[[], int] | None


ON_LOOPBACK = Places(source=Place(), destination=Place(), hub=LOOPBACK, link_bytes=None)


@contextmanager
def linked_places() -> Iterator[Places]:
    """Two hosts, or loopback where this machine cannot have them: `missing_for_networks` says why."""
    if missing_for_networks() is not None:
        yield ON_LOOPBACK
        return
    with Network() as network:
        yield Places(
            source=_place(network.first),
            destination=_place(network.second),
            hub=network.hub,
            link_bytes=network.link_bytes,
        )


def _place(host: Host) -> Place:
    # Inside the namespace; nothing but this machine reaches it.
    return Place(wrapper=host.wrapper, bind="0.0.0.0", host=host.address, peer_host=host.link_address)
