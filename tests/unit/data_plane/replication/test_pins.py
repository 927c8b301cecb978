"""What was offered stays for as long as was said, or somewhat longer, and not for ever."""

from __future__ import annotations

import pytest

from replicator.data_plane.replication.pins import SLOT_S, Pins
from replicator.kernel.digest import Digest
from replicator.kernel.errors import NotFound
from replicator.testing.clock import FrozenClock
from replicator.testing.memory_store import MemoryStore
from replicator.testing.objects import commit, new_version


class Stage:
    """A store with some objects, and a clock to turn."""

    def __init__(self, pins_max: int = 100) -> None:
        self.clock = FrozenClock(0)
        self.store = MemoryStore(clock=self.clock)
        self.pins = Pins(self.store, self.clock, pins_max=pins_max)
        self.manifests = [
            commit(self.store, new_version(f"{number}", b"%d" % number)).version.manifest
            for number in range(10)
        ]

    def at(self, seconds: float) -> None:
        self.clock.now_ms = int(seconds * 1000)
        self.pins.sweep()

    @property
    def held(self) -> set[Digest]:
        """What the store may not reclaim."""
        return set().union(*(hold.manifests for hold in self.store.holds))


def test_a_pin_ends_when_its_time_is_over_and_not_before() -> None:
    stage = Stage()
    manifest = stage.pins.pin(stage.manifests[0], 45)
    assert manifest.digest == stage.manifests[0]
    stage.at(45)
    assert stage.held == {stage.manifests[0]}
    stage.at(45 + SLOT_S)
    assert stage.held == set()
    assert stage.store.holds == []


def test_asking_again_begins_the_time_anew() -> None:
    stage = Stage()
    for second in range(0, 600, 20):
        stage.at(second)
        stage.pins.pin(stage.manifests[0], 40)
        assert stage.held == {stage.manifests[0]}
    stage.at(580 + 40)
    assert stage.held == {stage.manifests[0]}
    stage.at(580 + 40 + SLOT_S)
    assert stage.held == set()


def test_a_shorter_time_does_not_cut_off_a_longer_one() -> None:
    stage = Stage()
    stage.pins.pin(stage.manifests[0], 600)
    stage.pins.pin(stage.manifests[0], 1)
    stage.at(600)
    assert stage.held == {stage.manifests[0]}


def test_pins_share_a_few_holds_however_many_they_are() -> None:
    stage = Stage()
    for second in range(600):
        stage.at(second)
        stage.pins.pin(stage.manifests[second % 10], 600)
    assert len(stage.store.holds) <= 600 // SLOT_S + 1
    assert stage.held == set(stage.manifests)


def test_beyond_the_bound_those_go_that_would_end_first() -> None:
    stage = Stage(pins_max=5)
    for number, manifest in enumerate(stage.manifests):
        stage.pins.pin(manifest, number * SLOT_S)
    assert stage.held == set(stage.manifests[5:])


def test_a_manifest_that_is_not_there_is_not_pinned() -> None:
    stage = Stage()
    with pytest.raises(NotFound):
        stage.pins.pin(Digest.of(b"absent"), 60)
    assert stage.held <= {Digest.of(b"absent")}
