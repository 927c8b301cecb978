"""How a manifest travels between nodes: its canonical encoding, with the version it belongs to and the node in headers."""

MEDIA_TYPE = "application/vnd.replicator.manifest"
NODE_HEADER = "X-Replicator-Node"
VERSION_HEADER = "X-Replicator-Version"
CONTENT_TYPE_HEADER = "X-Replicator-Content-Type"
