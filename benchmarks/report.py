"""Writes the measured lines: docs/performance/results.json, a plot per row, and the tables.

docs/PERFORMANCE.md has a pair of markers for each row; what is between them is replaced.
"""

import json
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.installation import ROOT
from benchmarks.measuring import Line
from benchmarks.rows import ROWS

DOCUMENT = ROOT / "docs/PERFORMANCE.md"
DIRECTORY = ROOT / "docs/performance"
RESULTS = DIRECTORY / "results.json"


def machine() -> str:
    """The machine and how busy it is, as the tables name it."""
    cpu = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    name = cpu[1] if cpu else platform.machine()
    load = os.getloadavg()[0]
    return (
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} × {name}, load {load:.1f}, "
        f"Python {platform.python_version()}"
    )


def save(number: int, lines: list[Line], *, how: str) -> None:
    """Replace a row in the results, its table in the document and its plot."""
    DIRECTORY.mkdir(exist_ok=True)
    results = load()
    results[str(number)] = {"how": how, "lines": [asdict(each) for each in lines]}
    ordered = dict(sorted(results.items(), key=lambda item: int(item[0])))
    RESULTS.write_text(json.dumps(ordered, indent=1, ensure_ascii=False) + "\n")
    plot = DIRECTORY / f"row-{number}.svg"
    plot.write_text(draw(lines, title=ROWS[number].title))
    text = f"{table(lines)}\n\n![{ROWS[number].title}](performance/{plot.name})\n\nMeasured: {how}."
    _replace(f"row {number}", text)
    _replace("summary", summary(ordered))


def load() -> dict[str, Any]:
    """The results by the number of their row."""
    if not RESULTS.exists():
        return {}
    found: dict[str, Any] = json.loads(RESULTS.read_text())
    return found


def _replace(name: str, text: str) -> None:
    document = DOCUMENT.read_text()
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = document.partition(begin)
    _, _, after = rest.partition(end)
    DOCUMENT.write_text(f"{before}{begin}\n{text}\n\n{end}{after}")


# --- Tables -------------------------------------------------------------------------------------


def summary(results: dict[str, Any]) -> str:
    """How many goals of each row are met."""
    rows = []
    for number, result in results.items():
        met = [Line(**each).is_met for each in result["lines"]]
        goals = [each for each in met if each is not None]
        title = ROWS[int(number)].title
        rows.append(
            [number, f"[{title}](#{_anchor(number, title)})", f"{sum(goals)} of {len(goals)}"]
        )
    return _markdown(["row", "what", "goals met"], rows)


def _anchor(number: str, title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", f"{number}. {title}".casefold()).replace(" ", "-")


def table(lines: Iterable[Line]) -> str:
    """The lines as a Markdown table."""
    lines = list(lines)
    has_peer = any(each.peer for each in lines)
    has_database = any(each.database for each in lines)
    rows = []
    for each in lines:
        row = [each.what]
        row += [each.database] if has_database else []
        row += [_amount(each.median, each.unit), _amount(each.p95, each.unit)]
        if has_peer:
            row += [f"{each.peer}: {_amount(each.peer_median, each.unit)}" if each.peer else ""]
            row += [f"{each.ratio:.2f}" if each.ratio else ""]
        rows.append([*row, goal(each), {True: "yes", False: "**no**", None: ""}[each.is_met]])
    head = ["", *(["database"] if has_database else []), "median", "p95"]
    head += ["compared with", "ratio"] if has_peer else []
    return _markdown([*head, "goal", "met"], rows)


def goal(one: Line) -> str:
    """The goal in words; empty without one."""
    if one.at_most is None:
        return ""
    return f"≤ {one.at_most:g} ×" if one.is_ratio else f"≤ {_amount(one.at_most, one.unit)}"


def _amount(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    digits = 0 if not unit or value >= 100 else 1 if value >= 10 else 2 if value >= 1 else 3
    number = f"{value:,.{digits}f}"
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}".strip()


def _markdown(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


# --- Plots --------------------------------------------------------------------------------------

_LABEL, _BAR, _AFTER, _ROW = 330, 380, 90, 20
_STYLE = "font: 12px system-ui, sans-serif; fill: #1f2328"


def draw(lines: Iterable[Line], *, title: str) -> str:
    """One bar for each median and, paler, one for each peer; a stroke marks the goal.

    Bars of one unit share a scale.
    """
    bars: list[tuple[str, float, str, float | None, str]] = []
    for each in lines:
        limit = each.at_most
        if limit is not None and each.is_ratio:
            limit = limit * (each.peer_median or 0)
        label = f"{each.what} ({each.database})" if each.database else each.what
        bars.append((label.replace("`", ""), each.median, each.unit, limit, "#0969da"))
        if each.peer_median is not None:
            bars.append((each.peer, each.peer_median, each.unit, None, "#afb8c1"))
    longest: dict[str, float] = {}
    for _, value, unit, limit, _ in bars:
        longest[unit] = max(longest.get(unit, 0.0), value, limit or 0.0)
    height = _ROW * len(bars) + 12
    shapes = [
        shape
        for number, (label, value, unit, limit, color) in enumerate(bars)
        for shape in _bar(label, value, unit, limit, color, 6 + number * _ROW, longest[unit] or 1)
    ]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LABEL + _BAR + _AFTER}" '
            f'height="{height}" style="{_STYLE}" role="img">',
            f"<title>{escape(title)}</title>",
            '<rect width="100%" height="100%" fill="#ffffff"/>',
            *shapes,
            "</svg>\n",
        ]
    )


def _bar(
    label: str, value: float, unit: str, limit: float | None, color: str, top: int, longest: float
) -> Iterable[str]:
    width = value / longest * _BAR
    shown = label if len(label) <= 52 else f"{label[:51]}…"
    yield f'<text x="{_LABEL - 8}" y="{top + 13}" text-anchor="end">{escape(shown)}</text>'
    yield (
        f'<rect x="{_LABEL}" y="{top + 3}" width="{width:.1f}" height="{_ROW - 6}" fill="{color}"/>'
    )
    if limit is not None:
        at = _LABEL + limit / longest * _BAR
        yield f'<path d="M{at:.1f} {top + 1}v{_ROW - 2}" stroke="#d1242f" stroke-width="2"/>'
    # To the right of the goal's stroke.
    end = _LABEL + max(width, (limit or 0) / longest * _BAR) + 6
    yield f'<text x="{end:.1f}" y="{top + 13}">{escape(_amount(value, unit))}</text>'
