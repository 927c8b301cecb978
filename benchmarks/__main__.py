"""`python -m benchmarks`: start clusters, measure, print a table, write JSON, leave nothing running."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console

from benchmarks import memory, wrk
from benchmarks.cluster import Cluster, running_cluster
from benchmarks.figures import Figure, Limit
from benchmarks.limits import warm_memory
from benchmarks.options import GIB, Options, read_options
from benchmarks.payload import Payload
from benchmarks.places import NOT_COUNTED_NOTICE, ON_LOOPBACK, linked_places
from benchmarks.report import print_report, write_report
from benchmarks.scenarios import SCENARIOS
from benchmarks.scenarios.bench import Bench
from benchmarks.streamer import Streamer
from replicator.kernel.errors import QuotaExceeded, ReplicatorError
from replicator.testing.netns import missing_for_networks

_NODE_RSS_MB_GOAL = 300.0
_WIDTH_WHEN_PIPED = 190
_WARM_BYTES_MAX = 8 * GIB


def main() -> int:
    """Exit status: 0 when everything was measured, whatever the figures; 1 when something went wrong."""
    options = read_options(tuple(SCENARIOS))
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        figures = _measure(options, console)
    except (ReplicatorError, httpx.HTTPError) as error:
        console.print(f"benchmarks: {error}", style="red", markup=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        console.print("benchmarks: interrupted; nothing was written")
        return 130
    notices = _notices(options, figures)
    write_report(options.output, options, figures, notices)
    print_report(Console(width=None if sys.stdout.isatty() else _WIDTH_WHEN_PIPED), figures, notices)
    console.print(f"written to {options.output}", markup=False)
    return 0


def _interrupt(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the shape of a handler
    raise KeyboardInterrupt


def _measure(options: Options, console: Console) -> list[Figure]:
    if options.folder:
        options.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="replicator-bench-", dir=options.folder) as name:
        folder = Path(name)
        _require_room(folder, options)
        console.print(f"data in {folder}; touching memory", markup=False)
        warm_memory(min(_WARM_BYTES_MAX, _bytes_written(options)))
        payload = Payload(options.object_bytes)
        payload.fill(seed=0)
        with Streamer(payload) as streamer:
            return [
                figure
                for scenario in options.scenarios
                for figure in _run_scenario(scenario, options, payload, streamer, folder, console)
            ]


def _run_scenario(
    name: str, options: Options, payload: Payload, streamer: Streamer, folder: Path, console: Console
) -> list[Figure]:
    def say(text: str) -> None:
        console.print(text, markup=False)

    scenario = SCENARIOS[name]
    if scenario.prepare is not None:
        scenario.prepare(folder / name, options, say)
    places = linked_places() if scenario.linked else nullcontext(ON_LOOPBACK)
    with places as found, running_cluster(folder / name, found, sources=scenario.sources) as cluster:
        bench = Bench(
            options=options, cluster=cluster, payload=payload, streamer=streamer, folder=folder, say=say
        )
        try:
            figures = scenario.measure(bench)
        except (ReplicatorError, httpx.HTTPError):
            for server in cluster.servers:
                server.require_alive()
            raise
        return figures + _memory_figures(name, cluster, options)


def _memory_figures(scenario: str, cluster: Cluster, options: Options) -> list[Figure]:
    figures = []
    for server in cluster.servers:
        peak = server.peak_rss_bytes()
        if peak is None:
            continue
        idle = Limit(name="before the first request", rounds=(cluster.idle_rss[server.name] / 1e6,))
        goal = options.goal(_NODE_RSS_MB_GOAL) if server in cluster.nodes else None
        figures.append(
            Figure(
                name=f"peak RSS {server.name}, {scenario}",
                unit="MB",
                better="lower",
                rounds=(peak / 1e6,),
                limits=(idle,),
                goal=goal,
            )
        )
    return figures


def _notices(options: Options, figures: list[Figure]) -> list[str]:
    notices = []
    if "small" in options.scenarios and not shutil.which("wrk"):
        notices.append(wrk.CLIENT_NOTICE)
    if not any(figure.name.startswith("peak RSS") for figure in figures):
        notices.append(memory.MISSING_NOTICE)
    if any(SCENARIOS[name].linked for name in options.scenarios) and (missing := missing_for_networks()):
        notices.append(f"{NOT_COUNTED_NOTICE}that {missing}")
    if not options.full_size:
        notices.append("a quick run: the goals are for 1 GiB and are not shown")
    return notices


def _bytes_written(options: Options) -> int:
    """About the most that one scenario has on the disk at once."""
    return (2 * options.rounds + 1) * options.object_bytes + options.object_bytes // 2


def _require_room(folder: Path, options: Options) -> None:
    free, wanted = shutil.disk_usage(folder).free, _bytes_written(options)
    if free < wanted:
        raise QuotaExceeded(
            f"{folder} has {free / 1e9:.1f} GB free and {wanted / 1e9:.1f} are wanted; "
            "choose another disk with --dir or fewer rounds with --rounds"
        )


if __name__ == "__main__":
    sys.exit(main())
