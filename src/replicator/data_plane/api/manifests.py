"""`GET /manifests/{object_id}` and `GET /pages/{digest}/{index}`: what an object is made of."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import FastAPI, Query, Request, Response

from replicator.data_plane.api.headers import etag_of
from replicator.data_plane.api.parameters import InBucket, ObjectIdInPath, WantedVersion
from replicator.data_plane.objects.finding import find_version
from replicator.data_plane.ports import Store, Version
from replicator.kernel.digest import Digest
from replicator.kernel.errors import NotFound
from replicator.kernel.manifest import Manifest
from replicator.wire import manifests
from replicator.wire.objects import ChunkEntry, ManifestView


def add_manifests(app: FastAPI, store: Store, name: str) -> None:
    """Serve manifests and their pages; `name` is that of the node."""

    @app.get(
        "/manifests/{object_id:text}",
        tags=["objects"],
        summary="Show a manifest",
        response_model=ManifestView,
        responses={200: {"content": {manifests.MEDIA_TYPE: {}}}},
    )
    def show_manifest(
        request: Request,
        object_id: ObjectIdInPath,
        bucket: InBucket,
        wanted: WantedVersion,
        page: Annotated[int, Query(ge=0)] = 0,
    ) -> Any:
        """One page of the manifest of a version; as JSON, or as its canonical encoding."""
        version = find_version(store, bucket, object_id, wanted)
        manifest = store.manifest(version.manifest)
        if manifests.MEDIA_TYPE in request.headers.get("accept", ""):
            return Response(
                manifest.encoded, headers=_offer_headers(name, version), media_type=manifests.MEDIA_TYPE
            )
        return _view(store, version, manifest, page)

    @app.get(
        "/pages/{digest}/{index}",
        tags=["objects"],
        summary="Fetch a page of a manifest",
        response_class=Response,
        responses={200: {"content": {manifests.MEDIA_TYPE: {}}}},
    )
    def fetch_page(digest: str, index: int) -> Response:
        """Page `index` of the manifest with that digest, in its canonical encoding."""
        manifest = store.manifest(Digest.parse(digest))
        if not 0 <= index < manifest.page_count:
            raise NotFound(f"the manifest has {manifest.page_count} pages", digest=digest)
        return Response(store.page(manifest, index), media_type=manifests.MEDIA_TYPE)


def _offer_headers(name: str, version: Version) -> dict[str, str]:
    return {
        manifests.NODE_HEADER: name,
        "ETag": etag_of(version.manifest),
        manifests.VERSION_HEADER: str(version.version),
        manifests.CONTENT_TYPE_HEADER: version.content_type,
    }


def _view(store: Store, version: Version, manifest: Manifest, page: int) -> ManifestView:
    if page >= max(1, manifest.page_count):
        raise NotFound(
            f"the manifest has {max(1, manifest.page_count)} pages", object_id=str(version.object_id)
        )
    entries = next(store.entries(manifest, page), ())
    return ManifestView(
        bucket=version.bucket,
        object_id=version.object_id,
        version=str(version.version),
        manifest=str(version.manifest),
        size=manifest.size,
        chunk_count=manifest.chunk_count,
        chunk_bytes_min=manifest.chunking.chunk_bytes_min,
        chunk_bytes_avg=manifest.chunking.chunk_bytes_avg,
        chunk_bytes_max=manifest.chunking.chunk_bytes_max,
        page=page,
        page_count=max(1, manifest.page_count),
        entries=[ChunkEntry(digest=str(ref.digest), length=ref.length) for ref in entries],
    )
