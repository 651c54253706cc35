"""What each page costs: its statements, its size, and plans that read no whole table.

No test measures time: `./run bench` does.
"""

import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.core.cache import cache
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from benchmarks import addresses, data
from connections.access.actor import person_actor
from connections.batches import drafts
from connections.core import clock
from connections.inventory.matching import InventoryFilter
from connections.models import AccessReview, Batch, BatchState, Person
from connections.operations import due
from connections.web.overview import navigation
from tests.access_reviews.support import decide, start, texts_of
from tests.batches.support import draft, request
from tests.support.query_plans import plan_of

ClientOf = Callable[[Person], Client]

# Enough for each kind of which the overview has a line.
FEW = data.Size(orgs=4, links=2, deletions=97, changes=20)
# More than a page of everything.
MANY = data.Size(orgs=100, links=3, deletions=300, changes=300)

# The statements of each page for an administrator, however much is stored.
STATEMENTS = {
    "inventory": 16,
    "agreements": 14,
    "matrix": 15,
    "overview": 35,  # 2 of them find which agreements need this person
    "history": 10,
    "chart": 8,
    "changes": 10,
    "audit log": 8,
    "orgs": 12,
    "one org": 32,
    "one connection": 17,
    "one deletion": 12,
    "review": 20,
    "one credential": 15,
    "one event": 9,
    "people": 7,
    "search": 35,  # 12 of them count how often this person searches
    "evidence": 12,
    "notifications": 7,
    "access reviews": 13,
    "one access review": 26,  # 1 of them finds who decides on what no owner does
    "bulk deletions": 7,
    "plan": 20,
    "progress": 18,
}
# The largest compressed response in kB, with full pages of 100 rows and 100 orgs to choose from.
KILOBYTES = {
    "inventory": 21,
    "agreements": 17,
    "matrix": 40,
    "one access review": 25,
    "orgs": 16,
    "plan": 17,
}
OTHER_KILOBYTES = 15
# The page names each destination org with what it loses, and 100 credentials to choose from.
PLAN_OF_1000_KILOBYTES = 18


def pages() -> dict[str, str]:
    """The measured pages by name."""
    single = {"inventory": addresses.inventory()["no filter"], "matrix": addresses.MATRIX}
    single["chart"] = "/deletions/?view=chart"
    details = addresses.details(data.facts())
    return single | addresses.lists() | details | access_reviews() | batches()


def access_reviews() -> dict[str, str]:
    """The pages of access reviews by name."""
    review = AccessReview.objects.earliest("created_at")
    return {
        "access reviews": "/reviews/",
        "one access review": reverse("access-review-detail", args=[review.pk]),
    }


def batches() -> dict[str, str]:
    """The pages of bulk deletions by name."""
    plan = Batch.objects.get(state=BatchState.DRAFT)
    running = Batch.objects.get(state=BatchState.RUNNING)
    return {
        "bulk deletions": "/deletions/batches/",
        "plan": reverse("batch-detail", args=[plan.pk]),
        "progress": reverse("batch-detail", args=[running.pk]),
    }


@pytest.fixture
def client(client_of: ClientOf, monkeypatch: pytest.MonkeyPatch) -> Callable[[data.Size], Client]:
    """An administrator's client that has already opened a page, once all data is stored.

    The numbers in the navigation stay in the cache.
    """
    monkeypatch.setattr(navigation, "_COUNTED_FOR", timedelta(hours=1))

    def make(size: data.Size) -> Client:
        data.fill(size)
        administrator = Person.objects.get(username="person0")
        reviews = [start(administrator) for _ in range(size.links)]
        decide(reviews[0], administrator, *texts_of(reviews[0])[2:], decision="delete")
        _keep_until_yesterday(reviews[1], administrator)
        connections = texts_of(reviews[1])
        # Those of the last orgs, which other pages don't show.
        request(draft(administrator, connections[-size.orgs :]), administrator)
        draft(administrator, [*connections[:99], connections[-1]])
        client = client_of(administrator)
        client.get("/")
        return client

    return make


def _keep_until_yesterday(review: AccessReview, person: Person) -> None:
    """Every connection is due again."""
    yesterday = clock.now() - timedelta(days=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clock, "now", lambda: yesterday - timedelta(days=1))
        decide(review, person, keep_until=yesterday.date())


