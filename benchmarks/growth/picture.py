"""Draws what `python -m benchmarks.growth` wrote: `python -m benchmarks.growth.picture RESULTS PICTURE`.

Needs matplotlib and nothing else, from `requirements-plots.lock`.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
from matplotlib import pyplot


class Panel(NamedTuple):
    """One plot: fields of a reading with their labels, divided by `scale`."""

    title: str
    unit: str
    scale: float
    fields: dict[str, str]


PANELS = (
    Panel(
        "PUT of 4 KiB",
        "µs",
        1.0,
        {"put_us": "32 at once", "put_cpu_us": "processor time", "put_cold_us": "catalog on disk only"},
    ),
    Panel("GET of 4 KiB", "µs", 1.0, {"get_hot_us": "in memory", "get_cold_us": "from the disk"}),
    Panel(
        "Listing page",
        "ms",
        1e3,
        {
            "page_us": "1,000 objects",
            "page_cold_us": "1,000 objects, catalog on disk only",
            "groups_page_us": "1,000 groups",
            "crowded_page_us": "one group of nearly all",
        },
    ),
    Panel("Opening a clean store", "s", 1.0, {"open_cold_s": "from the disk", "open_again_s": "again"}),
    Panel("Memory", "MB", 1.0, {"rss_peak_mb": "peak RSS"}),
    Panel("Catalog on disk", "GB", 1e3, {"catalog_mb": "files"}),
)


def draw(results: dict[str, Any], picture: Path) -> None:
    """Medians against the number of chunks; shaded from the lowest to the highest round."""
    # The same readings give the same bytes.
    mpl.rcParams["svg.hashsalt"] = "growth"
    figure, places = pyplot.subplots(2, 3, figsize=(12, 6.5), layout="constrained")
    for panel, axes in zip(PANELS, places.flat, strict=True):
        _draw_panel(axes, panel, results["sizes"])
    figure.savefig(picture, metadata={"Date": None})


def _draw_panel(axes: Any, panel: Panel, sizes: list[dict[str, Any]]) -> None:
    chunks = [size["chunks"] for size in sizes]
    for field, label in panel.fields.items():
        rounds = [[reading[field] / panel.scale for reading in size["rounds"]] for size in sizes]
        [line] = axes.plot(chunks, [statistics.median(each) for each in rounds], marker="o", label=label)
        lowest, highest = [min(each) for each in rounds], [max(each) for each in rounds]
        axes.fill_between(chunks, lowest, highest, color=line.get_color(), alpha=0.15)
    axes.set_title(panel.title)
    axes.set_xlabel("chunks in the store")
    axes.set_ylabel(panel.unit)
    axes.set_xscale("log")
    axes.set_xticks(chunks, [f"{count / 1e6:g} M" for count in chunks])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")


def main() -> None:
    """The process."""
    results, picture = map(Path, sys.argv[1:])
    draw(json.loads(results.read_text()), picture)


if __name__ == "__main__":
    main()
