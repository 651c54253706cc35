"""/metrics is open to programs with the token, and otherwise needs a sign-in."""

import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from pytest_django import Settings

from connections import __version__
from connections.audit import checkpoints
from connections.models import (
    AccessReview,
    Attempt,
    AuditVerification,
    Credential,
    Deletion,
    Notification,
    OrgConnectionSnapshot,
    Outcome,
    Person,
    State,
    Sync,
    WorkerHeartbeat,
)
from connections.operations import metrics
from tests.notifications.conftest import RecordEvent
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db

TOKEN = "canary-token-" + "x" * 40


@pytest.fixture(autouse=True)
def token_file(settings: Settings, tmp_path: Path) -> Path:
    path = tmp_path / "metrics_token"
    path.write_text(f"{TOKEN}\n")
    path.chmod(0o600)
    settings.METRICS_TOKEN_FILE = str(path)
    return path


def status(header: str | None, *, path: str = "/metrics", method: str = "GET") -> int:
    headers = {"Authorization": header} if header is not None else {}
    return Client().generic(method, path, headers=headers).status_code


def test_the_token_opens_the_metrics():
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    assert b"orgadmin_deletions_total" in response.content


def test_closed_deletions_are_counted_once_a_minute(monkeypatch: pytest.MonkeyPatch):
    def counts_closed_deletions() -> bool:
        with CaptureQueriesContext(connection) as queries:
            assert status(f"Bearer {TOKEN}") == 200
        counting = 'SELECT "connections_deletion"."outcome"'
        return any(query["sql"].startswith(counting) for query in queries)

    assert counts_closed_deletions()
    assert not counts_closed_deletions()
    later = timezone.now() + timedelta(seconds=61)
    monkeypatch.setattr("django.core.cache.backends.db.tz_now", lambda: later)
    assert counts_closed_deletions()


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", "Bearer wrong", f"Bearer {TOKEN}x", TOKEN]
)
def test_anything_else_is_refused(header: str):
    assert status(header) == 401


def test_without_a_token_the_page_requires_a_sign_in():
    assert status(None) == 302


def test_where_no_token_is_set_no_header_opens_it(settings: Settings):
    settings.METRICS_TOKEN_FILE = ""
    assert status("Bearer ") == 401
    assert status(f"Bearer {TOKEN}") == 401


@pytest.mark.parametrize("path", ["/", "/deletions/", "/audit/", "/notices/"])
def test_the_token_opens_nothing_else(path: str):
    assert status(f"Bearer {TOKEN}", path=path) == 302


def test_the_token_only_reads():
    assert status(f"Bearer {TOKEN}", method="POST") in {403, 405}


def test_a_wrong_token_is_refused_even_when_signed_in(
    victor: Person, client_of: Callable[[Person], Client]
):
    response = client_of(victor).get("/metrics", headers={"Authorization": "Bearer wrong"})
    assert response.status_code == 401


def test_a_second_factor_is_still_required_of_people(
    ada: Person, settings: Settings, client_of: Callable[[Person], Client]
):
    settings.REQUIRE_MFA = True
    assert client_of(ada).get("/metrics").status_code == 302


@pytest.mark.parametrize("fault", ["short", "open", "missing"])
def test_an_invalid_token_file_grants_nothing_and_is_logged_without_the_token(
    token_file: Path, fault: str, caplog: pytest.LogCaptureFixture
):
    given = TOKEN
    if fault == "short":
        given = "canary"
        token_file.write_text(given)
    elif fault == "open":
        os.chmod(token_file, 0o644)
    else:
        token_file.unlink()
    with caplog.at_level(logging.DEBUG, logger="connections"):
        assert status(f"Bearer {given}") == 401
    assert "/metrics isn't available with the token." in caplog.text
    assert "canary" not in caplog.text


def test_the_token_opens_the_metrics_by_address_and_over_http(settings: Settings):
    settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["orgadmin.example.org"], True
    for header, status in ((f"Bearer {TOKEN}", 200), ("Bearer wrong", 401), (None, 301)):
        headers = {"Host": "10.0.0.5:8000" if header else "orgadmin.example.org"}
        headers |= {"Authorization": header} if header else {}
        response = Client().get("/metrics", headers=headers)
        assert response.status_code == status
    assert Client().get("/metrics", headers={"Host": "10.0.0.5:8000"}).status_code == 400


def test_the_response_to_a_token_is_not_stored():
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response["Cache-Control"] == "no-store"


# --- What they say ----------------------------------------------------------------------------

# While the closed deletions were counted less than a minute ago.
STATEMENTS = 18


def scrape() -> str:
    response = Client().get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert response.status_code == 200
    return response.content.decode()


