"""Bounds of the messages between nodes (proto/replicator/v1); both sides hold the other to them."""

REQUEST_BYTES_MAX = 1024 * 1024
REPLY_BYTES_MAX = 40 * 1024 * 1024
"""Of every reply but that of a fetch; only a listing of many versions comes near it."""

MEDIA_TYPE = "application/x-protobuf"
BUCKETS_MAX = 1024
LIST_KEYS_MAX = 4096
LIST_ENTRIES_MAX = 32_768
"""In one reply, where every version is listed; a reply has fewer keys rather than more entries."""

WANTED_MAX = 256
"""Versions in one request, be it for offers, proofs or removals."""

OFFERS_BYTES_MAX = 16 * 1024 * 1024
"""Manifests in one reply, in bytes; those beyond are refused as too large and asked for again."""

HOLD_SECONDS_MAX = 600
MISSING_DIGESTS_MAX = 4096
REFERENCES_MAX = 16_384
"""In one fetch, over all its pieces."""

REFUSAL_CHARS_MAX = 2000
