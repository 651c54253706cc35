"""Syncs that fail twice in a row are reported once for all orgs of a site and cause."""

import logging
from collections.abc import Callable

import pytest
from django.db import connection
from pytest_django import Settings

from connections.access.actor import WORKER, person_actor
from connections.inventory import syncs
from connections.models import AccessKind, Credential, Notification, Person, SyncProblem
from connections.notifications.formats import Message
from connections.notifications.messages import build_message
from connections.notifications.sync_problems import report_sync_problems
from connections.operations.checks import run_all_checks
from connections.operations.metrics import read_metrics
from connections.operations.worker import Worker
from sandbox import faults
from sandbox.server import SandboxServer
from tests.agreements.support import let_only
from tests.flows.support import store_credential
from tests.support.at_once import at_once
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

REJECTED = faults.RETURNS_403


@pytest.fixture(autouse=True)
def _mail(settings: Settings) -> None:
    settings.HAS_MAIL = True


@pytest.fixture
def orgs(sandbox: SandboxServer, clock: SettableClock) -> list[Credential]:
    """Two orgs of one site, whose last syncs are complete."""
    return [store_credential(sandbox, name) for name in ("Payments US", "Group SOC")]


@pytest.fixture
def sync(orgs: list[Credential], clock: SettableClock) -> Callable[..., None]:
    """Sync the orgs so often, 5 minutes apart, then report."""

    def sync_and_report(times: int = 1) -> None:
        for _ in range(times):
            clock.advance(minutes=5)
            syncs.sync_credentials(credentials=orgs, actor=WORKER)
            report_sync_problems()
        clock.advance(minutes=1)
        report_sync_problems()

    return sync_and_report


def messages(reader: Person | None = None) -> list[Message]:
    rows = Notification.objects.filter(code__startswith="syncs.", person=reader)
    return [build_message(row) for row in rows.order_by("created_at")]


def codes(reader: Person) -> list[str]:
    rows = Notification.objects.filter(code__startswith="syncs.", person=reader)
    return list(rows.order_by("created_at").values_list("code", flat=True))


@pytest.mark.database
def test_keys_that_datadog_rejects_twice_are_reported_once_for_all_orgs_of_the_site(
    sync: Callable[..., None], sandbox: SandboxServer, root: Person, margaret: Person, ada: Person
):
    sandbox.world.set_fault(fault=REJECTED, operation="list")
    sync()
    assert not messages(root)
    sync(times=3)
    [message] = messages(root)
    assert (message.code, message.title) == ("syncs.failing", "Syncs are failing")
    assert message.sentence.startswith(
        "Datadog has rejected the keys of 2 orgs on sandbox-us1 since "
    )
    assert message.rows == ("Group SOC", "Payments US")
    assert message.data["cause"] == "rejected"
    assert [org["name"] for org in message.data["orgs"]]
    assert codes(margaret) == ["syncs.failing"]
    assert codes(ada) == []


def test_each_site_and_cause_has_its_own_message(
    sync: Callable[..., None], orgs: list[Credential], sandbox: SandboxServer, root: Person
):
    sandbox.world.set_fault(fault=REJECTED, operation="list", org=orgs[0].org_id)
    fault = faults.CLOSE_AFTER_READING
    sandbox.world.set_fault(fault=fault, operation="list", org=orgs[1].org_id)
    sync(times=2)
    assert sorted(message.sentence.partition(" since ")[0] for message in messages(root)) == [
        "Datadog has rejected the keys of 1 org on sandbox-us1",
        "Datadog hasn't responded to the syncs of 1 org on sandbox-us1",
    ]


def test_the_end_is_reported_and_a_relapse_within_a_day_is_not(
    sync: Callable[..., None], sandbox: SandboxServer, clock: SettableClock, root: Person
):
    for _ in range(2):
        sandbox.world.set_fault(fault=REJECTED, operation="list")
        sync(times=2)
        sandbox.world.clear_faults()
        sync()
        assert codes(root) == ["syncs.failing", "syncs.recovered"]
    recovered = Notification.objects.get(code="syncs.recovered", person=root)
    sentence = build_message(recovered).sentence
    assert sentence == "The syncs of 2 orgs on sandbox-us1 work again."
    sandbox.world.set_fault(fault=REJECTED, operation="list")
    sync(times=2)
    clock.advance(hours=24)
    report_sync_problems()
    assert codes(root) == ["syncs.failing", "syncs.recovered", "syncs.failing"]


def test_a_message_that_they_fail_is_not_sent_once_they_work_again(
    sync: Callable[..., None], sandbox: SandboxServer, root: Person
):
    sandbox.world.set_fault(fault=REJECTED, operation="list")
    sync(times=2)
    sandbox.world.clear_faults()
    sync()
    failing = Notification.objects.get(code="syncs.failing", person=root)
    with pytest.raises(SyncProblem.DoesNotExist):
        build_message(failing)


def test_a_message_names_only_orgs_that_its_reader_can_see(
    sync: Callable[..., None],
    orgs: list[Credential],
    sandbox: SandboxServer,
    margaret: Person,
    ada: Person,
    root: Person,
):
    administrator = person_actor(person=root)
    let_only(ada, credential=orgs[0], kind=AccessKind.SEE, actor=administrator)
    sandbox.world.set_fault(fault=REJECTED, operation="list")
    sync(times=2)
    [message] = messages(margaret)
    assert message.rows == ("Group SOC",)
    let_only(ada, credential=orgs[1], kind=AccessKind.SEE, actor=administrator)
    with pytest.raises(SyncProblem.DoesNotExist):
        messages(margaret)


@pytest.mark.database
@pytest.mark.skipif(connection.vendor == "sqlite", reason="SQLite has only one writer.")
@pytest.mark.django_db(transaction=True)
def test_two_workers_report_it_once(
    orgs: list[Credential], sandbox: SandboxServer, clock: SettableClock, root: Person
):
    sandbox.world.set_fault(fault=REJECTED, operation="list")
    for _ in range(2):
        clock.advance(minutes=5)
        syncs.sync_credentials(credentials=orgs, actor=WORKER)
    at_once([report_sync_problems] * 2)
    clock.advance(minutes=2)
    at_once([report_sync_problems] * 2)
    assert codes(root) == ["syncs.failing"]


def test_the_log_doctor_and_metrics_name_what_fails(
    sync: Callable[..., None], sandbox: SandboxServer, caplog: pytest.LogCaptureFixture
):
    sandbox.world.set_fault(fault=REJECTED, operation="list")
    sync(times=2)
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "Syncs of 2 orgs on sandbox-us1 have failed since" in record.getMessage()
    assert record.getMessage().endswith(": 403 Forbidden")
    [found] = [each for each in run_all_checks() if each.obj == "syncs"]
    assert found.msg.startswith("2 orgs on sandbox-us1 failing since")
    [metric] = [each for each in read_metrics() if each.name == "orgadmin_failing_credentials"]
    assert {labels["cause"]: value for labels, value in metric.samples} == {
        "rejected": 2,
        "unreachable": 0,
        "error": 0,
    }


def test_a_worker_reports_what_fails(
    orgs: list[Credential], sandbox: SandboxServer, clock: SettableClock, root: Person
):
    sandbox.world.set_fault(fault=REJECTED, operation="list")
    for minutes in (20, 6, 2, 2):
        clock.advance(minutes=minutes)
        Worker().work_once()
    assert codes(root) == ["syncs.failing"]
