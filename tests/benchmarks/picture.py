"""Draws the ratios of a run as bars, with matplotlib, which only this needs."""

from __future__ import annotations

import textwrap
from importlib import import_module
from pathlib import Path
from typing import Any

SUFFIXES = (".svg", ".png")
BETTER, WORSE = "#2a7f62", "#c8553d"


def draw(rows: list[dict[str, Any]], caption: str, file: Path) -> None:
    """Write a picture 800 pixels wide, as SVG or PNG by the file's suffix."""
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("agg")
    pyplot: Any = import_module("matplotlib.pyplot")
    rows = [row for row in rows if row["ratio"]][::-1]
    figure, axes = pyplot.subplots(figsize=(8, 1.3 + 0.46 * len(rows)), dpi=100, layout="constrained")
    widest = max((max(row["ratio"], 1 / row["ratio"]) for row in rows), default=1)
    for place, row in enumerate(rows):
        ratio = row["ratio"]
        good = (ratio >= 1) == row["more is better"]
        axes.barh(place, ratio - 1, left=1, height=0.62, color=BETTER if good else WORSE)
        axes.annotate(
            f"{ratio:.2f}", (ratio, place), (4 if ratio >= 1 else -4, 0), textcoords="offset points",
            va="center", ha="left" if ratio >= 1 else "right", fontsize=9,
        )  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(0.4 / widest, 2.5 * widest)
    axes.axvline(1, color="black", linewidth=1)
    axes.set_yticks(range(len(rows)), [_label(row) for row in rows], fontsize=8.5)
    axes.set_xlabel("fws-pipe ÷ peer", fontsize=9)
    figure.suptitle(textwrap.fill(caption, 110), x=0.01, ha="left", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)
    patches = [pyplot.Rectangle((0, 0), 1, 1, color=color) for color in (BETTER, WORSE)]
    figure.legend(
        patches, ["better than the peer", "worse"], loc="outside lower left", ncols=2, fontsize=8.5, frameon=False
    )
    figure.savefig(file)
    pyplot.close(figure)


def _label(row: dict[str, Any]) -> str:
    less = "" if row["more is better"] else " (less is better)"
    return f"{row['benchmark']}\n{row['unit']}{less}, peer: {row['peer']}"
