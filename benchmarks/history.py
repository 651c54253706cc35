"""How long the history's pages take with N deletions: `python -m benchmarks.history --rows N`.

Server time of the real addresses, through every middleware and template, without the network.
With DATABASE_URL it makes a database of its own on that server, else an SQLite file; both are
gone at the end.
"""

import argparse
import resource
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks.temporary_django import throwaway_django

REPEATS = 5
TARGET_MS = 100.0
EXPORT_ROWS = 100_000


@dataclass(frozen=True, kw_only=True)
class Page:
    """One address to measure."""

    name: str
    path: str


def main() -> None:
    """Make the rows, measure, print a table; exit code 1 when a page is over its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--explain", action="store_true", help="Show each slow page's queries.")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="Keep and reuse the SQLite file.")
    parser.add_argument(
        "--seen",
        type=int,
        metavar="N",
        help="Look as somebody whom allow-lists leave only the N least used credentials.",
    )
    options = parser.parse_args()
    with throwaway_django(keep_in=options.keep):
        from django.conf import settings
        from django.db import connection

        from benchmarks import rows
        from connections.models import Deletion

        settings.ALLOWED_HOSTS = ["testserver"]
        started = time.perf_counter()
        cast = rows.find_cast() or rows.make_cast()
        if not Deletion.objects.exists():
            rows.insert(count=options.rows, cast=cast)
        seconds = time.perf_counter() - started
        count = Deletion.objects.count()
        _say(f"{count:,} deletions on {connection.vendor}, made in {seconds:.0f} s")
        username = "person0"
        if options.seen:
            username = rows.limit(cast, seen=options.seen)
        slow = _measure_pages(_pages(cast), username=username, explain=options.explain)
        _measure_export()
    sys.exit(1 if slow else 0)


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - its output is a table


def _pages(cast: Any) -> list[Page]:
    from benchmarks.rows import COMMON_WORD, RARE_WORD
    from connections.models import Deletion
    from connections.services.history.history import Cursor

    ordered = Deletion.objects.order_by("-requested_at", "-id")
    oldest_at = Deletion.objects.order_by("requested_at", "id")[0].requested_at
    middle_at = oldest_at + (ordered[0].requested_at - oldest_at) / 2
    deep = ordered.filter(requested_at__lte=middle_at)[0]
    after = str(Cursor(requested_at=deep.requested_at, id=deep.id))
    day = middle_at.date().isoformat()
    sites = [credential.site for credential in cast.credentials]
    queries: dict[str, dict[str, Any]] = {
        "first page": {},
        "deep page": {"after": after},
        "last 7 days": {"period": 7},
        "one day, years ago": {"since": day, "until": day},
        "person, common": {"person": cast.people[0].pk},
        "person, rare": {"person": cast.people[-2].pk},
        "credential, common": {"credential": cast.credentials[0].pk},
        "credential, rare": {"credential": cast.credentials[-2].pk},
        "site, common": {"site": sites[0]},
        "site, rare": {"site": sites[35]},
        "org by name, common": {"org": cast.orgs[0][1]},
        "org by name, rare": {"org": cast.orgs[-2][1]},
        "org by name, none": {"org": "No such org"},
        "org by id, rare": {"org": cast.orgs[-2][0]},
        "org by name, deep": {"org": cast.orgs[-2][1], "after": after},
        "state unknown": {"status": "unknown"},
        "outcome deleted": {"status": "deleted"},
        "outcome unresolved": {"status": "unresolved"},
        "outcome refused, deep": {"status": "refused", "after": after},
        "contradicted": {"status": "contradicted"},
        "ticket": {"ticket": deep.ticket or "SEC-1"},
        "connection id": {"connection_id": deep.connection_id},
        "text, rare": {"q": RARE_WORD},
        "text, common": {"q": COMMON_WORD},
        "text, in every row": {"q": "batch"},
        "text, common, deep": {"q": COMMON_WORD, "after": after},
        "text, two words": {"q": f"{COMMON_WORD} vendor"},
        "text, none": {"q": "nosuchword"},
        "text, two letters": {"q": "ve"},
        "text, an id": {"q": str(deep.connection_id)},
        "text and outcome": {"q": COMMON_WORD, "status": "refused"},
        "text and rare outcome": {"q": COMMON_WORD, "status": "unresolved"},
        "person and outcome": {"person": cast.people[0].pk, "status": "refused"},
        "site and org": {"site": sites[0], "org": cast.orgs[-2][1]},
    }
    pages = [
        Page(name=name, path=f"/deletions/?{urlencode(query)}") for name, query in queries.items()
    ]
    return [
        *pages,
        Page(name="one deletion", path=f"/deletions/{deep.pk}/"),
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
    _say(f"{'page':28} {'median ms':>10} {'worst ms':>10}")
    for page in pages:
        taken = [_time_of(client, page.path) for _ in range(REPEATS)]
        is_slow = statistics.median(taken) > TARGET_MS
        slow += is_slow
        mark = "  SLOW" if is_slow else ""
        _say(f"{page.name:28} {statistics.median(taken):10.1f} {max(taken):10.1f}{mark}")
        if is_slow and explain:
            _explain(client, page.path)
    return slow


def _time_of(client: Any, path: str) -> float:
    started = time.perf_counter()
    response = client.get(path)
    taken = (time.perf_counter() - started) * 1000
    # Somebody who sees little may not find the deletion that everybody else does.
    if response.status_code not in {200, 404}:
        raise SystemExit(f"{path} answered {response.status_code}")
    return taken


def _explain(client: Any, path: str) -> None:
    from django.db import connection
    from django.test.utils import CaptureQueriesContext

    with CaptureQueriesContext(connection) as captured:
        client.get(path)
    for query in captured.captured_queries:
        if float(query["time"]) < 0.02 or "connections_deletion" not in query["sql"]:
            continue
        _say(f"    {query['time']} s: {query['sql'][-700:]}")
        word = "EXPLAIN QUERY PLAN " if connection.vendor == "sqlite" else "EXPLAIN "
        with connection.cursor() as cursor:
            cursor.execute(word + query["sql"].replace("%", "%%"), ())
            for row in cursor.fetchall():
                _say(f"      {row[-1]}")


def _measure_export() -> None:
    """Read the first part of an export of everything, as the server would send it."""
    client = _client("person0")
    for file_format in ("csv", "ndjson"):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started = time.perf_counter()
        response = client.get(f"/deletions/export/?format={file_format}")
        lines = size = 0
        for piece in response.streaming_content:
            lines += piece.count(b"\n")
            size += len(piece)
            if lines >= EXPORT_ROWS:
                break
        response.close()
        seconds = time.perf_counter() - started
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        _say(
            f"export {file_format}: {lines / seconds:,.0f} rows/s, "
            f"{size / seconds / 1e6:.1f} MB/s, peak memory grew by {grown:.1f} MB"
        )


if __name__ == "__main__":
    main()
