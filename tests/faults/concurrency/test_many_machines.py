"""Two web servers and three workers share one PostgreSQL through PgBouncer, while people use them.

A test run does this for seconds, `./run check --all` for ten minutes.
"""

import re
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from itertools import cycle
from threading import Event

import psycopg
import pytest
from django.db.models import F
from pytest_django import DjangoDbBlocker

from connections.audit.signing import new_signing_key_text
from connections.core.private_files import create_private_text
from connections.models import Credential, Sync
from sandbox.faults import delayed
from tests.faults.crashes.stack import Browser, Stack, address_of, stack_on
from tests.flows.support import store_credential
from tests.support.databases import SharedDatabase
from tests.support.processes import Running, until
from tests.support.sweeps import TAKES_ALL

pytestmark = [pytest.mark.usefixtures("postgresql_url"), pytest.mark.slow, pytest.mark.sweep]

SECONDS, ROUNDS = (600, 100) if TAKES_ALL else (6, 2)
ROUND = SECONDS / ROUNDS
ORGS = 20
IN_BATCH = 40
# Two people take turns with these.
SINGLE = 2 * min(ROUNDS, 20)
# Within the time for which one identity check counts.
DELETED_EVERY = 2 * min(SECONDS, 240) / SINGLE
STARTED = (("web", 1), ("web", 2), ("worker", 1), ("worker", 2), ("worker", 3))
PAGES = ("/", "/connections/", "/deletions/", "/changes/", "/orgs/", "/readyz")
# docs/DEPLOYMENT.md promises these. `web` has two processes. The workers have nothing to deliver.
MOST_CONNECTIONS = {"web": 2 * (8 + 1), "worker": 4}


def watch_connections(database: SharedDatabase, *, is_over: Event) -> Counter[str]:
    """The most connections to PgBouncer at once, by the name of the process."""
    address, _, query = database.url.partition("?")
    most: Counter[str] = Counter()
    url = f"{address.rpartition('/')[0]}/pgbouncer?{query}"
    with psycopg.connect(url, autocommit=True, cursor_factory=psycopg.ClientCursor) as connection:
        while not is_over.wait(0.2):
            cursor = connection.execute("SHOW CLIENTS")
            number = [column.name for column in cursor.description or ()].index("application_name")
            most |= Counter(row[number] for row in cursor)
    return most


def start(stack: Stack, kind: str, number: int) -> Running:
    url = f"{stack.database.url}&application_name={kind}-{number}"
    stack.more = {"DATABASE_URL": url, "ORGADMIN_DRAIN_SECONDS": "0"}
    return stack.start(kind)


def use(stack: Stack, address: str, connection_ids: list[str], *, is_over: Event) -> None:
    """Open pages until it is over, each at least once, and delete these connections in between."""
    browser = Browser(address, credential=stack.credential)
    opened: set[str] = set()
    next_deletion = time.monotonic()
    for path in cycle(PAGES):
        if is_over.is_set() and not connection_ids and len(opened) == len(PAGES):
            return
        # Not parsed, because the simulator of Datadog shares this process.
        assert browser.status_of(path) == 200, path
        opened.add(path)
        if connection_ids and time.monotonic() >= next_deletion:
            next_deletion += DELETED_EVERY
            browser.press(browser.confirmation_page(connection_ids.pop()))


def run_rounds() -> None:
    """Let each org become due again in each round, as if 15 minutes had passed."""
    others = Credential.objects.exclude(name="Payments")
    began = time.monotonic()
    for number in range(ROUNDS):
        time.sleep(max(0.0, began + number * ROUND - time.monotonic()))
        if number:
            # One by one: a sync locks all credentials of a site in an order of its own.
            for credential in others:
                others.filter(pk=credential.pk).update(
                    sync_due_at=F("sync_due_at") - timedelta(minutes=15)
                )
        syncs = Sync.objects.filter(credential__in=others, is_complete=True)
        assert any(syncs.count() == ORGS * (number + 1) for _ in until(60, every=0.2))


def test_they_share_the_work_and_nothing_is_done_twice(
    shared_database: SharedDatabase, django_db_blocker: DjangoDbBlocker
):
    with ExitStack() as together:
        together.enter_context(django_db_blocker.unblock())
        stack = together.enter_context(
            stack_on(
                shared_database,
                connections=IN_BATCH + SINGLE + ORGS,
                # The product's, because a busy machine needs them.
                delete_seconds=30,
                claim_seconds=60,
            )
        )
        create_private_text(shared_database.data_dir / "signing_key.json", new_signing_key_text())
        world = stack.world
        in_batch, single = stack.connection_ids[:IN_BATCH], stack.connection_ids[IN_BATCH:][:SINGLE]
        stack.prepare(batch=in_batch)
        orgs = [org for org in world.orgs.values() if org.name != "Payments"][-ORGS:]
        with stack.opened():
            for org in orgs:
                world.add_key_pair(org=org)
                store_credential(stack.datadog, org.name, is_read=False)
        world.set_fault(fault=delayed(seconds=0.1))

        processes = [together.enter_context(start(stack, *name)) for name in STARTED]
        addresses = [address_of(process) for process in processes[:2]]
        is_over = Event()
        with ThreadPoolExecutor() as threads:
            watched = threads.submit(watch_connections, shared_database, is_over=is_over)
            used = [
                threads.submit(use, stack, address, connection_ids, is_over=is_over)
                for address in addresses
                for connection_ids in (single[addresses.index(address) :: 2], [])
            ]
            try:
                with stack.opened():
                    run_rounds()
            finally:
                is_over.set()
            most = watched.result()
            for each in used:
                each.result()
        deletions = stack.settled()
        assert [process.end() for process in reversed(processes)] == [0] * 5

    output = "\n".join(process.output for process in processes)
    assert re.findall(r".* (?:ERROR|CRITICAL|WARNING) .*", output) == []
    assert [row for row in deletions.values() if row["outcome"] != "deleted"] == []
    assert len(deletions) == IN_BATCH + SINGLE
    assert {world.deletes_received(each) for each in (*in_batch, *single)} == {1}
    synced = [len(world.requests(org=org, path="/api/v2/org_connections")) for org in orgs]
    assert synced == [ROUNDS] * ORGS
    names = [f"{kind}-{number}" for kind, number in STARTED]
    assert set(names) <= set(most)
    for kind, number in STARTED:
        assert most[f"{kind}-{number}"] <= MOST_CONNECTIONS[kind], most
