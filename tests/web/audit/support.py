"""Helpers that record audit events and open their pages."""

from typing import Any

from django.test import Client

from connections import audit
from connections.access.actor import command_actor, person_actor
from connections.audit import EventCode
from connections.models import AuditEvent, Person
from tests.flows.support import Page, read


def add_event(
    sentence: audit.Sentence | str,
    *,
    code: EventCode = EventCode.EXPORT_STARTED,
    by: Person | None = None,
    request_id: str = "",
    about: Any = None,
) -> AuditEvent:
    """Record an event by and about a person, or by a command."""
    actor = person_actor(person=by, request_id=request_id) if by else command_actor()
    if isinstance(sentence, str):
        sentence = audit.Sentence("{text}", text=sentence)
    with audit.atomic() as appended:
        audit.record(code=code, actor=actor, sentence=sentence, subject=about or by)
    return appended[0]


def open_audit(client: Client, **filters: str | int | None) -> Page:
    """The list, with these filters in its address."""
    return read(client.get("/audit/", {name: str(value) for name, value in filters.items()}))
