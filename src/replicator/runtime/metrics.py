"""The text of `/metrics`."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder


def expose(registry: CollectorRegistry, accept: str) -> tuple[bytes, str]:
    """(body, content type) of `registry`, as OpenMetrics where `accept` asks for it."""
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
