"""Draws the figures of `results.json` as `docs/images/bench-*.svg`: `make plots`.

The files depend on the figures only, so that they can be compared: no date, no random identifiers.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl

from report import Report, Row, read

mpl.use("svg")

import matplotlib.pyplot as plt

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
OURS, PEER, OTHER, INK, GRID = "#1f5fbf", "#9aa3ad", "#5b8c5a", "#1c2430", "#d8dde3"

#: Nanoseconds of the units in the names of figures.
NANOSECONDS = {"ns": 1.0, "us": 1e3, "ms": 1e6, "s": 1e9}

mpl.rcParams.update(
    {
        # The text stays text. The background is drawn, so that the figures can be read on a dark page.
        "svg.fonttype": "none",
        "svg.hashsalt": "pgentra",
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans", "Arial", "Helvetica", "sans-serif"],
        "font.size": 10,
        "figure.facecolor": "white",
        "axes.facecolor": "white",
        "text.color": INK,
        "axes.labelcolor": INK,
        "axes.edgecolor": GRID,
        "xtick.color": INK,
        "ytick.color": INK,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.axisbelow": True,
        "grid.color": GRID,
        "legend.frameon": False,
    }
)

#: The label of a pair of bars, our value and the peer's; None where nothing is to compare.
Bar = tuple[str, float, float | None]
Text = Callable[[float], str]


def save(figure: Any, name: str, title: str) -> None:
    """Writes a figure to `docs/images`."""
    IMAGES.mkdir(exist_ok=True)
    figure.savefig(
        IMAGES / f"{name}.svg",
        bbox_inches="tight",
        pad_inches=0.15,
        metadata={"Date": None, "Creator": None, "Title": title},
    )
    plt.close(figure)


def nanoseconds(figures: dict[str, float]) -> float:
    """Returns the time of a result."""
    return next(figures[unit] * factor for unit, factor in NANOSECONDS.items() if unit in figures)


def as_time(ns: float) -> str:
    """Writes a time with a unit in which it has one to three digits."""
    for unit, factor in (("s", 1e9), ("ms", 1e6), ("us", 1e3)):
        if ns >= factor:
            return f"{ns / factor:.3g} {unit}"
    return f"{ns:.3g} ns"


def rows_of(report: Report, chart: str) -> list[tuple[str, Row]]:
    return [(table.title, row) for table in report.tables for row in table.rows if row.chart == chart]


def bars(report: Report, chart: str, value: Callable[[dict[str, float]], float]) -> list[Bar]:
    """Returns the bars of a chart: one pair for each table that has a row for it."""
    found = []
    for title, row in rows_of(report, chart):
        peer = row.figures.get("peer")
        found.append((title, value(row.figures["ours"]), value(peer) if peer else None))
    return found


def draw(axes: Any, given: list[Bar], label: str, text: Text, log: bool, words: dict[str, tuple[str, str]]) -> None:
    """Draws pairs of horizontal bars, each with its value; `words` are texts beside the values."""
    names = [name for name, *_ in given]
    least = min(value for _, *values in given for value in values if value is not None)
    for index, (name, ours, peer) in enumerate(given):
        more = words.get(name, ("", ""))
        first = 0.0 if peer is None else -0.2
        for value, offset, colour, word in ((ours, first, OURS, more[0]), (peer, 0.2, PEER, more[1])):
            if value is not None:
                axes.barh(index + offset, value, 0.36, color=colour)
                axes.text(value, index + offset, f" {text(value)}{word}", va="center", fontsize=8.5)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel(label)
    most = max(value for _, *values in given for value in values if value is not None)
    if log:
        axes.set_xscale("log")
        axes.set_xlim(least / 3, most * 12)
    else:
        axes.set_xlim(0, most * 1.25)


def figure_of(
    name: str,
    title: str,
    panels: list[tuple[list[Bar], str, Text, bool, dict[str, tuple[str, str]]]],
) -> None:
    """Draws panels side by side and saves them."""
    panels = [panel for panel in panels if panel[0]]
    if not panels:
        return
    height = 1.3 + 0.5 * max(len(panel[0]) for panel in panels)
    figure, axes = plt.subplots(1, len(panels), figsize=(4.8 * len(panels) + 1.6, height), squeeze=False)
    for one, panel in zip(axes[0], panels, strict=True):
        draw(one, *panel)
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (OURS, PEER)]
    figure.legend(handles, ["pgentra", "the Azure SDK's package for that language"], loc="lower left", ncols=2)
    figure.tight_layout(rect=(0, 0.32 / height, 1, 1))
    save(figure, name, title)


def milliseconds_text(value: float) -> str:
    return as_time(value * 1e6)


def outcomes(report: Report, chart: str) -> dict[str, tuple[str, str]]:
    """Returns what a call got, for each language: a token or an error."""

    def word(figures: dict[str, float] | None) -> str:
        return "" if figures is None else ", token" if figures.get("served") else ", error"

    return {title: (word(row.figures["ours"]), word(row.figures.get("peer"))) for title, row in rows_of(report, chart)}


def languages(report: Report) -> None:
    """Draws the comparison with the packages of the Azure SDKs."""
    warm = bars(report, "warm", nanoseconds)
    figure_of(
        "bench-warm",
        "A login with a cached token",
        [(warm, "time of a call, nanoseconds (logarithmic)", as_time, True, {})],
    )
    requests = bars(report, "herd", lambda figures: figures["requests"])
    p99 = bars(report, "herd", lambda figures: figures["ms"])
    figure_of(
        "bench-herd",
        "200 concurrent callers without a cached token; the token source takes 200 ms",
        [
            (requests, "token requests (logarithmic)", lambda value: f"{value:.0f}", True, {}),
            (p99, "99th percentile of a call, milliseconds", milliseconds_text, False, {}),
        ],
    )
    outage = bars(report, "outage", lambda figures: figures["ms"])
    slow = bars(report, "slow", lambda figures: figures["ms"])
    figure_of(
        "bench-outage",
        "A call while the token source fails (left) or takes 1 s (right); the cached token is valid",
        [
            (outage, "time until the result, ms (logarithmic)", milliseconds_text, True, outcomes(report, "outage")),
            (slow, "time until the result, ms (logarithmic)", milliseconds_text, True, outcomes(report, "slow")),
        ],
    )
    memory = bars(report, "memory", lambda figures: figures["mb"])
    megabytes: Text = lambda value: f"{value:.3g} MB"  # noqa: E731
    figure_of(
        "bench-memory",
        "Memory beyond that of the same program without the library",
        [(memory, "megabytes", megabytes, False, {})],
    )
    size = bars(report, "size", lambda figures: figures["mb"])
    # The jars are in the row of Java's memory.
    for title, row in rows_of(report, "memory"):
        if "mb_of_jars" in row.figures["ours"]:
            size.append((title, row.figures["ours"]["mb_of_jars"], row.figures["peer"]["mb_of_jars"]))
    figure_of("bench-size", "Installed size", [(size, "megabytes", megabytes, False, {})])


def proxy(report: Report) -> None:
    """Draws the proxy's throughput over that of direct TLS, beside PgBouncer's."""
    rows = [row for _, row in rows_of(report, "proxy")]
    if not rows:
        return
    names = list(rows[0].figures)
    figure, axes = plt.subplots(figsize=(8.4, 1.6 + 0.75 * len(rows)))
    height = 0.8 / len(names)
    for index, row in enumerate(rows):
        for place, (name, colour) in enumerate(zip(names, (OURS, PEER, OTHER), strict=False)):
            value = row.figures.get(name, {}).get("ratio")
            if value is not None:
                offset = (place - (len(names) - 1) / 2) * height
                axes.barh(index + offset, value, height * 0.9, color=colour, label=name if index == 0 else None)
                axes.text(value, index + offset, f" {value:.2f}", va="center", fontsize=8.5)
    axes.axvline(1.0, color=INK, linewidth=1)
    axes.set_yticks(range(len(rows)), [row.work for row in rows])
    axes.invert_yaxis()
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")
    axes.set_xlabel("throughput over that of a direct TLS connection (1 = the line)")
    labels = {"ours": "pgentra proxy", "peer": "PgBouncer, session mode"}
    handles = [plt.Rectangle((0, 0), 1, 1, color=colour) for colour in (OURS, PEER, OTHER)[: len(names)]]
    figure.legend(handles, [labels.get(name, name) for name in names], loc="lower left", ncols=3)
    title = "A session through the proxy"
    figure.suptitle(title, x=0.02, ha="left", fontsize=12, fontweight="bold")
    figure.tight_layout(rect=(0, 0.1, 1, 1))
    save(figure, "bench-proxy", title)


def main() -> int:
    report = read()
    languages(report)
    proxy(report)
    print(f"[pgentra] wrote {', '.join(sorted(path.name for path in IMAGES.glob('bench-*.svg')))}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
