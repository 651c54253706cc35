"""Every important action has an event code, and every code is recorded and shown."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from django.test import Client

from connections import audit
from connections.access.actor import command_actor
from connections.audit import EventCode
from connections.models import AuditEvent, ChangeRequest, Person, Step
from connections.web.timeline import event_text
from tests.flows.support import read

SERVICES = Path(__file__).parents[2] / "connections"
# The actions that the design requires to be recorded, by the start of their codes.
REQUIRED_PREFIXES = (
    "person.signed_in",
    "person.sign_in_failed",
    "person.added",
    "person.changed",
    "person.disabled",
    "person.erased",
    "sign_in_link.made",
    "credential.added",
    "credential.rotated",
    "credential.verified",
    "credential.retired",
    "credential.policy_changed",
    "credential.creator_changed",
    *(f"deletion.{what}" for what in ("requested", "approved", "declined", "withdrawn")),
    *(f"deletion.{what}" for what in ("confirmed", "sending", "answered", "unknown", "settled")),
    *(f"deletion.{what}" for what in ("verified", "contradicted", "still_present")),
    *(f"access_request.{what}" for what in ("requested", "approved", "declined", "withdrawn")),
    *(f"access_request.{what}" for what in ("confirmed", "sending", "answered", "unknown")),
    *(f"access_request.{what}" for what in ("settled", "verified", "contradicted")),
    *(f"export.{what}" for what in ("started", "finished", "aborted")),
    "encryption_key.rotated",
    "signing_key.rotated",
    "audit_log.verified",
    "audit_log.verification_failed",
)


def test_every_important_action_has_a_code():
    assert set(REQUIRED_PREFIXES) <= set(EventCode)


def test_every_code_is_recorded_by_some_service():
    texts = [path.read_text() for path in SERVICES.rglob("*.py") if path.name != "outbox.py"]
    used = set(re.findall(r"\bEventCode\.([A-Z_]+)", "\n".join(texts)))
    # What happens to every kind of request is recorded by one function.
    kinds = ChangeRequest.__subclasses__()
    used |= {kind.event_code(step).name for kind in kinds for step in Step}
    assert {code.name for code in EventCode} - used == set()


def test_a_code_names_a_subject_and_what_happened():
    assert [code for code in EventCode if not re.fullmatch(r"[a-z_]+\.[a-z_]+", code)] == []


@pytest.mark.django_db
def test_every_code_is_shown_in_the_list_and_on_a_page_of_its_own(
    client_of: Callable[[Person], Client], edith: Person
):
    details = {"outcome": "refused", "cause": "forbidden", "attempt": 1}
    with audit.atomic():
        for code in EventCode:
            sentence = audit.Sentence("It happened: {code}.", code=code)
            audit.record(code=code, actor=command_actor(), sentence=sentence, details=details)
    client = client_of(edith)
    # There are more codes than rows of a page.
    listed = "".join(read(client.get(f"/audit/{page}")).text for page in ("", "?after=50"))
    for event in AuditEvent.objects.filter(stored_sentence__startswith="It happened"):
        words = event_text(event)
        assert words.badge.label
        assert words.badge.icon
        assert event.sentence in listed
        assert event.sentence in read(client.get(f"/audit/{event.seq}/")).text
