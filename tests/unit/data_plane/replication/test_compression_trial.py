"""What a source is asked to compress follows from what came quicker."""

from replicator.data_plane.replication.compression_trial import CompressionTrial

MB = 1_000_000


def run(trial: CompressionTrial, *, plain: float, compressed: float, requests: int) -> list[bool]:
    chosen = []
    for _ in range(requests):
        chosen.append(trial.choose())
        trial.came(compressed=chosen[-1], n_bytes=MB, seconds=MB / (compressed if chosen[-1] else plain))
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
    trial.came(compressed=False, n_bytes=0, seconds=1.0)
    assert trial.choose() is False
