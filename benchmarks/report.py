"""Writes the measured lines: docs/performance/results.json, a plot per row, and the tables.

docs/PERFORMANCE.md has a pair of markers for each row. The text between them is replaced.
"""

import json
import os
import platform
import re
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path

from benchmarks.installation import ROOT
from benchmarks.measuring import Line
from benchmarks.rows import ROWS

DOCUMENT = ROOT / "docs/PERFORMANCE.md"
DIRECTORY = ROOT / "docs/performance"
RESULTS = DIRECTORY / "results.json"


@dataclass(frozen=True, kw_only=True)
class Result:
    """The lines of a row, and when and where they were measured."""

    lines: list[Line]
    how: str


def machine() -> str:
    """The machine and how busy it is, as the tables show it."""
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
    found = load() | {number: Result(lines=lines, how=how)}
    results = {each: found[each] for each in sorted(found)}
    stored = {str(each): asdict(result) for each, result in results.items()}
    RESULTS.write_text(json.dumps(stored, indent=1, ensure_ascii=False) + "\n")
    (DIRECTORY / f"row-{number}.svg").write_text(draw(lines, title=ROWS[number].title))
    DOCUMENT.write_text(render(DOCUMENT.read_text(), results))


def load() -> dict[int, Result]:
    """The stored results by the number of their row."""
    if not RESULTS.exists():
        return {}
    stored = json.loads(RESULTS.read_text())
    return {
        int(number): Result(lines=[Line(**each) for each in result["lines"]], how=result["how"])
        for number, result in stored.items()
    }


def render(document: str, results: dict[int, Result]) -> str:
    """The document with the tables of these results. Raises ValueError if a marker is missing."""
    document = _replace(document, "summary", summary(results))
    for number, result in results.items():
        plot = f"![{ROWS[number].title}](performance/row-{number}.svg)"
        text = f"{table(result.lines)}\n\n{plot}\n\nMeasured: {result.how}."
        document = _replace(document, f"row {number}", text)
    return document


def _replace(document: str, name: str, text: str) -> str:
    pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- end of {name} -->\n)", re.DOTALL)
    replaced, count = pattern.subn(lambda match: f"{match[1]}\n{text}\n\n{match[2]}", document)
    if count != 1:
        raise ValueError(f"The document has no single pair of markers for {name}.")
    return replaced


# --- Tables -------------------------------------------------------------------------------------


def summary(results: dict[int, Result]) -> str:
    """How many goals of each row are met."""
    rows = []
    for number, result in results.items():
        goals = [line.is_met for line in result.lines if line.is_met is not None]
        title = ROWS[number].title
        link = f"[{title}](#{_anchor(number, title)})"
        rows.append([str(number), link, f"{sum(goals)} of {len(goals)}"])
    return _markdown(["row", "what", "goals met"], rows)


def _anchor(number: int, title: str) -> str:
    return re.sub(r"[^a-z0-9 -]", "", f"{number}. {title}".casefold()).replace(" ", "-")


def table(lines: Iterable[Line]) -> str:
    """The lines as a Markdown table."""
    lines = list(lines)
    has_peer = any(line.peer for line in lines)
    has_database = any(line.database for line in lines)
    rows = []
    for line in lines:
        row = [line.what]
        row += [line.database] if has_database else []
        row += [_amount(line.median, line.unit), _amount(line.p95, line.unit)]
        if has_peer:
            row += [f"{line.peer}: {_amount(line.peer_median, line.unit)}" if line.peer else ""]
            row += [f"{line.ratio:.2f}" if line.ratio else ""]
        rows.append([*row, goal(line), {True: "yes", False: "**no**", None: ""}[line.is_met]])
    head = ["", *(["database"] if has_database else []), "median", "p95"]
    head += ["compared with", "ratio"] if has_peer else []
    return _markdown([*head, "goal", "met"], rows)


def goal(line: Line) -> str:
    """The goal in words. Empty without a goal."""
    if line.at_most is None:
        return ""
    return f"≤ {line.at_most:g} ×" if line.is_ratio else f"≤ {_amount(line.at_most, line.unit)}"


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
    """One bar for each median and a paler one for each peer. A stroke marks the goal.

    Bars with the same unit share a scale.
    """
    bars: list[tuple[str, float, str, float | None, str]] = []
    for line in lines:
        limit = line.at_most
        if limit is not None and line.is_ratio:
            limit = limit * (line.peer_median or 0)
        label = f"{line.what} ({line.database})" if line.database else line.what
        bars.append((label.replace("`", ""), line.median, line.unit, limit, "#0969da"))
        if line.peer_median is not None:
            bars.append((line.peer, line.peer_median, line.unit, None, "#afb8c1"))
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
