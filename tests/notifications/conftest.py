"""Destinations on this machine, and events to notify them of."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.audit import personal_data
from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.models import ApprovalPolicy, Deletion, Person
from connections.notifications.webhooks import new_secret_text
from sandbox.server import SandboxServer
from tests.datadog.servers import ScriptedServer, http_response, respond
from tests.flows.support import store_credential
from tests.notifications.smtp import MailServer

RecordEvent = Callable[..., Deletion]


@pytest.fixture
def mail_server(settings: Settings) -> Iterator[MailServer]:
    """A mail server, configured in the settings."""
    with MailServer() as server:
        settings.MAILERS = server.mailers
        settings.HAS_MAIL = True
        settings.BASE_URL = "https://orgadmin.example.org"
        yield server


@pytest.fixture
def receiver(settings: Settings, tmp_path: Path) -> Iterator[ScriptedServer]:
    """A webhook receiver, configured in the settings; it accepts everything."""
    settings.WEBHOOK_SECRET_FILE = str(tmp_path / "webhook_secret")
    create_private_text(tmp_path / "webhook_secret", Secret(new_secret_text()))
    settings.BASE_URL = "https://orgadmin.example.org"
    with ScriptedServer([respond(http_response("204 No Content", b""))]) as server:
        settings.WEBHOOK_URL = f"{server.url}/hook/capability-canary?of=ours"
        yield server


@pytest.fixture
def deletion(request: pytest.FixtureRequest, ada: Person, sandbox: SandboxServer) -> Deletion:
    """A deletion that Ada requested and that needs approval; the parameter changes fields."""
    credential = store_credential(sandbox, "Payments US", policy=ApprovalPolicy.ONE, is_read=False)
    fields: dict[str, Any] = {
        "request_id": UUID(int=1),
        "site": credential.site,
        "connection_id": UUID(int=2),
        "credential": credential,
        "credential_name": credential.name,
        "credential_fingerprint": "0" * 12,
        "is_reviewed": True,
        "digest": "0" * 64,
        "reason": "contract ended",
        "policy": ApprovalPolicy.ONE,
        "requested_at": "2026-03-02T14:03:22Z",
        "requested_by": ada,
        "requested_by_name": ada.display_name,
        "source_org_name": "Payments US",
        "sink_org_name": "Group SOC",
        "connection_types": ["logs"],
    }
    return Deletion.objects.create(**fields | getattr(request, "param", {}))


@pytest.fixture
def record_event(deletion: Deletion) -> RecordEvent:
    """Record an event about the deletion, as the services do, by a person or the worker."""

    def act(
        code: audit.EventCode = audit.EventCode.DELETION_UNKNOWN,
        *,
        by: Person | None = None,
        **details: str,
    ) -> Deletion:
        actor = person_actor(person=by) if by else WORKER
        audit.record(
            code=code,
            actor=actor,
            subject=deletion,
            sentence=audit.Sentence(
                "{person} says that it is so.", person=personal_data.name_of(actor)
            ),
            details={"outcome": "deleted"} | details,
        )
        return deletion

    return act
