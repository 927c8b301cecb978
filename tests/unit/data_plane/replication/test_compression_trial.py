"""What a source is asked to compress follows from what came quicker."""

from replicator.data_plane.replication.compression_trial import CompressionTrial

MB = 1_000_000


def run(
    trial: CompressionTrial, *, plain: float, compressed: float, requests: int, shrinks_to: float = 0.5
) -> list[bool]:
    chosen = []
    for _ in range(requests):
        chosen.append(trial.choose())
        came_compressed = chosen[-1]
        trial.came(
            compressed=came_compressed,
            n_bytes=MB,
            wire_bytes=int(MB * shrinks_to) if came_compressed else MB,
            seconds=MB / (compressed if came_compressed else plain),
        )
    return chosen


def test_nothing_is_tried_on_a_fast_link() -> None:
    assert not any(
        run(CompressionTrial(below_bytes_per_s=100 * MB), plain=200 * MB, compressed=900 * MB, requests=50)
    )


def test_the_quicker_way_is_kept() -> None:
    chosen = run(CompressionTrial(below_bytes_per_s=100 * MB), plain=5 * MB, compressed=15 * MB, requests=64)
    assert sum(chosen) >= 56


def test_a_slow_processor_is_not_made_slower() -> None:
    chosen = run(CompressionTrial(below_bytes_per_s=100 * MB), plain=30 * MB, compressed=20 * MB, requests=64)
    assert 1 <= sum(chosen) <= 6


def test_a_later_trial_changes_the_choice() -> None:
    trial = CompressionTrial(below_bytes_per_s=100 * MB)
    run(trial, plain=30 * MB, compressed=20 * MB, requests=20)
    assert sum(run(trial, plain=3 * MB, compressed=9 * MB, requests=100)) >= 60


def test_an_answer_without_chunks_says_nothing() -> None:
    trial = CompressionTrial(below_bytes_per_s=100 * MB)
    trial.came(compressed=False, n_bytes=0, wire_bytes=48, seconds=1.0)
    assert trial.choose() is False


def test_what_does_not_shrink_is_not_compressed_though_it_came_quicker_by_chance() -> None:
    chosen = run(
        CompressionTrial(below_bytes_per_s=100 * MB),
        plain=5 * MB,
        compressed=15 * MB,
        requests=64,
        shrinks_to=1.0,
    )
    assert 1 <= sum(chosen) <= 6


def test_while_a_trial_is_under_way_the_other_streams_go_on_as_before() -> None:
    trial = CompressionTrial(below_bytes_per_s=100 * MB)
    trial.came(compressed=False, n_bytes=MB, wire_bytes=MB, seconds=1.0)
    assert [trial.choose() for _ in range(4)] == [True, False, False, False]
