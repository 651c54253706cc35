"""The page of one audit event."""

from collections.abc import Callable

import pytest
from django.test import Client

from connections import audit
from connections.audit import chain, checkpoints, personal_data
from connections.models import AuditEvent, Person
from tests.deletions.history.conftest import Make
from tests.flows.support import read
from tests.web.audit.support import add_event, open_audit

pytestmark = pytest.mark.django_db
ClientOf = Callable[[Person], Client]


def test_the_list_links_to_the_event_and_the_event_to_its_subject(
    client_of: ClientOf, edith: Person, ada: Person, make: Make
):
    deletion = make()
    event = add_event("It happened.", by=ada, about=deletion, request_id="7" * 32)
    add_event("A later one.")
    client = client_of(edith)
    assert f'href="/audit/{event.seq}/"' in open_audit(client).html
    page = read(client.get(f"/audit/{event.seq}/"))
    assert "It happened." in page.text
    assert "A later one." not in page.text
    assert page.link("View deletion") == f"/deletions/{deletion.pk}/"
    assert page.link("All events of this request") == f"/audit/?request={'7' * 32}"
    assert page.link("All its events") == f"/audit/?subject={deletion.pk}"
    assert page.link("All their events") == f"/audit/?actor={ada.pk}"
    assert page.link(f"Event {event.seq + 1} ›") == f"/audit/{event.seq + 1}/"


def test_the_shown_values_are_enough_to_compute_its_hash(
    client_of: ClientOf, edith: Person, ada: Person
):
    add_event("The one before.")
    event = add_event(audit.Sentence("{ada} <did> it.", ada=personal_data.name_of(ada)), by=ada)
    page = read(client_of(edith).get(f"/audit/{event.seq}/"))
    stored = AuditEvent.objects.get(pk=event.seq)
    before = AuditEvent.objects.get(pk=event.seq - 1)
    assert "Ada <did> it." in page.text
    assert stored.text in page.text
    assert f"Previous hash: {before.hash}" in page.text
    made = chain.event_hash(bytes.fromhex(before.hash), stored.text.encode()).hex()
    assert made in page.text


def test_the_first_event_has_no_previous_hash(client_of: ClientOf, edith: Person):
    add_event("The first.")
    assert f"Previous hash: {'0' * 64}" in read(client_of(edith).get("/audit/1/")).text


def test_it_names_the_first_checkpoint_that_covers_it(client_of: ClientOf, edith: Person):
    event = add_event("The one.")
    client = client_of(edith)
    assert "Not covered yet." in read(client.get(f"/audit/{event.seq}/")).text
    add_event("Another.")
    covering = checkpoints.make_checkpoint()
    add_event("A third.")
    checkpoints.make_checkpoint()
    assert covering
    page = read(client.get(f"/audit/{event.seq}/"))
    assert f"Covered by the checkpoint at {covering.size} events" in page.text
    assert page.link("Download") == f"/evidence/checkpoints/{covering.pk}/"


@pytest.mark.parametrize("seq", ["0", "2", "9" * 30])
def test_an_unknown_event_number_is_not_found(client_of: ClientOf, edith: Person, seq: str):
    add_event("The only one.")
    assert client_of(edith).get(f"/audit/{seq}/").status_code == 404
