"""Everything a node answers by FastAPI: listing, manifests, health, metrics, joining; and its OpenAPI."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Annotated, Any
from urllib.parse import quote, unquote

from fastapi import Depends, FastAPI, Path, Query, Request, Response
from starlette.convertors import Convertor, register_url_convertor

from replicator import __version__
from replicator.data_plane.api.headers import etag_of, parse_object_id
from replicator.data_plane.api.objects import describe
from replicator.data_plane.api.openapi import bare_paths
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.ports import Store, Version
from replicator.kernel.digest import Digest
from replicator.kernel.errors import InvalidRequest, NotFound
from replicator.kernel.manifest import Manifest
from replicator.kernel.names import DEFAULT_BUCKET, OBJECT_ID_BYTES_MAX, ObjectId
from replicator.runtime.bodies import BoundedBodies
from replicator.runtime.metrics import expose
from replicator.runtime.problems import PROBLEM_RESPONSES, install_problem_handlers
from replicator.wire import manifests
from replicator.wire.objects import ChunkEntry, ManifestView, ObjectPage
from replicator.wire.sessions import JoinReply, JoinRequest
from replicator.wire.status import Health

LIST_LIMIT_MAX = 1000
BODY_BYTES_MAX = 64 * 1024
Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]
Join = Callable[[JoinRequest], JoinReply]


def make_rest(*, name: str, store: Store, metrics: NodeMetrics, join: Join, lifespan: Lifespan) -> FastAPI:
    """The application for node `name`.

    Args:
        join: opens a session with the control plane that a request names; may raise `Conflict`.
        lifespan: brackets the life of the process.
    """
    app = FastAPI(
        title=f"Replicator node {name}",
        version=__version__,
        summary="Objects as content-addressed chunks, durable when acknowledged, verified when read.",
        lifespan=lifespan,
        responses=PROBLEM_RESPONSES,
    )
    install_problem_handlers(app)
    app.add_middleware(BoundedBodies, bytes_max=BODY_BYTES_MAX)
    _add_objects(app, store, name)
    _add_operations(app, store, metrics, join, name)
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        schema = generate()
        schema["paths"] |= bare_paths()
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


class _AnyText(Convertor[str]):
    """Matches what Starlette's `path` does not: line breaks, so that an id with one is refused by name."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


register_url_convertor("text", _AnyText())


async def _object_id(
    request: Request,
    _decoded: Annotated[str, Path(alias="object_id", examples=["models/v1/weights.bin"])],
) -> ObjectId:
    # Taken from the raw path, because the decoded one has lost what was escaped.
    raw: bytes = request.scope["raw_path"]
    return parse_object_id(raw.removeprefix(b"/manifests/"))


def _add_objects(app: FastAPI, store: Store, name: str) -> None:
    @app.get("/objects", tags=["objects"], summary="List objects")
    def list_objects(
        prefix: Annotated[str, Query(max_length=OBJECT_ID_BYTES_MAX)] = "",
        cursor: Annotated[str | None, Query(max_length=3 * OBJECT_ID_BYTES_MAX)] = None,
        limit: Annotated[int, Query(ge=1, le=LIST_LIMIT_MAX)] = 100,
    ) -> ObjectPage:
        """Objects whose ids begin with `prefix`, in byte order, a page at a time."""
        after = None if cursor is None else _decode_cursor(cursor)
        found = store.scan(DEFAULT_BUCKET, prefix, after, limit + 1)
        following = quote(found[limit - 1].object_id, safe="") if len(found) > limit else None
        return ObjectPage(objects=[describe(version) for version in found[:limit]], next_cursor=following)

    @app.get(
        "/manifests/{object_id:text}",
        tags=["objects"],
        summary="Show a manifest",
        response_model=ManifestView,
        responses={200: {"content": {manifests.MEDIA_TYPE: {}}}},
    )
    def show_manifest(
        request: Request,
        object_id: Annotated[ObjectId, Depends(_object_id)],
        page: Annotated[int, Query(ge=0)] = 0,
    ) -> Any:
        """One page of the manifest of the latest version; as JSON, or as its canonical encoding."""
        version = store.head(DEFAULT_BUCKET, object_id)
        if version is None:
            raise NotFound(f"there is no object '{object_id}' on this node", object_id=str(object_id))
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


def _add_operations(app: FastAPI, store: Store, metrics: NodeMetrics, join: Join, name: str) -> None:
    @app.post("/control/join", tags=["operations"], summary="Join a control plane")
    async def join_control_plane(request: JoinRequest) -> JoinReply:
        """Open a session with a control plane. Sent by the control plane that this node is registered with."""
        return join(request)

    @app.get("/health", tags=["operations"], summary="Is the process up")
    async def health() -> Health:
        """Answers as long as the process does."""
        return Health(status="ok", name=name, release=__version__)

    @app.get("/ready", tags=["operations"], summary="Can it do its work")
    async def ready() -> Health:
        """503 once the store takes no more writes."""
        store.require_writable()
        return Health(status="ok", name=name, release=__version__)

    @app.get("/metrics", tags=["operations"], summary="Metrics", response_class=Response)
    def show_metrics(request: Request) -> Response:
        """Prometheus text, or OpenMetrics where it is asked for."""
        body, content_type = expose(metrics.registry, request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})


def _decode_cursor(cursor: str) -> ObjectId:
    try:
        return ObjectId.parse(unquote(cursor, errors="strict"))
    except (UnicodeDecodeError, InvalidRequest) as error:
        raise InvalidRequest("not a cursor of this list: begin again without one") from error


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
