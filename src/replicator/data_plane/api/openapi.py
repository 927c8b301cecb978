"""OpenAPI of the paths that FastAPI does not serve: objects, chunks and what other nodes ask."""

from __future__ import annotations

from typing import Any

from replicator.kernel.names import DEFAULT_BUCKET
from replicator.runtime.problems import PROBLEM_RESPONSES
from replicator.wire.frames import MEDIA_TYPE as CHUNKS_MEDIA_TYPE
from replicator.wire.manifests import VERSION_HEADER
from replicator.wire.objects import DELETE_MARKER_HEADER, REMOVED_VERSION_HEADER, PutResult
from replicator.wire.replication import MEDIA_TYPE as PROTOBUF_MEDIA_TYPE

_BYTES: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}
_OBJECT_ID = {
    "name": "object_id",
    "in": "path",
    "required": True,
    "description": "UTF-8, 1 to 1,024 bytes, percent-encoded; slashes may stand as they are.",
    "schema": {"type": "string"},
    "example": "models/v1/weights.bin",
}
_BUCKET = {
    "name": "bucket",
    "in": "query",
    "required": False,
    "description": "The bucket that holds the object.",
    "schema": {"type": "string", "default": str(DEFAULT_BUCKET)},
}
_VERSION = {
    "name": "version",
    "in": "query",
    "required": False,
    "description": "32 hexadecimal digits; without it, the latest version.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_DIGEST = {
    "name": "digest",
    "in": "path",
    "required": True,
    "description": "SHA-256 of the chunk, 64 lowercase hexadecimal digits.",
    "schema": {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}

_ASKED_BY_NODES = {
    "hello": ("Say who answers", "`HelloRequest`, `HelloReply`."),
    "buckets": ("List buckets", "`BucketsRequest`, `BucketsReply`."),
    "list": ("List a stretch of a bucket, or its digest", "`ListRequest`, `ListReply`."),
    "offers": ("Offer manifests and keep them for a while", "`OffersRequest`, `OffersReply`."),
    "page": ("Fetch a page of a long manifest", "`PageRequest`, `PageReply`."),
    "missing": ("Say which chunks are not here", "`MissingRequest`, `MissingReply`."),
    "fetch": (
        "Fetch many chunks",
        "`FetchRequest`; the answer is one stream of frames, in the order asked for.",
    ),
    "prove": ("Read every byte of some versions", "`ProveRequest`, `ProveReply`, which comes in parts."),
    "remove": ("Delete exactly these versions for good", "`RemoveRequest`, `RemoveReply`."),
}
"""Summary, and the messages of proto/replicator/v1."""


def bare_paths() -> dict[str, Any]:
    """The `paths` members for `/objects/{object_id}`, `/chunks/{digest}` and `/replication/…`."""
    return {
        "/objects/{object_id}": {"parameters": [_OBJECT_ID, _BUCKET], **_object_operations()},
        "/chunks/{digest}": {"parameters": [_DIGEST], **_chunk_operations()},
        **{f"/replication/{method}": {"post": _asked_by_nodes(method)} for method in _ASKED_BY_NODES},
    }


def _object_operations() -> dict[str, Any]:
    conditions = [_header("If-Match"), _header("If-None-Match")]
    ranges = [_header("Range"), _header("If-Range")]
    digests = [_header("Content-Digest"), _header("Repr-Digest")]
    stored = {"content": {"application/json": {"schema": PutResult.model_json_schema()}}}
    return {
        "put": _operation(
            "Store an object",
            "Streams a body of any length; answered once it is durable.",
            {"201": {"description": "Stored.", **stored}, "200": {"description": "Replaced.", **stored}},
            parameters=[*conditions, *digests],
            requestBody={"required": True, "content": {"application/octet-stream": _BYTES}},
        ),
        "get": _operation(
            "Read an object",
            "Every byte is checked before it leaves. A response that ends short met a corrupt chunk.",
            {
                "200": {"description": "The bytes.", "content": {"application/octet-stream": _BYTES}},
                "206": {"description": "A range.", "content": {"application/octet-stream": _BYTES}},
                "304": {"description": "Not modified."},
                "404": {
                    "description": f"Not there; with {DELETE_MARKER_HEADER} where it is deleted and older "
                    "versions are kept."
                },
                "405": {"description": "The version named is a delete marker."},
            },
            parameters=[_VERSION, *conditions, *ranges],
        ),
        "head": _operation(
            "Describe an object",
            "As GET, without the bytes.",
            {"200": {"description": "Headers."}},
            parameters=[_VERSION, *conditions],
        ),
        "delete": _operation(
            "Delete an object",
            "Where versions are kept, makes a delete marker; else removes it. With `version`, removes that version "
            "or marker for good.",
            {"204": {"description": "Deleted.", "headers": _deletion_headers()}},
            parameters=[_VERSION, *conditions],
        ),
    }


def _deletion_headers() -> dict[str, Any]:
    return {
        VERSION_HEADER: {
            "description": "Of the delete marker that was made, or else of what was removed.",
            "schema": {"type": "string"},
        },
        DELETE_MARKER_HEADER: {
            "description": "`true` where that is a delete marker.",
            "schema": {"type": "string"},
        },
        REMOVED_VERSION_HEADER: {
            "description": "Of the null version that is gone for good because the marker took its place.",
            "schema": {"type": "string"},
        },
    }


def _chunk_operations() -> dict[str, Any]:
    return {
        "get": _operation(
            "Read a chunk",
            "The bytes, checked.",
            {"200": {"description": "The bytes.", "content": {"application/octet-stream": _BYTES}}},
            tag="chunks",
        ),
        "head": _operation(
            "Is a chunk here", "Its length.", {"200": {"description": "It is here."}}, tag="chunks"
        ),
        "put": _operation(
            "Store a chunk",
            "400 unless the body hashes to the digest.",
            {"201": {"description": "Stored."}, "204": {"description": "It was here."}},
            tag="chunks",
            requestBody={"required": True, "content": {"application/octet-stream": _BYTES}},
        ),
    }


def _asked_by_nodes(method: str) -> dict[str, Any]:
    summary, description = _ASKED_BY_NODES[method]
    reply = CHUNKS_MEDIA_TYPE if method == "fetch" else PROTOBUF_MEDIA_TYPE
    return _operation(
        summary,
        description,
        {"200": {"description": "The reply.", "content": {reply: _BYTES}}},
        tag="other nodes",
        requestBody={"required": True, "content": {PROTOBUF_MEDIA_TYPE: _BYTES}},
    )


def _operation(
    summary: str, description: str, responses: dict[str, Any], *, tag: str = "objects", **rest: Any
) -> dict[str, Any]:
    return {
        "tags": [tag],
        "summary": summary,
        "description": description,
        "responses": {**responses, **PROBLEM_RESPONSES},
        **rest,
    }


def _header(name: str) -> dict[str, Any]:
    return {"name": name, "in": "header", "required": False, "schema": {"type": "string"}}
