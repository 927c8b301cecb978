"""Bytes that rot on the disk: never served, always noticed, and healed by sending them again."""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from replicator.data_plane.replication.messages import requests
from replicator.data_plane.replication.ports import Piece
from replicator.kernel.digest import Digest
from replicator.kernel.manifest import ChunkRef
from replicator.testing import raw_http
from replicator.testing.processes import ServerProcess
from replicator.wire.frames import FRAME_BYTES, FrameStatus, decode_frame

DATA = random.Random("rots").randbytes(3_000_000)
StartNode = Callable[..., ServerProcess]


class Rotten:
    """A node that stores `DATA` as the object `rotten`, and access to its chunks' bytes on the disk."""

    def __init__(self, node: ServerProcess) -> None:
        self.node = node
        self.client = httpx.Client(base_url=node.url, trust_env=False)
        self.client.put("/objects/rotten", content=DATA)
        self.client.put("/objects/sound", content=b"sound")
        view = self.client.get("/manifests/rotten").json()
        self.refs = [ChunkRef(Digest.parse(each["digest"]), each["length"]) for each in view["entries"]]

    def start_of(self, index: int) -> int:
        """Where the chunk begins in the object."""
        return sum(ref.length for ref in self.refs[:index])

    def damage(self, index: int, *, offset: int = 100, flip: int = 1) -> None:
        """Flip bits of one byte in the stored chunk; before its first byte lies its record's header."""
        file, at = self._find(index)
        with file.open("r+b") as segment:
            segment.seek(at + offset)
            byte = segment.read(1)[0]
            segment.seek(at + offset)
            segment.write(bytes([byte ^ flip]))

    def corrupt_total(self) -> float:
        """What the node counts."""
        text = self.client.get("/metrics").text
        return next(
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == "replicator_node_corrupt_chunks_total"
        )

    def _find(self, index: int) -> tuple[Path, int]:
        start = self.start_of(index)
        piece = DATA[start + 200 : start + self.refs[index].length]
        for file in (self.node.data_dir / "segments").iterdir():
            at = file.read_bytes().find(piece)
            if at >= 0:
                return file, at - 200
        raise AssertionError("the chunk is in no segment")


@pytest.fixture
def rotten(start_node: StartNode) -> Iterator[Rotten]:
    rotten = Rotten(start_node())
    with closing(rotten.client):
        yield rotten


def test_a_response_that_meets_a_corrupt_chunk_is_cut_short_and_never_wrong(rotten: Rotten) -> None:
    rotten.damage(len(rotten.refs) - 3)
    answer = raw_http.request(rotten.node.url, "GET", "/objects/rotten")
    assert answer.status == 200
    assert not answer.whole
    assert DATA.startswith(answer.body)
    assert len(answer.body) <= rotten.start_of(len(rotten.refs) - 3)
    assert rotten.corrupt_total() == 1
    event = rotten.node.events("chunk.corrupt")[0]
    assert event["digest"] == str(rotten.refs[-3].digest)


@pytest.mark.parametrize("offset", [-64, -20, 0, 5_000])
def test_a_corrupt_chunk_at_the_beginning_is_a_server_error(rotten: Rotten, offset: int) -> None:
    rotten.damage(0, offset=offset, flip=0x80)
    answers = [
        raw_http.request(rotten.node.url, "GET", "/objects/rotten"),
        raw_http.request(rotten.node.url, "GET", f"/chunks/{rotten.refs[0].digest}"),
    ]
    for answer in answers:
        assert answer.status == 500
        assert b'"code": "corrupt"' in answer.body
        assert str(rotten.refs[0].digest).encode() in answer.body
    assert rotten.corrupt_total() == 2
    assert rotten.client.get("/objects/sound").content == b"sound"


def test_a_range_beside_the_damage_is_served_and_one_that_touches_it_is_not(rotten: Rotten) -> None:
    index = len(rotten.refs) // 2
    start, stop = rotten.start_of(index), rotten.start_of(index + 1)
    rotten.damage(index)
    before = rotten.client.get("/objects/rotten", headers={"Range": f"bytes=0-{start - 1}"})
    behind = rotten.client.get("/objects/rotten", headers={"Range": f"bytes={stop}-"})
    assert before.content + behind.content == DATA[:start] + DATA[stop:]
    touching = rotten.client.get("/objects/rotten", headers={"Range": f"bytes={stop - 1}-{stop}"})
    assert touching.status_code == 500


@pytest.mark.parametrize("compress", [False, True])
def test_a_fetch_sends_what_comes_before_a_corrupt_chunk_and_then_says_which_it_is(
    rotten: Rotten, compress: bool
) -> None:
    index = len(rotten.refs) - 2
    rotten.damage(index)
    pieces = [Piece(rotten.refs[:10]), Piece(rotten.refs[10:])]
    asked = requests.encode_fetch(pieces, compress=compress).SerializeToString()
    answer = raw_http.request(rotten.node.url, "POST", "/replication/fetch", body=asked)
    assert not answer.whole
    at, count, said = 0, 0, None
    while at < len(answer.body):
        frame = decode_frame(answer.body[at : at + FRAME_BYTES], payload_bytes_max=1 << 20)
        payload = answer.body[at + FRAME_BYTES : at + FRAME_BYTES + frame.length]
        at += FRAME_BYTES + frame.length
        if frame.status == FrameStatus.CHUNK:
            assert Digest.of(payload) == frame.digest
        assert frame.digest == rotten.refs[count].digest
        count += 1
        said = frame
    assert said is not None
    assert (said.status, count) == (FrameStatus.CORRUPT, index + 1)
    assert rotten.node.events("chunk.corrupt")[0]["digest"] == str(rotten.refs[index].digest)


def test_a_chunk_in_the_place_of_another_is_not_taken_for_it(rotten: Rotten) -> None:
    segment = next((rotten.node.data_dir / "segments").iterdir())
    data = bytearray(segment.read_bytes())
    one, other = data.find(rotten.refs[0].digest) - 16, data.find(rotten.refs[1].digest) - 16
    length = 64 + min(rotten.refs[0].length, rotten.refs[1].length)
    data[one : one + length], data[other : other + length] = (
        data[other : other + length],
        data[one : one + length],
    )
    with segment.open("r+b") as file:
        file.write(data)
    for ref in rotten.refs[:2]:
        assert rotten.client.get(f"/chunks/{ref.digest}").status_code == 500


def test_the_same_bytes_sent_again_can_be_read_again(rotten: Rotten) -> None:
    rotten.damage(4)
    assert raw_http.request(rotten.node.url, "GET", "/objects/rotten").body != DATA
    assert rotten.client.put("/objects/rotten", content=DATA).status_code == 200
    answer = raw_http.request(rotten.node.url, "GET", "/objects/rotten")
    assert (answer.status, answer.body == DATA) == (200, True)


def test_damage_to_acknowledged_bytes_does_not_pass_for_a_torn_tail(rotten: Rotten) -> None:
    segment = next((rotten.node.data_dir / "segments").iterdir())
    rotten.node.kill()
    with segment.open("r+b") as file:
        file.truncate(segment.stat().st_size - 10)
    rotten.node.launch()
    assert rotten.node.wait() == 1
    assert "restore the file" in " ".join(rotten.node.stray_output())
