"""No audit-log filter needs a sort or a full scan, according to SQLite's query plans."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from connections import audit
from connections.audit import personal_data
from connections.audit.search import EventFilter, find_sequence_numbers
from connections.models import Person
from tests.web.audit.support import add_event

pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(connection.vendor != "sqlite", reason="asks SQLite for its plans"),
]
AT = datetime(2026, 1, 1, tzinfo=UTC)
FILTERS: list[dict[str, Any]] = [
    {},
    {"code": ("deletion.",)},
    {"code": ("credential.retired",)},
    {"actor": ("ada",)},
    {"actor": ("worker",), "code": ("deletion.",)},
    {"actor": ("ada", "worker"), "code": ("deletion.", "person.")},
    {"subject_id": "some-id"},
    {"deletion": UUID(int=1)},
    {"request_id": "7" * 32},
    {"since": AT},
    {"since": AT, "until": datetime(2100, 1, 1, tzinfo=UTC), "code": ("person.",)},
    {"text": "payments"},
    {"text": "ada payments eu", "code": ("deletion.",)},
]


def plans_of(values: dict[str, Any], **more: Any) -> list[str]:
    """The query plan of each query on events, one line per step."""
    with CaptureQueriesContext(connection) as queries:
        find_sequence_numbers(filters=EventFilter(**values), limit=100, **more)
    found = []
    for query in queries.captured_queries:
        if "connections_auditevent" not in query["sql"]:
            continue
        with connection.cursor() as cursor:
            cursor.execute(f"EXPLAIN QUERY PLAN {query['sql']}".replace("%", "%%"), [])
            found.append("\n".join(row[3] for row in cursor.fetchall()))
    assert found
    return found


@pytest.mark.parametrize("more", [{}, {"below": 7}, {"above": 7, "is_oldest_first": True}])
def test_every_filter_uses_an_index_in_the_order_of_the_log(ada: Person, more: dict[str, Any]):
    add_event(audit.Sentence("{ada} came.", ada=personal_data.name_of(ada)), by=ada)
    for values, plan in [(one, plan) for one in FILTERS for plan in plans_of(one, **more)]:
        assert "TEMP B-TREE" not in plan
        reads_through = "SCAN connections_auditevent" in plan.replace("_search", "")
        # Without a filter the newest are read in order; a text search uses its index.
        assert not reads_through or not values or "VIRTUAL TABLE INDEX" in plan
