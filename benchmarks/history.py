"""Time the pages of the deletion history with N deletions: `python -m benchmarks.history --rows N`.

Measures server time with all middleware and templates, without the network. Uses a temporary SQLite
database, or a new database on the server of DATABASE_URL.
"""

import argparse
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.reporting import peak_memory_mb, print_line
from benchmarks.temporary_django import temporary_django

REPEATS = 5
TARGET_MS = 100.0
EXPORT_ROWS = 100_000


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page to measure."""

    name: str
    path: str


def main() -> None:
    """Insert the rows, measure, print a table; exit code 1 when a page exceeds the target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--explain", action="store_true", help="Show each slow page's queries.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="Keep and reuse the SQLite file.")
    parser.add_argument(
        "--seen",
        type=int,
        metavar="N",
        help="Sign in as a person whose access lists allow only the N least used credentials.",
    )
    options = parser.parse_args()
    with temporary_django(keep_in=options.keep):
        from django.conf import settings
        from django.db import connection

        from benchmarks import rows
        from connections.models import Deletion

        settings.ALLOWED_HOSTS = ["testserver"]
        started = time.perf_counter()
        entities = rows.find_entities() or rows.make_entities()
        if not Deletion.objects.exists():
            rows.insert(count=options.rows, entities=entities)
        seconds = time.perf_counter() - started
        count = Deletion.objects.count()
        print_line(f"{count:,} deletions on {connection.vendor}, inserted in {seconds:.0f} s")
        username = "person0"
        if options.seen:
            username = rows.restrict_viewer(entities, visible=options.seen)
        slow = _measure_pages(_pages(entities), username=username, explain=options.explain)
        _measure_export()
    sys.exit(1 if slow else 0)


def _pages(entities: Any) -> list[Page]:
    from benchmarks.rows import COMMON_WORD, RARE_WORD
    from connections.deletions.history import Cursor
    from connections.models import Deletion

    ordered = Deletion.objects.order_by("-requested_at", "-id")
    oldest_at = Deletion.objects.order_by("requested_at", "id")[0].requested_at
    middle_at = oldest_at + (ordered[0].requested_at - oldest_at) / 2
    middle = ordered.filter(requested_at__lte=middle_at)[0]
    after = str(Cursor(requested_at=middle.requested_at, id=middle.id))
    day = middle_at.date().isoformat()
    sites = [credential.site for credential in entities.credentials]
    queries: dict[str, dict[str, Any]] = {
        "first page": {},
        "middle page": {"after": after},
        "last 7 days": {"period": 7},
        "one day, years ago": {"since": day, "until": day},
        "person, common": {"person": entities.people[0].pk},
        "person, rare": {"person": entities.people[-2].pk},
        "credential, common": {"credential": entities.credentials[0].pk},
        "credential, rare": {"credential": entities.credentials[-2].pk},
        "site, common": {"site": sites[0]},
        "site, rare": {"site": sites[35]},
        "org, common": {"org": f"{sites[0]}/{entities.orgs[0][0]}"},
        "org, rare": {"org": f"{sites[0]}/{entities.orgs[-2][0]}"},
        "org, none": {"org": f"{sites[0]}/none"},
        "org, middle page": {"org": f"{sites[0]}/{entities.orgs[-2][0]}", "after": after},
        "state unknown": {"status": "unknown"},
        "outcome deleted": {"status": "deleted"},
        "outcome unresolved": {"status": "unresolved"},
        "outcome refused, middle page": {"status": "refused", "after": after},
        "contradicted": {"status": "contradicted"},
        "ticket": {"ticket": middle.ticket or "SEC-1"},
        "connection id": {"connection_id": middle.connection_id},
        "text, rare": {"q": RARE_WORD},
        "text, common": {"q": COMMON_WORD},
        "text, in every row": {"q": "batch"},
        "text, common, middle page": {"q": COMMON_WORD, "after": after},
        "text, two words": {"q": f"{COMMON_WORD} vendor"},
        "text, none": {"q": "nosuchword"},
        "text, two letters": {"q": "ve"},
        "text, an id": {"q": str(middle.connection_id)},
        "text and outcome": {"q": COMMON_WORD, "status": "refused"},
        "text and rare outcome": {"q": COMMON_WORD, "status": "unresolved"},
        "person and outcome": {"person": entities.people[0].pk, "status": "refused"},
        "oldest first": {"sort": "requested"},
    }
    pages = [
        Page(name=name, path=f"/deletions/?{urlencode(query)}") for name, query in queries.items()
    ]
    return [
        *pages,
        Page(name="one deletion", path=f"/deletions/{middle.pk}/"),
        Page(name="/", path="/"),
    ]


def _client(username: str) -> Any:
    from django.test import Client

    from connections.models import Person

    client = Client()
    client.force_login(Person.objects.get(username=username))
    return client


def _measure_pages(pages: list[Page], *, username: str, explain: bool) -> int:
    client = _client(username)
    client.get("/deletions/")
    slow = 0
    print_line(f"{'page':28} {'median ms':>10} {'worst ms':>10}")
    for page in pages:
        times = [_milliseconds_of(client, page.path) for _ in range(REPEATS)]
        is_slow = statistics.median(times) > TARGET_MS
        slow += is_slow
        mark = "  SLOW" if is_slow else ""
        print_line(f"{page.name:28} {statistics.median(times):10.1f} {max(times):10.1f}{mark}")
        if is_slow and explain:
            _explain(client, page.path)
    return slow


def _milliseconds_of(client: Any, path: str) -> float:
    started = time.perf_counter()
    response = client.get(path)
    milliseconds = (time.perf_counter() - started) * 1000
    # A person with few visible credentials can get 404 for one deletion.
    if response.status_code not in {200, 404}:
        raise SystemExit(f"{path} returned {response.status_code}")
    return milliseconds


def _explain(client: Any, path: str) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        client.get(path)
    for query in captured.captured_queries:
        if float(query["time"]) < 0.02 or "connections_deletion" not in query["sql"]:
            continue
        print_line(f"    {query['time']} s: {query['sql'][-700:]}")
        keyword = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
        with connection.cursor() as cursor:
            cursor.execute(keyword + query["sql"].replace("%", "%%"), ())
            for row in cursor.fetchall():
                print_line(f"      {row[-1]}")


def _measure_export() -> None:
    """Read the first rows of an unfiltered export."""
    client = _client("person0")
    for file_format in ("csv", "ndjson"):
        before = peak_memory_mb()
        started = time.perf_counter()
        response = client.get(f"/deletions/export/?format={file_format}")
        lines = size = 0
        for chunk in response.streaming_content:
            lines += chunk.count(b"\n")
            size += len(chunk)
            if lines >= EXPORT_ROWS:
                break
        response.close()
        seconds = time.perf_counter() - started
        growth = peak_memory_mb() - before
        print_line(
            f"export {file_format}: {lines / seconds:,.0f} rows/s, "
            f"{size / seconds / 1e6:.1f} MB/s, peak memory grew by {growth:.1f} MB"
        )


if __name__ == "__main__":
    main()
