from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class HelloReply(_message.Message):
    __slots__ = ("node", "release")
    NODE_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    node: str
    release: str
    def __init__(self, node: _Optional[str] = ..., release: _Optional[str] = ...) -> None: ...

class Refusal(_message.Message):
    __slots__ = ("code", "message", "digest")
    CODE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    code: str
    message: str
    digest: bytes
    def __init__(self, code: _Optional[str] = ..., message: _Optional[str] = ..., digest: _Optional[bytes] = ...) -> None: ...

class BucketsRequest(_message.Message):
    __slots__ = ("after", "limit")
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    after: str
    limit: int
    def __init__(self, after: _Optional[str] = ..., limit: _Optional[int] = ...) -> None: ...

class BucketsReply(_message.Message):
    __slots__ = ("node", "buckets")
    NODE_FIELD_NUMBER: _ClassVar[int]
    BUCKETS_FIELD_NUMBER: _ClassVar[int]
    node: str
    buckets: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, node: _Optional[str] = ..., buckets: _Optional[_Iterable[str]] = ...) -> None: ...

class ListRequest(_message.Message):
    __slots__ = ("bucket", "prefix", "after", "until", "limit", "all_versions", "digest_only")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ALL_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    DIGEST_ONLY_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    prefix: str
    after: str
    until: str
    limit: int
    all_versions: bool
    digest_only: bool
    def __init__(self, bucket: _Optional[str] = ..., prefix: _Optional[str] = ..., after: _Optional[str] = ..., until: _Optional[str] = ..., limit: _Optional[int] = ..., all_versions: _Optional[bool] = ..., digest_only: _Optional[bool] = ...) -> None: ...

