"""Times as text."""

from datetime import UTC, datetime, timedelta

import pytest
from django.template import engines

from connections.core.text import format_limit, format_relative

NOW = datetime(2026, 11, 25, 15, 0, 43, tzinfo=UTC)


@pytest.mark.parametrize(
    ("age", "text"),
    [
        (timedelta(seconds=4), "just now"),
        (timedelta(seconds=5), "5 s ago"),
        (timedelta(minutes=3), "3 min ago"),
        (timedelta(hours=26), "26 h ago"),
        (timedelta(days=7), "7 days ago"),
        (timedelta(days=9), "16 Nov 2026"),
        (-timedelta(seconds=30), "in 30 s"),
        (-timedelta(milliseconds=200), "in 1 s"),
        (-timedelta(minutes=24, seconds=5), "in 24 min"),
        (-timedelta(hours=23, minutes=1), "in 23 h"),
        (-timedelta(hours=23, minutes=59, seconds=58), "in 24 h"),
        (-timedelta(minutes=59, seconds=40), "in 1 h"),
        (-timedelta(days=6, hours=23), "in 7 days"),
    ],
)
def test_a_time_is_relative_for_seven_days(age: timedelta, text: str):
    assert format_relative(NOW - age, now=NOW) == text


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        (timedelta(seconds=60), "60 s"),
        (timedelta(minutes=15), "15 minutes"),
        (timedelta(hours=1), "1 hour"),
        (timedelta(hours=48), "48 hours"),
        (timedelta(days=7), "7 days"),
    ],
)
def test_a_limit_is_written_in_one_unit(limit: timedelta, text: str):
    assert format_limit(limit) == text


def test_the_time_element_contains_the_exact_time():
    template = engines["django"].from_string("{% relative_time at %}")
    assert template.render({"at": NOW - timedelta(days=4000)}) == (
        '<time datetime="2015-12-13T15:00:43Z" title="2015-12-13 15:00:43 UTC">13 Dec 2015</time>'
    )
