"""`POST /copies`: copy and restore without moving a byte."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import FastAPI, Header, Response

from replicator.data_plane.api.headers import etag_of, put_condition
from replicator.data_plane.api.objects import describe
from replicator.data_plane.objects.copying import copy_version
from replicator.data_plane.objects.finding import find_version
from replicator.data_plane.ports import Store
from replicator.kernel.names import BucketName, ObjectId
from replicator.kernel.version import VersionId
from replicator.wire.manifests import VERSION_HEADER
from replicator.wire.objects import CopyRequest, ObjectInfo

_OfTarget = Annotated[list[str] | None, Header(description="Held against the target.")]


def add_copies(app: FastAPI, store: Store) -> None:
    """Serve copies."""

    @app.post(
        "/copies",
        tags=["objects"],
        summary="Copy or restore an object",
        status_code=HTTPStatus.CREATED,
        responses={HTTPStatus.OK: {"model": ObjectInfo, "description": "Replaced."}},
    )
    def copy(
        asked: CopyRequest,
        response: Response,
        if_match: _OfTarget = None,
        if_none_match: _OfTarget = None,
    ) -> ObjectInfo:
        """Make a version the latest of another object, or again of its own; at once, whatever its size."""
        given = {b"if-match": if_match, b"if-none-match": if_none_match}
        conditions = {name: ", ".join(lines).encode("latin-1") for name, lines in given.items() if lines}
        wanted = asked.source
        source = find_version(
            store,
            BucketName(wanted.bucket),
            ObjectId(wanted.object_id),
            None if wanted.version is None else VersionId.parse(wanted.version),
        )
        target = asked.target
        done = copy_version(
            store, source, BucketName(target.bucket), ObjectId(target.object_id), put_condition(conditions)
        )
        if done.replaced is not None:
            response.status_code = HTTPStatus.OK
        response.headers["ETag"] = etag_of(done.version.manifest)
        response.headers[VERSION_HEADER] = str(done.version.version)
        return describe(done.version)