@pytest.mark.django_db
def test_a_page_with_few_rows_takes_as_many_statements_as_a_full_one(
    client: Callable[[data.Size], Client],
):
    browser = client(FEW)
    counted = {name: open_page(browser, path)[0] for name, path in pages().items()}
    assert counted == STATEMENTS


@pytest.mark.django_db
def test_a_full_page_takes_no_more_statements_and_is_small_when_compressed(
    client: Callable[[data.Size], Client],
):
    browser = client(MANY)
    opened = {name: open_page(browser, path) for name, path in pages().items()}
    assert {name: statements for name, (statements, _) in opened.items()} == STATEMENTS
    too_large = {
        name: kilobytes
        for name, (_, kilobytes) in opened.items()
        if kilobytes > KILOBYTES.get(name, OTHER_KILOBYTES)
    }
    assert too_large == {}


def open_page(browser: Client, path: str) -> tuple[int, float]:
    """The number of statements of a page, and its compressed size in kB."""
    with CaptureQueriesContext(connection) as captured:
        response = browser.get(path, headers={"Accept-Encoding": "gzip"})
    assert response.status_code == 200
    return len(captured), len(response.content) / 1000


@pytest.mark.django_db
def test_a_plan_of_1000_connections_is_small_when_compressed(client_of: ClientOf):
    data.fill(data.Size(orgs=100, links=10, deletions=1, changes=1))
    administrator = Person.objects.get(username="person0")
    plan = drafts.create_draft_from_filter(
        actor=person_actor(person=administrator), filters=InventoryFilter(), filter_text=""
    )
    assert plan.rows.count() == 1000
    response = client_of(administrator).get(
        reverse("batch-detail", args=[plan.pk]), headers={"Accept-Encoding": "gzip"}
    )
    assert len(response.content) / 1000 <= PLAN_OF_1000_KILOBYTES


BIG_TABLES = (
    "accessreviewdecision|accessreviewrow|attempt|auditevent|batch|batchrow|change|deletion"
    "|knownconnection|orgconnectionsnapshot|sync"
)
# An index read in its order ends with the page, and the index of a text search with its matches.
WHOLE_TABLE = {
    "sqlite": re.compile(rf"SCAN (connections_({BIG_TABLES}))\b(?! (USING|VIRTUAL TABLE))"),
    "postgresql": re.compile(rf"Seq Scan on (connections_({BIG_TABLES}))\b"),
}


@pytest.mark.database
@pytest.mark.django_db
def test_no_query_of_a_page_or_of_the_worker_reads_a_whole_table(
    client: Callable[[data.Size], Client],
):
    browser = client(FEW)
    facts = data.facts()
    paths = addresses.inventory() | addresses.lists() | addresses.filtered(facts) | batches()
    paths |= access_reviews()
    # So that the overview counts how many connections are agreed.
    cache.clear()
    with CaptureQueriesContext(connection) as captured:
        for path in paths.values():
            browser.get(path)
        due.list_due(now=clock.now())
    found = {
        match[1]: query["sql"]
        for query in captured.captured_queries
        if query["sql"].startswith("SELECT") and not is_text_search_of_changes(query["sql"])
        for match in WHOLE_TABLE[connection.vendor].finditer(plan_of(query["sql"]))
    }
    assert found == {}


@pytest.mark.database
@pytest.mark.django_db
def test_postgresql_prefers_indexes():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no such setting")
    with connection.cursor() as cursor:
        cursor.execute("SHOW random_page_cost")
        assert cursor.fetchone() == ("1.1",)


@pytest.mark.database
@pytest.mark.django_db
def test_postgresql_vacuums_the_snapshots_after_each_sync():
    if connection.vendor != "postgresql":
        pytest.skip("SQLite has no autovacuum of this kind")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT reloptions FROM pg_class WHERE relname = 'connections_orgconnectionsnapshot'"
        )
        assert cursor.fetchone() == (["autovacuum_vacuum_scale_factor=0.02"],)


def is_text_search_of_changes(query: str) -> bool:
    """Only PostgreSQL has an index for it."""
    return connection.vendor == "sqlite" and '"connections_change"."search_text" LIKE' in query
