"""Erasing a person removes names and keeps the audit log intact."""

import json
import re
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client

from connections import audit
from connections.access.actor import Actor, command_actor
from connections.audit import EventCode, checkpoints, personal_data
from connections.core.errors import ConflictError
from connections.evidence import verification
from connections.models import AuditEvent, Credential, Person, PersonalValue
from connections.people import erasure, sign_in_events
from tests.flows.support import read

pytestmark = pytest.mark.database(every=2)

ActorFor = Callable[[Person], Actor]


@pytest.fixture
def acts_of_ada(ada: Person, grace: Person, actor_for: Callable[[Person], Actor]) -> Person:
    for person in (ada, grace):
        audit.record(
            code=EventCode.EXPORT_STARTED,
            actor=actor_for(person),
            sentence=audit.Sentence("Exported."),
        )
        sign_in_events.record_failed_sign_in(
            login=person.username,
            origin=sign_in_events.SignInOrigin(
                address=f"192.0.2.{len(person.username)}",
                agent=f"Browser of {person.username}",
                request_id="",
            ),
        )
    checkpoints.make_checkpoint()
    return ada


def everything_stored() -> str:
    with connection.cursor() as cursor:
        stored = []
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")  # noqa: S608 - ours
            stored.append(str(cursor.fetchall()))
    return "\n".join(stored)


def is_in(stored: str, text: str) -> bool:
    """Whether it stands there, not only among the letters of a hash."""
    return re.search(rf"(?<!\w){re.escape(text)}(?!\w)", stored) is not None


def test_no_table_holds_a_name_or_an_address_afterwards(acts_of_ada: Person):
    before = everything_stored()
    assert all(text in before for text in ("Ada", "ada@example.com", "192.0.2.3", "Browser of"))
    erasure.erase_person(actor=command_actor(), person=acts_of_ada)
    after = everything_stored()
    assert not [
        text
        for text in ("Ada", "'ada'", "ada@example.com", "192.0.2.3", "of ada")
        if is_in(after, text)
    ]
    assert "Grace" in after
    assert "192.0.2.5" in after


def test_the_log_stays_intact_after_an_erasure_and_shows_a_number(
    acts_of_ada: Person, edith: Person, client_of: Callable[[Person], Client]
):
    done = erasure.erase_person(actor=command_actor(), person=acts_of_ada)
    assert verification.verify_audit_log().fault is None
    sentences = [event.sentence for event in AuditEvent.objects.order_by("seq")]
    who = f"erased person no. {done.number}"
    whence = "erased address no. 2 using erased browser no. 3"
    assert f"Failed sign-in as {who} from {whence}." in sentences
    assert f"{who} was erased: names and addresses were removed." in sentences
    page = read(client_of(edith).get("/audit/"))
    assert who in page.text
    assert "Grace" in page.text
    assert "Ada" not in page.text


def test_a_request_still_running_does_not_restore_an_erased_name(
    acts_of_ada: Person, actor_for: Callable[[Person], Actor]
):
    before = actor_for(Person.objects.get(pk=acts_of_ada.pk))
    done = erasure.erase_person(actor=command_actor(), person=acts_of_ada)
    audit.record(
        code=EventCode.EXPORT_FINISHED,
        actor=before,
        sentence=audit.Sentence("{person} finished.", person=personal_data.name_of(before)),
    )
    assert AuditEvent.objects.latest("seq").sentence == f"erased person no. {done.number} finished."
    assert not is_in(everything_stored(), "Ada")
    assert verification.verify_audit_log().fault is None


def test_an_erased_person_cannot_sign_in_and_has_no_role(acts_of_ada: Person):
    erasure.erase_person(actor=command_actor(), person=acts_of_ada)
    person = Person.objects.get(pk=acts_of_ada.pk)
    assert (person.is_active, person.has_usable_password(), person.roles) == (
        False,
        False,
        frozenset(),
    )


def test_a_name_that_others_have_is_erased_beside_a_reference_to_the_person(
    acts_of_ada: Person, grace: Person, credential: Credential, actor_for: ActorFor
):
    Person.objects.filter(pk=grace.pk).update(first_name="Ada", last_name="")
    namesake = actor_for(Person.objects.get(pk=grace.pk))
    sentence = audit.Sentence("{actor} exported.")
    audit.record(code=EventCode.EXPORT_STARTED, actor=namesake, sentence=sentence)
    credential.created_by, credential.created_by_name = acts_of_ada, "Ada"
    credential.keys_set_by_name = "Ada"
    credential.save()
    done = erasure.erase_person(actor=command_actor(), person=acts_of_ada)
    credential.refresh_from_db()
    assert credential.created_by_name == f"erased person no. {done.number}"
    # It might be the other one's name.
    assert (credential.keys_set_by_name, done.shared_names) == ("Ada", 1)


def test_an_erased_value_cannot_be_restored(acts_of_ada: Person):
    erasure.erase_person(actor=command_actor(), person=acts_of_ada)
    row = PersonalValue.objects.get(number=1)
    assert (row.value, row.salt, bool(row.commitment)) == ("", "", True)


def test_only_an_administrator_can_erase(
    ada: Person, grace: Person, actor_for: Callable[[Person], Actor]
):
    with pytest.raises(PermissionDenied):
        erasure.erase_person(actor=actor_for(grace), person=ada)


def test_the_last_administrator_cannot_be_erased(root: Person):
    with pytest.raises(ConflictError):
        erasure.erase_person(actor=command_actor(), person=root)
    assert Person.objects.get(pk=root.pk).username == "root"


def run(*arguments: str) -> Any:
    out = StringIO()
    call_command("erase_person", "--json", *arguments, stdout=out)
    return json.loads(out.getvalue())


def test_the_command_prints_the_erased_persons_new_name(acts_of_ada: Person):
    assert run("--username", "ADA", "--yes") == {
        "person_number": 1,
        "values": 3,
        "shared_names": 0,
    }


def test_the_command_needs_a_confirmation(acts_of_ada: Person):
    with pytest.raises(CommandError) as caught:
        call_command("erase_person", "--username", "ada")
    assert caught.value.returncode == 2
    assert Person.objects.get(pk=acts_of_ada.pk).username == "ada"
