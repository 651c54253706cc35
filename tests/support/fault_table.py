"""The table of faults at the end of a run: cases and violations, by kind and database."""

import os
from collections import Counter

import pytest
from _pytest.terminal import TerminalReporter


def _row_of(report: pytest.TestReport) -> tuple[str, str, str] | None:
    """The row of a test that is a single case. Crash tests count their own cases."""
    _, _, place = report.nodeid.partition("tests/faults/")
    folder, _, rest = place.partition("/")
    if folder not in {"clock", "concurrency", "responses", "model"} or report.when != "call":
        return None
    own = "PostgreSQL" if "ORGADMIN_TEST_DATABASE_URL" in os.environ else "SQLite"
    named = [name for name in ("SQLite", "PostgreSQL") if name.lower() in rest.lower()]
    file = rest.partition("::")[0].removeprefix("test_").removesuffix(".py")
    return folder, named[0] if named else own, file.replace("_", " ")


def print_fault_table(reporter: TerminalReporter) -> None:
    """Print the table: cases and violations for each kind of fault and each database."""
    cases: Counter[tuple[str, str, str]] = Counter()
    violations: Counter[tuple[str, str, str]] = Counter()
    for outcome in ("passed", "failed"):
        for report in reporter.stats.get(outcome, []):
            for name, values in getattr(report, "user_properties", ()):
                if name == "faults":
                    cases[tuple(values[:3])] += values[3]
                    violations[tuple(values[:3])] += values[4]
            row = _row_of(report)
            if row:
                cases[row] += 1
                violations[row] += outcome == "failed"
    if not cases:
        return
    reporter.section("faults")
    line = "{:<24} {:<11} {:<58} {:>6} {:>10}"
    rows = [line.format("what", "database", "fault", "cases", "violations")]
    rows += [line.format(*key, cases[key], violations[key]) for key in sorted(cases)]
    rows.append(line.format("all", "", "", cases.total(), violations.total()))
    reporter.write_line("\n".join(rows))