class ListReply(_message.Message):
    __slots__ = ("node", "entries", "digest", "count", "last", "more", "versioning")
    NODE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    MORE_FIELD_NUMBER: _ClassVar[int]
    VERSIONING_FIELD_NUMBER: _ClassVar[int]
    node: str
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    digest: bytes
    count: int
    last: str
    more: bool
    versioning: str
    def __init__(self, node: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., digest: _Optional[bytes] = ..., count: _Optional[int] = ..., last: _Optional[str] = ..., more: _Optional[bool] = ..., versioning: _Optional[str] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("key", "version", "manifest", "size")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: str
    version: bytes
    manifest: bytes
    size: int
    def __init__(self, key: _Optional[str] = ..., version: _Optional[bytes] = ..., manifest: _Optional[bytes] = ..., size: _Optional[int] = ...) -> None: ...

class Wanted(_message.Message):
    __slots__ = ("bucket", "key", "version", "manifest")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    key: str
    version: bytes
    manifest: bytes
    def __init__(self, bucket: _Optional[str] = ..., key: _Optional[str] = ..., version: _Optional[bytes] = ..., manifest: _Optional[bytes] = ...) -> None: ...

class OffersRequest(_message.Message):
    __slots__ = ("wanted", "hold_seconds")
    WANTED_FIELD_NUMBER: _ClassVar[int]
    HOLD_SECONDS_FIELD_NUMBER: _ClassVar[int]
    wanted: _containers.RepeatedCompositeFieldContainer[Wanted]
    hold_seconds: int
    def __init__(self, wanted: _Optional[_Iterable[_Union[Wanted, _Mapping]]] = ..., hold_seconds: _Optional[int] = ...) -> None: ...

class OffersReply(_message.Message):
    __slots__ = ("node", "offers")
    NODE_FIELD_NUMBER: _ClassVar[int]
    OFFERS_FIELD_NUMBER: _ClassVar[int]
    node: str
    offers: _containers.RepeatedCompositeFieldContainer[Offer]
    def __init__(self, node: _Optional[str] = ..., offers: _Optional[_Iterable[_Union[Offer, _Mapping]]] = ...) -> None: ...

class Offer(_message.Message):
    __slots__ = ("offered", "refused")
    OFFERED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    offered: Offered
    refused: Refusal
    def __init__(self, offered: _Optional[_Union[Offered, _Mapping]] = ..., refused: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Offered(_message.Message):
    __slots__ = ("version", "manifest", "content_type", "versioning")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    VERSIONING_FIELD_NUMBER: _ClassVar[int]
    version: bytes
    manifest: bytes
    content_type: str
    versioning: str
    def __init__(self, version: _Optional[bytes] = ..., manifest: _Optional[bytes] = ..., content_type: _Optional[str] = ..., versioning: _Optional[str] = ...) -> None: ...

class PageRequest(_message.Message):
    __slots__ = ("manifest", "index")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    index: int
    def __init__(self, manifest: _Optional[bytes] = ..., index: _Optional[int] = ...) -> None: ...

class PageReply(_message.Message):
    __slots__ = ("page",)
    PAGE_FIELD_NUMBER: _ClassVar[int]
    page: bytes
    def __init__(self, page: _Optional[bytes] = ...) -> None: ...

class MissingRequest(_message.Message):
    __slots__ = ("digests",)
    DIGESTS_FIELD_NUMBER: _ClassVar[int]
    digests: bytes
    def __init__(self, digests: _Optional[bytes] = ...) -> None: ...

class MissingReply(_message.Message):
    __slots__ = ("missing",)
    MISSING_FIELD_NUMBER: _ClassVar[int]
    missing: bytes
    def __init__(self, missing: _Optional[bytes] = ...) -> None: ...

class Piece(_message.Message):
    __slots__ = ("chunks", "references")
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    REFERENCES_FIELD_NUMBER: _ClassVar[int]
    chunks: bytes
    references: bytes
    def __init__(self, chunks: _Optional[bytes] = ..., references: _Optional[bytes] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("pieces", "compress", "message_bytes")
    PIECES_FIELD_NUMBER: _ClassVar[int]
    COMPRESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    pieces: _containers.RepeatedCompositeFieldContainer[Piece]
    compress: bool
    message_bytes: int
    def __init__(self, pieces: _Optional[_Iterable[_Union[Piece, _Mapping]]] = ..., compress: _Optional[bool] = ..., message_bytes: _Optional[int] = ...) -> None: ...

class FetchReply(_message.Message):
    __slots__ = ("frames",)
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    frames: _containers.RepeatedCompositeFieldContainer[Frame]
    def __init__(self, frames: _Optional[_Iterable[_Union[Frame, _Mapping]]] = ...) -> None: ...

class Frame(_message.Message):
    __slots__ = ("digest", "status", "codec", "payload")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        CHUNK: _ClassVar[Frame.Status]
        MISSING: _ClassVar[Frame.Status]
        CORRUPT: _ClassVar[Frame.Status]
        DELTA: _ClassVar[Frame.Status]
    CHUNK: Frame.Status
    MISSING: Frame.Status
    CORRUPT: Frame.Status
    DELTA: Frame.Status
    class Codec(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        PLAIN: _ClassVar[Frame.Codec]
        ZSTD: _ClassVar[Frame.Codec]
    PLAIN: Frame.Codec
    ZSTD: Frame.Codec
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    digest: bytes
    status: Frame.Status
    codec: Frame.Codec
    payload: bytes
    def __init__(self, digest: _Optional[bytes] = ..., status: _Optional[_Union[Frame.Status, str]] = ..., codec: _Optional[_Union[Frame.Codec, str]] = ..., payload: _Optional[bytes] = ...) -> None: ...

class ProveRequest(_message.Message):
    __slots__ = ("wanted",)
    WANTED_FIELD_NUMBER: _ClassVar[int]
    wanted: _containers.RepeatedCompositeFieldContainer[Wanted]
    def __init__(self, wanted: _Optional[_Iterable[_Union[Wanted, _Mapping]]] = ...) -> None: ...

class ProveReply(_message.Message):
    __slots__ = ("node", "proofs", "alive")
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROOFS_FIELD_NUMBER: _ClassVar[int]
    ALIVE_FIELD_NUMBER: _ClassVar[int]
    node: str
    proofs: _containers.RepeatedCompositeFieldContainer[Proof]
    alive: bool
    def __init__(self, node: _Optional[str] = ..., proofs: _Optional[_Iterable[_Union[Proof, _Mapping]]] = ..., alive: _Optional[bool] = ...) -> None: ...

class Proof(_message.Message):
    __slots__ = ("manifest", "refused")
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    manifest: bytes
    refused: Refusal
    def __init__(self, manifest: _Optional[bytes] = ..., refused: _Optional[_Union[Refusal, _Mapping]] = ...) -> None: ...

class Removal(_message.Message):
    __slots__ = ("bucket", "key", "version", "manifest")
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    bucket: str
    key: str
    version: bytes
    manifest: bytes
    def __init__(self, bucket: _Optional[str] = ..., key: _Optional[str] = ..., version: _Optional[bytes] = ..., manifest: _Optional[bytes] = ...) -> None: ...

class RemoveRequest(_message.Message):
    __slots__ = ("removals",)
    REMOVALS_FIELD_NUMBER: _ClassVar[int]
    removals: _containers.RepeatedCompositeFieldContainer[Removal]
    def __init__(self, removals: _Optional[_Iterable[_Union[Removal, _Mapping]]] = ...) -> None: ...

class RemoveReply(_message.Message):
    __slots__ = ("node", "refusals")
    NODE_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    node: str
    refusals: _containers.RepeatedCompositeFieldContainer[Refusal]
    def __init__(self, node: _Optional[str] = ..., refusals: _Optional[_Iterable[_Union[Refusal, _Mapping]]] = ...) -> None: ...
