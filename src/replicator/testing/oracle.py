"""The oracle: what a store acknowledged, kept outside of it, to hold the store against after a fault.

What was acknowledged must be there whole. What was tried and not answered may be there whole or not at all.
Nothing else may be there. Each object has at most one writer at a time.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import quote, urlencode, urlsplit

TIMEOUT_S = 60.0
_BLOCK_BYTES = 1024 * 1024

Content = bytes | None
"""SHA-256 of an object's bytes; None for no object."""


def content_of(data: bytes) -> bytes:
    """How the oracle remembers `data`."""
    return hashlib.sha256(data).digest()


@dataclass
class _Object:
    acknowledged: Content = None
    unanswered: list[Content] = field(default_factory=list)


class Oracle:
    """Thread-safe record of writes and their answers."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._objects: dict[str, _Object] = {}
        self.acknowledged_total = 0

    def trying(self, object_id: str, content: Content) -> None:
        """A write (None: a delete) is about to be sent."""
        with self._lock:
            self._objects.setdefault(object_id, _Object()).unanswered.append(content)

    def acknowledged(self, object_id: str, content: Content) -> int:
        """The write was acknowledged: all before it has no effect any more. Returns how many were so far."""
        with self._lock:
            self._objects[object_id] = _Object(content)
            self.acknowledged_total += 1
            return self.acknowledged_total

    def refused(self, object_id: str, content: Content) -> None:
        """The write was refused for certain, so it must have had no effect; the same one before it may have."""
        with self._lock:
            self._objects[object_id].unanswered.remove(content)

    def saw(self, object_id: str, content: Content) -> None:
        """A read found `content`; the record stays as it is, because what was seen need not be durable yet.

        Raises:
            AssertionError: it should have been something else.
        """
        with self._lock:
            complaint = self._complaint(object_id, content)
        assert not complaint, complaint

    def look(self, found: Mapping[str, bytes]) -> None:
        """Hold `found`, everything that is in the store, against the record, which stays as it is.

        Raises:
            AssertionError: they disagree; the message names every object concerned.
        """
        with self._lock:
            self._require(found)

    def check(self, found: Mapping[str, bytes]) -> None:
        """The same after a restart, when what is found is durable: it is the record from now on."""
        with self._lock:
            self._require(found)
            self._objects = {object_id: _Object(content) for object_id, content in found.items()}

    def _require(self, found: Mapping[str, bytes]) -> None:
        wrong = [
            self._complaint(object_id, found.get(object_id))
            for object_id in sorted(self._objects.keys() | found.keys())
        ]
        wrong = [complaint for complaint in wrong if complaint]
        assert not wrong, "\n".join(wrong)

    def _complaint(self, object_id: str, found: Content) -> str:
        known = self._objects.get(object_id, _Object())
        if found == known.acknowledged or found in known.unanswered:
            return ""
        return (
            f"{object_id}: found {_show(found)}; acknowledged {_show(known.acknowledged)}, "
            f"unanswered {[_show(each) for each in known.unanswered]}"
        )


def _show(content: Content) -> str:
    return "nothing" if content is None else content.hex()[:12]


def read_all(base_url: str) -> dict[str, bytes]:
    """SHA-256 of every object that a node lists, read in full; raises `AssertionError` if one is not whole."""
    url = urlsplit(base_url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=TIMEOUT_S)
    try:
        return {object_id: _read(connection, object_id) for object_id in _list(connection)}
    finally:
        connection.close()


def _list(connection: http.client.HTTPConnection) -> list[str]:
    found: list[str] = []
    query = {"limit": "1000"}
    while True:
        connection.request("GET", f"/objects?{urlencode(query)}")
        page = json.loads(connection.getresponse().read())
        found += [each["object_id"] for each in page["objects"]]
        if page["next_cursor"] is None:
            return found
        query["cursor"] = page["next_cursor"]


def _read(connection: http.client.HTTPConnection, object_id: str) -> bytes:
    connection.request("GET", "/objects/" + quote(object_id, safe=""))
    answer = connection.getresponse()
    whole = hashlib.sha256()
    try:
        while block := answer.read(_BLOCK_BYTES):
            whole.update(block)
    except http.client.IncompleteRead as error:
        raise AssertionError(f"{object_id} is listed but ends early") from error
    assert answer.status == http.client.OK, f"{object_id} is listed but answered with {answer.status}"
    # A read of a given length ends quietly where the connection does.
    assert not answer.length, f"{object_id} is listed but ends early"
    return whole.digest()
