"""The methods of the gRPC service: from the bytes of a request to those of its reply."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from replicator.data_plane.api.rpc_watch import CallWatch
from replicator.data_plane.api.stall import Pace, Patience
from replicator.data_plane.metrics import NodeMetrics
from replicator.data_plane.replication.answers import Answer, answers_of
from replicator.data_plane.replication.fetch_reply import encode_frames
from replicator.data_plane.replication.messages import replies, requests
from replicator.data_plane.replication.messages.fields import parse_message
from replicator.data_plane.replication.messages.replies import Sent
from replicator.data_plane.replication.rate import Pacer
from replicator.data_plane.replication.rpc_status import details_of, refusal_metadata, status_of
from replicator.data_plane.replication.serving import Serving
from replicator.kernel.clock import Clock
from replicator.kernel.errors import Corrupt, ReplicatorError
from replicator.runtime.logging import get_logger
from replicator.wire.frames import FRAME_BYTES, FrameStatus
from replicator.wire.pb import replication_pb2 as pb
from replicator.wire.rpc import MESSAGE_BYTES, MESSAGE_BYTES_MIN, RPC_SERVICE

log = get_logger()


class RpcCalls:
    """Answers calls from what `serving` says.

    Args:
        patience: with a client that takes chunks.
    """

    def __init__(
        self,
        serving: Serving,
        *,
        watch: CallWatch,
        patience: Patience,
        pacer: Pacer,
        metrics: NodeMetrics,
        clock: Clock,
    ) -> None:
        self._serving = serving
        self._watch = watch
        self._patience = patience
        self._pacer = pacer
        self._metrics = metrics
        self._clock = clock

    def handlers(self) -> grpc.GenericRpcHandler:
        """All methods of the service."""
        methods = {name: self._unary(name, answer) for name, answer in answers_of(self._serving).items()}
        methods["Prove"] = grpc.unary_unary_rpc_method_handler(self._prove)
        methods["Fetch"] = grpc.unary_stream_rpc_method_handler(self._fetch)
        return grpc.method_handlers_generic_handler(RPC_SERVICE, methods)

    def _unary(self, method: str, answer: Answer) -> grpc.RpcMethodHandler:
        def call(request: bytes, context: grpc.ServicerContext) -> bytes:
            with self._observed(method, context):
                reply = answer(request).SerializeToString()
                self._pacer.take_egress_blocking(len(reply), gone=_gone(context))
                return reply

        return grpc.unary_unary_rpc_method_handler(call)

    def _prove(self, request: bytes, context: grpc.ServicerContext) -> bytes:
        with self._observed("Prove", context):
            wanted = requests.decode_prove(parse_message(pb.ProveRequest, request))
            proofs = self._serving.prove(wanted, stopped=_gone(context))
            return replies.encode_prove(self._serving.node, proofs).SerializeToString()

    def _fetch(self, request: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        with self._observed("Fetch", context):
            message = parse_message(pb.FetchRequest, request)
            asked = requests.decode_fetch(message)
            pace = Pace(self._patience)
            gone = _gone(context)
            message_bytes = self._pacer.egress_part_bytes(message.message_bytes or MESSAGE_BYTES)
            for frames in _messages(self._serving.fetch(asked), message_bytes):
                self._report_damage(frames[-1])
                encoded = encode_frames(frames)
                self._pacer.take_egress_blocking(len(encoded), gone=gone)
                began_s = self._clock.monotonic_s()
                with self._watch.waiting(context):
                    yield encoded
                waited_s = self._clock.monotonic_s() - began_s
                pace.note(waited_s=waited_s, passed_bytes=len(encoded))

    @contextmanager
    def _observed(self, method: str, context: Any) -> Iterator[None]:
        """Count the call, and end it with the status of the error it raises."""
        began_s = self._clock.monotonic_s()
        status = grpc.StatusCode.CANCELLED
        try:
            yield
            status = grpc.StatusCode.OK
        except GeneratorExit:
            raise
        except ReplicatorError as error:
            status = status_of(error)
            self._refuse(method, context, error)
        except Exception as error:
            status = grpc.StatusCode.INTERNAL
            log.error("rpc.failed", method=method, exc_info=error)
            context.abort(status, "an unexpected error; the log has the details")
        finally:
            seconds = self._clock.monotonic_s() - began_s
            self._metrics.observe_rpc(method, status.name.lower(), seconds)

    def _refuse(self, method: str, context: Any, error: ReplicatorError) -> None:
        if isinstance(error, Corrupt):
            self._metrics.corrupt_chunks.inc()
            log.error("chunk.corrupt", method=method, reason=error.message, digest=error.data.get("digest"))
        context.set_trailing_metadata(refusal_metadata(error))
        context.abort(status_of(error), details_of(error))

    def _report_damage(self, frame: Sent) -> None:
        if frame.status == FrameStatus.CORRUPT:
            self._metrics.corrupt_chunks.inc()
            log.error("chunk.corrupt", method="Fetch", digest=str(frame.digest))


def _gone(context: Any) -> threading.Event:
    """Is set once the call is over, be it because its client has left."""
    gone = threading.Event()
    if not context.add_callback(gone.set):
        gone.set()
    return gone


def _messages(frames: Iterator[Sent], message_bytes: int) -> Iterator[list[Sent]]:
    message_bytes = min(MESSAGE_BYTES, max(MESSAGE_BYTES_MIN, message_bytes))
    message: list[Sent] = []
    length = 0
    for frame in frames:
        message.append(frame)
        length += FRAME_BYTES + len(frame.payload)
        if length >= message_bytes:
            yield message
            message, length = [], 0
    if message:
        yield message