def samples() -> dict[str, float]:
    """The values by name and labels."""
    lines = [line for line in scrape().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def copy_of(deletion: Deletion, **changes: Any) -> Deletion:
    """Another deletion, of another connection."""
    fields = {field.attname: getattr(deletion, field.attname) for field in Deletion._meta.fields}
    ids = {"id": uuid4(), "request_id": uuid4(), "connection_id": uuid4()}
    return Deletion.objects.create(**fields | ids | changes)


def closed_copy_of(deletion: Deletion, outcome: Outcome, **changes: Any) -> Deletion:
    closed = {"state": State.SETTLED, "outcome": outcome, "settled_at": timezone.now()}
    return copy_of(deletion, **closed | {"due_at": None} | changes)


def sync_of(credential: Credential, *, at: datetime, seconds: float, **changes: Any) -> Sync:
    times = {"started_at": at - timedelta(seconds=seconds), "finished_at": at}
    return Sync.objects.create(credential=credential, **times | {"is_complete": True} | changes)


def test_they_say_what_waits_and_for_how_long(
    record_event: RecordEvent, settings: Settings, clock: SettableClock
):
    settings.WEBHOOK_URL = "https://hooks.example.org/in"
    deletion = record_event()
    checkpoints.make_checkpoint()
    clock.advance(hours=1)
    record_event()
    now = clock.at
    Notification.objects.update(created_at=now - timedelta(minutes=3))
    Deletion.objects.update(state=State.UNKNOWN, sending_at=now - timedelta(minutes=2), due_at=now)
    deletion.refresh_from_db()
    copy_of(deletion, sending_at=now - timedelta(minutes=1), due_at=now + timedelta(seconds=1))
    closed_copy_of(deletion, Outcome.REFUSED)
    found = samples()
    assert (
        found
        | {
            'orgadmin_open_deletions{state="unknown"}': 2,
            'orgadmin_open_deletions{state="waiting"}': 0,
            "orgadmin_oldest_unknown_deletion_age_seconds{}": 120,
            'orgadmin_deletions_total{outcome="refused"}': 1,
            'orgadmin_deletions_total{outcome="unresolved"}': 0,
            "orgadmin_contradicted_deletions{}": 0,
            "orgadmin_due_deletions{}": 1,
            'orgadmin_notifications{channel="webhook",state="waiting"}': 3,
            'orgadmin_notifications{channel="mail",state="given_up"}': 0,
            "orgadmin_oldest_notification_age_seconds{}": 180,
            "orgadmin_workers{}": 0,
            "orgadmin_audit_events_total{}": 2,
            "orgadmin_checkpoint_events{}": 1,
            "orgadmin_checkpoint_age_seconds{}": 3600,
            f'orgadmin_build_info{{version="{__version__}"}}': 1,
        }
        == found
    )


def test_a_contradicted_deletion_counts_while_the_connection_is_listed(deletion: Deletion):
    gone = closed_copy_of(deletion, Outcome.DELETED, contradicted_at=timezone.now())
    assert samples()["orgadmin_contradicted_deletions{}"] == 0
    snapshot = OrgConnectionSnapshot.objects.create(
        credential=deletion.credential,
        site=gone.site,
        connection_id=gone.connection_id,
        digest="0" * 64,
        first_seen_at=timezone.now(),
        last_seen_at=timezone.now(),
    )
    assert samples()["orgadmin_contradicted_deletions{}"] == 1
    OrgConnectionSnapshot.objects.filter(pk=snapshot.pk).update(is_current=False)
    assert samples()["orgadmin_contradicted_deletions{}"] == 0


def test_they_count_agreements_reviews_and_the_age_of_keys(
    deletion: Deletion, clock: SettableClock, ada: Person
):
    credential = deletion.credential
    Credential.objects.update(keys_set_at=clock.at - timedelta(days=2))
    for connection_id in (uuid4(), uuid4()):
        OrgConnectionSnapshot.objects.create(
            credential=credential,
            site=credential.site,
            connection_id=connection_id,
            digest="0" * 64,
            first_seen_at=clock.at,
            last_seen_at=clock.at,
        )
    for days in (-1, 1):
        AccessReview.objects.create(
            name=f"{days}",
            due_at=clock.at + timedelta(days=days),
            is_for_everyone=True,
            row_count=0,
            without_reviewer=0,
            coverage={},
            created_at=clock.at,
            created_by=ada,
        )
    AuditVerification.objects.create(
        checked_at=clock.at - timedelta(hours=3), size=1, fault="hash", message="A fault."
    )
    found = samples()
    assert (
        found
        | {
            'orgadmin_connections{agreed="yes"}': 0,
            'orgadmin_connections{agreed="no"}': 2,
            'orgadmin_not_agreed{reason="no_agreement"}': 2,
            'orgadmin_not_agreed{reason="wider"}': 0,
            "orgadmin_open_reviews{}": 2,
            "orgadmin_overdue_reviews{}": 1,
            "orgadmin_key_age_seconds_max{}": 2 * 86_400,
            "orgadmin_audit_verification_ok{}": 0,
            "orgadmin_audit_verification_age_seconds{}": 3 * 3600,
            "orgadmin_access_interrupted{}": 0,
            "orgadmin_ends_waiting{}": 0,
            "orgadmin_ends_overdue{}": 0,
        }
        == found
    )


def test_workers_are_counted_and_each_host_has_its_newest_heartbeat(db: None, clock: SettableClock):
    for host, minutes in (("a", 1), ("a", 2), ("b", 4)):
        seen_at = clock.at - timedelta(minutes=minutes)
        WorkerHeartbeat.objects.create(
            name=str(uuid4()), host=host, process_id=1, started_at=seen_at, seen_at=seen_at
        )
    found = samples()
    assert found["orgadmin_workers{}"] == 2
    hosts = {
        host: found[f'orgadmin_worker_heartbeat_age_seconds{{host="{host}"}}'] for host in "ab"
    }
    assert hosts == {"a": 60, "b": 240}


def test_each_org_has_the_age_of_its_newest_complete_sync(deletion: Deletion, clock: SettableClock):
    first = deletion.credential
    Credential.objects.update(org_name='A "b"\\\n\x1b', created_at=clock.at - timedelta(hours=3))
    labels = f'site="{first.site}",org="A \\"b\\"\\\\ \ufffd",org_id="{first.org_id}"'
    assert samples()[f"orgadmin_sync_age_seconds{{{labels}}}"] == 3 * 3600
    second = Credential.objects.get()
    second.pk, second.name, second.fingerprint = uuid4(), "second", "1" * 12
    second.save(force_insert=True)
    sync_of(first, at=clock.at - timedelta(hours=2), seconds=1)
    sync_of(first, at=clock.at - timedelta(minutes=1), seconds=1, is_complete=False)
    sync_of(second, at=clock.at - timedelta(hours=1), seconds=1)
    Credential.objects.filter(pk=second.pk).update(sync_due_at=clock.at)
    Credential.objects.filter(pk=first.pk).update(sync_due_at=clock.at + timedelta(minutes=1))
    found = samples()
    assert found[f"orgadmin_sync_age_seconds{{{labels}}}"] == 3600
    assert found["orgadmin_due_syncs{}"] == 1
    assert len([name for name in found if name.startswith("orgadmin_sync_age_seconds")]) == 1


def test_they_say_how_long_each_site_took_recently_and_how_often_it_limited_requests(
    deletion: Deletion, clock: SettableClock
):
    credential = deletion.credential
    for number in range(20):
        sync_of(credential, at=clock.at - timedelta(minutes=1), seconds=number + 1)
    sync_of(credential, at=clock.at, seconds=1, is_complete=False, http_status=429)
    sync_of(credential, at=clock.at - timedelta(minutes=16), seconds=99, http_status=429)
    attempt = {"credential_name": "x", "credential_fingerprint": "0" * 12, "was_rechecked": True}
    times = {"claimed_at": clock.at, "answered_at": clock.at}
    for number, status in enumerate((200, 429)):
        Attempt.objects.create(
            deletion=deletion,
            number=number,
            epoch=number,
            http_status=status,
            duration_ms=250,
            **attempt | times,
        )
    found = samples()
    site = f'site="{credential.site}"'
    assert found[f"orgadmin_datadog_rate_limited_responses{{{site}}}"] == 2
    name = f"orgadmin_datadog_duration_seconds{{{site}"
    assert found[f'{name},operation="delete",percentile="95"}}'] == 0.25
    assert found[f'{name},operation="sync",percentile="50"}}'] == 10
    assert found[f'{name},operation="sync",percentile="95"}}'] == 19


@pytest.mark.database
def test_they_take_the_same_statements_whatever_there_is(
    deletion: Deletion, clock: SettableClock, monkeypatch: pytest.MonkeyPatch
):
    def count() -> int:
        scrape()
        with CaptureQueriesContext(connection) as queries:
            scrape()
        return len(queries)

    assert count() == STATEMENTS
    for number in range(3):
        closed_copy_of(deletion, Outcome.DELETED, contradicted_at=clock.at)
        sync_of(deletion.credential, at=clock.at, seconds=number)
        Notification.objects.create(
            code="notification.tested", channel="mail", created_at=clock.at, due_at=clock.at
        )
        Credential.objects.create(
            name=f"{number}",
            site="datadoghq.eu",
            org_id=f"{number}",
            keys_set_at=clock.at,
            created_at=clock.at,
        )
    assert count() == STATEMENTS
    monkeypatch.setattr(metrics, "MAX_ORGS", 2)
    assert scrape().count("orgadmin_sync_age_seconds{") == 2


def test_the_format_is_what_prometheus_expects(deletion: Deletion):
    sync_of(deletion.credential, at=timezone.now(), seconds=1)
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    check = [promtool, "check", "metrics"]
    done = subprocess.run(check, input=scrape(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
