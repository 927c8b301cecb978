"""Requests to the cluster from outside: JSON, uploads, and downloads that are hashed as they come."""

from __future__ import annotations

import hashlib
import http.client
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

from containers.outcome import StepFailed

_REQUEST_TIMEOUT_S = 60.0
_BLOCK_BYTES = 1024 * 1024


def get_json(url: str) -> Any:
    """The body of `GET url`; raises `StepFailed` unless it is 200."""
    return json.loads(get_text(url))


def get_text(url: str) -> str:
    """The body of `GET url`, which is UTF-8; raises `StepFailed` unless it is 200."""
    return _request("GET", url).read().decode()


def post_json(url: str, body: dict[str, Any]) -> Any:
    """The body of the answer to `POST url`; raises `StepFailed` unless it is a success."""
    reply = _request("POST", url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(reply.read())


def put_json(url: str, body: dict[str, Any]) -> Any:
    """The body of the answer to `PUT url`; raises `StepFailed` unless it is a success."""
    reply = _request("PUT", url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.loads(reply.read())


def put_object(node_url: str, object_id: str, source: Path) -> Any:
    """Stream the file `source` to a node as `object_id`; returns its answer."""
    with source.open("rb") as body:
        headers = {"Content-Length": str(source.stat().st_size)}
        return json.loads(_request("PUT", f"{node_url}/objects/{quote(object_id)}", body, headers).read())


def sha256_of_object(node_url: str, object_id: str) -> str:
    """SHA-256 of the bytes that a node serves as `object_id`."""
    reply = _request("GET", f"{node_url}/objects/{quote(object_id)}")
    digest = hashlib.sha256()
    while block := reply.read(_BLOCK_BYTES):
        digest.update(block)
    return digest.hexdigest()


def _request(method: str, url: str, body: Any = None, headers: dict[str, str] | None = None) -> _Reply:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=_REQUEST_TIMEOUT_S)
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(method, path, body, headers or {})
        reply = connection.getresponse()
    except (OSError, http.client.HTTPException) as error:
        connection.close()
        raise StepFailed(f"{method} {url}: {error!r}") from error
    if reply.status >= http.client.BAD_REQUEST:
        raise StepFailed(f"{method} {url} answered {reply.status}: {reply.read(2000)!r}")
    return _Reply(reply, f"{method} {url}")


class _Reply:
    """A response whose broken body is a `StepFailed`, like everything else here."""

    def __init__(self, response: http.client.HTTPResponse, request: str) -> None:
        self._response = response
        self._request = request

    def read(self, size: int | None = None) -> bytes:
        """At most `size` bytes, or all that are left."""
        try:
            return self._response.read(size)
        except (OSError, http.client.HTTPException) as error:
            raise StepFailed(f"{self._request}: the body broke off: {error!r}") from error
