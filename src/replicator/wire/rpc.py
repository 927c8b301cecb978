"""What both sides of the gRPC service agree on, beyond proto/replicator/v1."""

RPC_SERVICE = "replicator.v1.Replication"

MESSAGE_BYTES_MIN = 64 * 1024
MESSAGE_BYTES = 1024 * 1024
"""From which on a message of a stream is sent at the latest; the frame that made it so long is in it whole."""

REFUSAL_KEY = "replicator-refusal-bin"
"""Trailing metadata: the `Refusal` that says why a call failed."""

METADATA_BYTES_MAX = 64 * 1024
