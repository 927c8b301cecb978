"""Objects as a source shows them that may lie, from the honest one to any contradiction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from replicator.data_plane.ports import Versioning
from replicator.kernel.chunker import DEFAULT_CHUNKING, Chunker
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef, ManifestBuilder
from replicator.kernel.version import VersionClock, VersionId


@dataclass(frozen=True, kw_only=True)
class Forgery:
    """An object as the source shows it. Made by `forge`; altered by `dataclasses.replace`.

    Attributes:
        manifest: what is sent as the encoded root, whatever it is.
        digest: the manifest's name, by which pages are asked for.
        older: chunks that are here too, for deltas.
    """

    manifest: bytes
    digest: Digest
    size: int = 0
    pages: Sequence[bytes] = ()
    chunks: Mapping[Digest, bytes] = field(default_factory=dict)
    older: Mapping[Digest, bytes] = field(default_factory=dict)
    version: bytes = b""
    content_type: str = "application/octet-stream"
    versioning: str = Versioning.OFF
    node: str = "source"


def forge(pieces: Iterable[bytes], *, wall_ms: int = 1_700_000_000_000) -> Forgery:
    """An honest object of the chunks `pieces`."""
    builder = ManifestBuilder(DEFAULT_CHUNKING)
    chunks, pages = {}, []
    for piece in pieces:
        ref = ChunkRef(Digest.of(piece), len(piece))
        chunks[ref.digest] = piece
        if full := builder.add(ref):
            pages.append(full[1])
    manifest, last = builder.finish()
    if last:
        pages.append(last[1])
    return Forgery(
        manifest=manifest.encoded,
        digest=manifest.digest,
        size=manifest.size,
        pages=pages,
        chunks=chunks,
        version=new_version(wall_ms),
    )


def cut(data: bytes) -> list[bytes]:
    """The chunks of `data`, as a node would cut it."""
    chunker = Chunker(DEFAULT_CHUNKING)
    return [bytes(piece) for piece in (*chunker.feed(data), *chunker.finish())]


def new_version(wall_ms: int = 1_700_000_000_000) -> VersionId:
    """A version made by this source."""
    return VersionClock("liar").next(wall_ms)
