"""Which tests `./run test` runs: those at the desk, unless its arguments name others.

The marker `desk` is on every test but those marked `browser` or `slow`, and on those of them that
are marked `smoke`.
"""

from collections import Counter

import pytest
from _pytest.terminal import TerminalReporter

DESK = "desk"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--all`."""
    text = "also run the tests that drive a browser, kill or race processes, or run for long"
    parser.addoption("--all", action="store_true", dest="takes_all", help=text)


def pytest_configure(config: pytest.Config) -> None:
    """Run the tests at the desk, unless the command says what it runs."""
    option = config.option
    names_tests = config.args_source != pytest.Config.ArgsSource.TESTPATHS
    if not (option.takes_all or names_tests or option.keyword or option.markexpr or option.lf):
        option.markexpr = DESK


def pytest_report_header(config: pytest.Config) -> str | None:
    """Say how long it takes and what it leaves out."""
    if config.option.markexpr != DESK:
        return None
    return (
        "tests: 6 minutes on 2 idle cores. Most tests that drive a browser, kill or race "
        "processes, or run for long are left out: ./run test --all runs them too, in 11 minutes"
    )


def mark_desk(items: list[pytest.Item]) -> None:
    """Mark the tests at the desk."""
    for item in items:
        is_long = any(map(item.get_closest_marker, ("browser", "slow")))
        if not is_long or item.get_closest_marker("smoke"):
            item.add_marker(DESK)


def print_skipped(reporter: TerminalReporter) -> None:
    """Print why tests were skipped, and how many for each reason."""
    reasons = Counter(
        report.longrepr[2].removeprefix("Skipped: ").rstrip(".")
        for report in reporter.getreports("skipped")
        if isinstance(report.longrepr, tuple)
    )
    for reason, count in reasons.most_common():
        reporter.write_line(f"{reason}: {count} {'test' if count == 1 else 'tests'} skipped")
