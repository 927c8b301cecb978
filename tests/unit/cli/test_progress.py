"""Progress in a pipe is a few lines that say what is news, and never a flood."""

import io

from replicator.cli.progress import ByteCounter, Lines, ProgressDisplay, Reading


class Clock:
    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


class Recorder:
    def __init__(self) -> None:
        self.readings: list[Reading] = []

    def show(self, reading: Reading) -> None:
        self.readings.append(reading)


def said(*readings: tuple[float, Reading]) -> list[str]:
    clock, stream = Clock(), io.StringIO()
    lines: ProgressDisplay = Lines("x", stream, clock)
    for moment_s, reading in readings:
        clock.now_s = moment_s
        lines.show(reading)
    return stream.getvalue().splitlines()


def test_a_reading_names_what_is_known_and_leaves_out_what_is_not() -> None:
    full = Reading(
        done=50_000_000,
        total=100_000_000,
        deduplicated=10_000_000,
        rate=25e6,
        remaining_s=2.0,
        state="running",
        note="go",
    )
    assert str(full) == (
        "running, 50.0 MB of 100.0 MB, 40.0 MB sent, 10.0 MB there already, 25.0 MB/s, 2.0 s left, go"
    )
    assert str(Reading(done=7)) == "7 B"
    many = Reading(
        done=9_000_000,
        total=9_000_000,
        saved=6_000_000,
        objects_done=1200,
        objects_total=1300,
        state="running",
    )
    assert str(many) == "running, 1,200 of 1,300 objects, 9.0 MB of 9.0 MB, 3.0 MB sent, 6.0 MB saved"


def test_small_steps_are_not_news_but_the_end_is() -> None:
    lines = said(*((0.0, Reading(done=done, total=1000)) for done in range(1001)))
    assert lines[0] == "x: 0 B of 1.0 kB"
    assert lines[-1] == "x: 1.0 kB of 1.0 kB"
    assert len(lines) < 10


def test_a_new_state_is_news_at_once() -> None:
    lines = said(
        (0.0, Reading(done=0, state="queued")),
        (0.0, Reading(done=0, state="queued", note="waiting for node2")),
        (0.1, Reading(done=0, state="running")),
    )
    assert lines == ["x: queued, 0 B", "x: running, 0 B"]


def test_after_a_while_any_change_is_news_and_no_change_is_not() -> None:
    lines = said(
        (0.0, Reading(done=1)),
        (60.0, Reading(done=1)),
        (60.0, Reading(done=2)),
    )
    assert lines == ["x: 1 B", "x: 2 B"]


def test_a_counter_knows_rate_and_remaining_time() -> None:
    clock, recorder = Clock(), Recorder()
    counter = ByteCounter(recorder, total=100, clock=clock)
    clock.now_s = 2.0
    counter(50)
    assert recorder.readings == [Reading(done=50, total=100, rate=25.0, remaining_s=2.0)]


def test_a_counter_of_unknown_length_does_not_guess() -> None:
    clock, recorder = Clock(), Recorder()
    counter = ByteCounter(recorder, total=None, clock=clock)
    counter(50)
    assert recorder.readings == [Reading(done=50)]


def test_an_empty_object_has_no_fraction_to_divide_by() -> None:
    assert Reading(done=0, total=0).fraction == 0.0


def test_a_bar_has_two_short_lines() -> None:
    reading = Reading(
        done=9_000_000, total=9_000_000, saved=6_000_000, objects_done=3, objects_total=4, state="running"
    )
    assert reading.pace == "running, 9.0 MB of 9.0 MB"
    assert reading.account == "3 of 4 objects, 3.0 MB sent, 6.0 MB saved"
