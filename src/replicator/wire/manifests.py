"""How a manifest travels between nodes: its canonical encoding, with the version it belongs to in headers."""

MEDIA_TYPE = "application/vnd.replicator.manifest"
VERSION_HEADER = "X-Replicator-Version"
CONTENT_TYPE_HEADER = "X-Replicator-Content-Type"
