"""Draws the last soak: `plot_soak.py soak.json soak.svg`. The file depends on the figures only."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

# Sets the style of all figures.
from plot import GRID, INK

COLOURS = plt.colormaps["tab10"].colors
#: The colours of the times of faults, by what they keep from working.
TOKENS, SERVER = "#f6d8b8", "#d9c7ec"
SERVER_KINDS = {"login rejected", "connection dropped", "slow login", "keys retired", "sessions closed"}


def shade(axes: Any, faults: list[dict[str, Any]]) -> None:
    """Marks the times of the faults."""
    for fault in faults:
        colour = SERVER if fault["kind"] in SERVER_KINDS else TOKENS
        begin, end = fault["from_s"] / 60, fault["to_s"] / 60
        axes.axvspan(begin, max(end, begin + 0.03), color=colour, linewidth=0)


def draw(document: dict[str, Any], file: Path) -> None:
    series, seconds = document["series"], document["bucket_s"]
    count = max(len(one["logins"]) for one in series.values())
    minutes = [(index + 0.5) * seconds / 60 for index in range(count)]
    panels = [
        ("logins a second", "logins", 1 / seconds),
        (f"failed logins in {seconds:.0f} s", "failed", 1.0),
        (f"token requests in {seconds:.0f} s", None, 1.0),
        ("memory, MB", "memory_mb", 1.0),
        ("threads", "threads", 1.0),
    ]
    figure, axes = plt.subplots(len(panels), 1, sharex=True, figsize=(10, 2.1 * len(panels) + 1.2))
    for one, (label, key, factor) in zip(axes, panels, strict=True):
        shade(one, document["faults"])
        if key is None:
            total = [sum(program["token_requests"][index] for program in series.values()) for index in range(count)]
            failed = [
                sum(program["failed_token_requests"][index] for program in series.values()) for index in range(count)
            ]
            one.plot(minutes, total, color="#1f5fbf", linewidth=1.2, label="answered with a token")
            one.plot(minutes, failed, color="#c23b22", linewidth=1.2, label="failed by a fault")
            one.legend(loc="upper left", ncols=2, fontsize=8)
        else:
            for colour, (name, program) in zip(COLOURS, series.items(), strict=False):
                values = [None if value is None else value * factor for value in program[key]]
                # The last part is shorter than the others.
                one.plot(minutes[:-1], values[:-1], color=colour, linewidth=1.2, label=name)
        one.set_ylabel(label)
        one.set_ylim(bottom=0)
        one.grid(color=GRID)
        one.margins(x=0)
    axes[-1].set_xlabel("minutes")
    handles, labels = axes[0].get_legend_handles_labels()
    for colour, name in ((TOKENS, "token source: fault"), (SERVER, "server: fault")):
        handles.append(plt.Rectangle((0, 0), 1, 1, color=colour))
        labels.append(name)
    figure.legend(handles, labels, loc="lower left", ncols=6, fontsize=9)
    programs = document["programs"].values()
    logins, failed = (sum(one[key] for one in programs) for key in ("logins", "failed"))
    title = f"{document['minutes']:.0f} minutes with tokens of {document['token_lifetime_s']} s and random faults"
    broken = len(document["breaches"])
    explained = "all of them as the rules allow" if not broken else f"{broken} breaches of the rules"
    subtitle = f"{logins:,} logins; {failed} failed, {explained}"
    figure.suptitle(f"{title}\n{subtitle}", x=0.02, ha="left", fontsize=12, color=INK)
    figure.align_ylabels(axes)
    figure.tight_layout(rect=(0, 0.05, 1, 1))
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, bbox_inches="tight", metadata={"Date": None, "Creator": None, "Title": title})
    plt.close(figure)


def main() -> int:
    source, file = map(Path, sys.argv[1:])
    draw(json.loads(source.read_text()), file)
    print(f"[pgentra] wrote {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
