from __future__ import annotations

import pytest
from prometheus_client import CollectorRegistry, Counter

from replicator.runtime.metrics import expose


@pytest.mark.parametrize(
    ("accept", "media_type", "openmetrics"),
    [
        ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text", True),
        ("text/plain", "text/plain", False),
        ("", "text/plain", False),
    ],
)
def test_metrics_come_in_the_form_that_was_asked_for(accept: str, media_type: str, openmetrics: bool) -> None:
    registry = CollectorRegistry()
    Counter("replicator_chunks_pulled", "Chunks.", registry=registry).inc(3)
    body, content_type = expose(registry, accept)
    assert content_type.startswith(media_type)
    assert b"replicator_chunks_pulled_total 3.0" in body
    assert body.endswith(b"# EOF\n") == openmetrics
