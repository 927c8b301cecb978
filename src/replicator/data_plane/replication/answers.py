"""What other nodes ask that is answered at once: from the bytes of a request to the reply, for every transport."""

from __future__ import annotations

from collections.abc import Callable

from google.protobuf.message import Message

from replicator import __version__
from replicator.data_plane.replication.messages import replies, requests
from replicator.data_plane.replication.messages.fields import parse_message
from replicator.data_plane.replication.serving import Serving
from replicator.wire.pb import replication_pb2 as pb

Answer = Callable[[bytes], Message]


def answers_of(serving: Serving) -> dict[str, Answer]:
    """By the name of the method in proto/replicator/v1; all but `Fetch` and `Prove`, which may take long.

    Each blocks, and raises `InvalidRequest` for what is no request, or what `serving` raises.
    """

    def hello(request: bytes) -> Message:
        parse_message(pb.HelloRequest, request)
        return replies.encode_hello(serving.hello(), __version__)

    def buckets(request: bytes) -> Message:
        asked = requests.decode_buckets(parse_message(pb.BucketsRequest, request))
        return replies.encode_buckets(serving.node, serving.buckets(asked.after, asked.limit))

    def listing(request: bytes) -> Message:
        asked = requests.decode_list(parse_message(pb.ListRequest, request))
        listed = serving.listing(asked.stretch, limit=asked.limit, digest_only=asked.digest_only)
        return replies.encode_list(listed)

    def offers(request: bytes) -> Message:
        asked = requests.decode_offers(parse_message(pb.OffersRequest, request))
        return replies.encode_offers(serving.node, serving.offers(asked.wanted, hold_s=asked.hold_s))

    def page(request: bytes) -> Message:
        asked = requests.decode_page(parse_message(pb.PageRequest, request))
        return replies.encode_page(serving.page(asked.manifest, asked.index))

    def missing(request: bytes) -> Message:
        digests = requests.decode_missing(parse_message(pb.MissingRequest, request))
        return replies.encode_missing(serving.missing(digests))

    def remove(request: bytes) -> Message:
        removals = requests.decode_remove(parse_message(pb.RemoveRequest, request))
        return replies.encode_remove(serving.node, serving.remove(removals))

    return {
        "Hello": hello,
        "Buckets": buckets,
        "List": listing,
        "Offers": offers,
        "Page": page,
        "Missing": missing,
        "Remove": remove,
    }
