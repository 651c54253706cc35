"""Owners accept their agreements, or say that one isn't theirs: who can, and what is recorded."""

import json
from collections.abc import Callable
from contextlib import nullcontext

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, transaction
from django.http import Http404
from pytest_django import Settings

from connections.access.actor import Actor, command_actor
from connections.agreements.accepting import accept_agreements, refuse_agreement
from connections.agreements.agreed import find_agreements
from connections.audit import row_of
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError
from connections.evidence import comparison
from connections.evidence.records import kind_of, load_rows
from connections.models import (
    AccessKind,
    Agreement,
    AuditEvent,
    Credential,
    Notification,
    OrgPair,
    OwnerDecision,
    Person,
    PersonalValue,
)
from connections.notifications.messages import build_message
from connections.notifications.notified import refusal_text
from connections.people.people import disable_person
from connections.verifier.events import AGREEMENT, Event
from connections.verifier.rules import RULES
from tests.agreements.support import agree, let_only
from tests.evidence.columns import assert_each_stored_column_counts
from tests.evidence.support import verified

pytestmark = [pytest.mark.django_db, pytest.mark.database]
ActorFor = Callable[[Person], Actor]


@pytest.fixture
def owned(pair: OrgPair, victor: Person, ada: Person, actor_for: ActorFor) -> Agreement:
    """Set by Ada, a Viewer's."""
    return agree(pair, actor=actor_for(ada), owner=victor, owner_text="")


def newest(pair: OrgPair) -> Agreement:
    return find_agreements([pair])[pair]


def codes() -> list[str]:
    events = AuditEvent.objects.filter(code__startswith="agreement.").order_by("seq")
    return [event.code.removeprefix("agreement.") for event in events]


# --- Accepting ------------------------------------------------------------------------------------


def test_an_owner_with_any_role_accepts_many_agreements_at_once(
    owned: Agreement, other: OrgPair, victor: Person, ada: Person, actor_for: ActorFor
):
    agree(other, actor=actor_for(ada), owner=victor, owner_text="")
    assert newest(owned.pair).accepted_at is None
    pairs = [owned.pair, other]
    versions = dict.fromkeys(pairs, 1)
    new = accept_agreements(actor=actor_for(victor), pairs=pairs, versions=versions)
    assert {each.pair for each in new} == set(pairs)
    assert all(newest(pair).accepted_at for pair in pairs)
    assert codes() == ["set", "set", "accepted", "accepted"]
    event = AuditEvent.objects.get(code="agreement.accepted", subject_id=str(owned.pk))
    assert event.sentence == (
        "Victor accepted version 1 of the agreement for Payments US → Group SOC."
    )
    # A second time, nothing is left to accept.
    assert accept_agreements(actor=actor_for(victor), pairs=pairs, versions=versions) == []
    assert codes().count("accepted") == 2


def test_a_version_that_its_owner_sets_is_accepted(pair: OrgPair, ada: Person, actor_for: ActorFor):
    agreement = agree(pair, actor=actor_for(ada), owner=ada, owner_text="")
    assert newest(pair).accepted_at == agreement.set_at


def test_a_newer_version_has_to_be_accepted_again(
    owned: Agreement, victor: Person, ada: Person, actor_for: ActorFor
):
    accept_agreements(actor=actor_for(victor), pairs=[owned.pair], versions={owned.pair: 1})
    agree(owned.pair, actor=actor_for(ada), purpose="Another purpose")
    assert newest(owned.pair).accepted_at is None


def test_an_older_version_of_one_stops_all(
    owned: Agreement, other: OrgPair, victor: Person, ada: Person, actor_for: ActorFor
):
    agree(other, actor=actor_for(ada), owner=victor, owner_text="")
    agree(other, actor=actor_for(ada), purpose="Another purpose")
    pairs = [owned.pair, other]
    with pytest.raises(ConflictError, match=r"changed what is agreed about .* → .* in the mean"):
        accept_agreements(actor=actor_for(victor), pairs=pairs, versions=dict.fromkeys(pairs, 1))
    assert not OwnerDecision.objects.exists()


def test_only_the_owner_accepts_or_refuses(
    owned: Agreement, other: OrgPair, victor: Person, ada: Person, actor_for: ActorFor
):
    agree(other, actor=actor_for(ada), owner=ada, owner_text="")
    pairs = [owned.pair, other]
    for actor in (actor_for(ada), actor_for(victor), command_actor()):
        with pytest.raises(PermissionDenied, match="decide for the owner"):
            accept_agreements(actor=actor, pairs=pairs, versions=dict.fromkeys(pairs, 1))
    for actor in (actor_for(ada), command_actor()):
        with pytest.raises(PermissionDenied, match="decide for the owner"):
            refuse_agreement(actor=actor, pair=owned.pair, version=1, reason="Not mine")
    assert not OwnerDecision.objects.exists()


def test_an_owner_without_a_role_decides_nothing(
    owned: Agreement, victor: Person, actor_for: ActorFor
):
    victor.groups.clear()
    actor = actor_for(Person.objects.get(pk=victor.pk))
    with pytest.raises(PermissionDenied):
        accept_agreements(actor=actor, pairs=[owned.pair], versions={owned.pair: 1})


def test_what_the_owner_cannot_see_is_not_found(
    owned: Agreement,
    other: OrgPair,
    payments: Credential,
    victor: Person,
    ada: Person,
    root: Person,
    actor_for: ActorFor,
):
    without_agreement = {"actor": actor_for(victor), "pairs": [other]}
    with pytest.raises(Http404):
        accept_agreements(**without_agreement, versions={other: 1})  # type: ignore[arg-type]
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=actor_for(root))
    hidden_from = actor_for(Person.objects.get(pk=victor.pk))
    with pytest.raises(Http404):
        accept_agreements(actor=hidden_from, pairs=[owned.pair], versions={owned.pair: 1})
    with pytest.raises(Http404):
        refuse_agreement(actor=hidden_from, pair=owned.pair, version=1, reason="Not mine")
    assert not OwnerDecision.objects.exists()


# --- Refusing -------------------------------------------------------------------------------------


def test_who_set_it_is_notified_of_the_reason_why_it_is_not_the_owners(
    owned: Agreement, victor: Person, actor_for: ActorFor, settings: Settings
):
    settings.HAS_MAIL = True
    refuse_agreement(
        actor=actor_for(victor), pair=owned.pair, version=1, reason=" I left the SOC. "
    )
    stored = newest(owned.pair)
    assert (stored.is_refused, stored.accepted_at) == (True, None)
    assert stored.decision
    assert stored.decision.reason == "I left the SOC."
    notification = Notification.objects.get(code="agreement.refused")
    assert notification.person
    assert notification.person.username == "ada"
    message = build_message(notification)
    assert message.title == "An owner refuses an agreement"
    assert message.sentence == (
        "Victor refused version 1 of the agreement for Payments US → Group SOC."
    )
    assert message.reason == "I left the SOC."


def test_administrators_are_notified_if_a_command_set_it(
    pair: OrgPair, victor: Person, root: Person, actor_for: ActorFor, settings: Settings
):
    settings.HAS_MAIL = True
    agree(pair, actor=command_actor(), owner=victor, owner_text="")
    refuse_agreement(actor=actor_for(victor), pair=pair, version=1, reason="Not mine")
    notification = Notification.objects.get(code="agreement.refused")
    assert notification.person == root


@pytest.mark.parametrize("setter", ["disabled", "without address", "who can't see it"])
def test_administrators_are_notified_if_no_email_reaches_who_set_it(
    owned: Agreement,
    payments: Credential,
    victor: Person,
    ada: Person,
    root: Person,
    actor_for: ActorFor,
    settings: Settings,
    setter: str,
):
    settings.HAS_MAIL = True
    if setter == "disabled":
        disable_person(actor=actor_for(root), person=ada)
    elif setter == "without address":
        Person.objects.filter(pk=ada.pk).update(email="")
    else:
        let_only(victor, credential=payments, kind=AccessKind.SEE, actor=actor_for(root))
    actor = actor_for(Person.objects.get(pk=victor.pk))
    refused = refuse_agreement(actor=actor, pair=owned.pair, version=1, reason="Not mine")
    recipients = Notification.objects.filter(code="agreement.refused").exclude(person=ada)
    assert [each.person for each in recipients] == [root]
    assert refusal_text(refused) == "1 administrator is notified."


def test_without_email_the_owner_reads_whom_to_tell(
    owned: Agreement, victor: Person, actor_for: ActorFor, settings: Settings
):
    settings.HAS_MAIL = False
    refused = refuse_agreement(
        actor=actor_for(victor), pair=owned.pair, version=1, reason="Not mine"
    )
    assert refusal_text(refused) == "Email is off: tell Ada yourself."
    refused.set_by = None
    assert refusal_text(refused) == "Email is off: tell an administrator yourself."


def test_a_second_refusal_changes_nothing_and_says_so(
    owned: Agreement, victor: Person, actor_for: ActorFor
):
    refuse_agreement(actor=actor_for(victor), pair=owned.pair, version=1, reason="First")
    with pytest.raises(ConflictError, match="already said that this isn't yours: “First”"):
        refuse_agreement(actor=actor_for(victor), pair=owned.pair, version=1, reason="Second")
    assert OwnerDecision.objects.get().reason == "First"


def test_only_the_newest_version_can_be_refused(
    owned: Agreement, victor: Person, ada: Person, actor_for: ActorFor
):
    agree(owned.pair, actor=actor_for(ada), purpose="Another purpose")
    actor = actor_for(victor)
    with pytest.raises(ConflictError, match=r"in the meantime\. Nothing was saved"):
        refuse_agreement(actor=actor, pair=owned.pair, version=1, reason="Not mine")
    assert not OwnerDecision.objects.exists()


def test_a_refusal_needs_a_reason(owned: Agreement, victor: Person, actor_for: ActorFor):
    with pytest.raises(InvalidInputError, match="Say why it isn't yours"):
        refuse_agreement(actor=actor_for(victor), pair=owned.pair, version=1, reason=" \u200b")
    assert not OwnerDecision.objects.exists()


def test_what_is_accepted_cannot_be_refused(owned: Agreement, victor: Person, actor_for: ActorFor):
    actor = actor_for(victor)
    accept_agreements(actor=actor, pairs=[owned.pair], versions={owned.pair: 1})
    with pytest.raises(ConflictError, match="name another owner"):
        refuse_agreement(actor=actor, pair=owned.pair, version=1, reason="Not mine")
    assert newest(owned.pair).accepted_at


def test_what_was_refused_can_be_accepted_and_the_refusal_is_kept(
    owned: Agreement, victor: Person, actor_for: ActorFor
):
    actor = actor_for(victor)
    refuse_agreement(actor=actor, pair=owned.pair, version=1, reason="Not mine")
    accept_agreements(actor=actor, pairs=[owned.pair], versions={owned.pair: 1})
    stored = newest(owned.pair)
    assert stored.accepted_at
    assert (stored.is_refused, stored.decision and stored.decision.reason) == (False, "Not mine")
    assert codes() == ["set", "refused", "accepted"]
    assert verified()[0] == 0


# --- Evidence -------------------------------------------------------------------------------------


def test_each_column_of_an_owners_decision_counts(
    owned: Agreement, victor: Person, actor_for: ActorFor, subtests: pytest.Subtests
):
    refuse_agreement(actor=actor_for(victor), pair=owned.pair, version=1, reason="Not mine")
    accept_agreements(actor=actor_for(victor), pairs=[owned.pair], versions={owned.pair: 1})
    assert_each_stored_column_counts(kind_of(AGREEMENT), owned.pk, subtests)


def test_no_decision_can_be_changed_or_removed(
    owned: Agreement, victor: Person, actor_for: ActorFor
):
    refuse_agreement(actor=actor_for(victor), pair=owned.pair, version=1, reason="Not mine")
    decisions = OwnerDecision.objects.filter(pk=owned.pk)
    now = clock.now()
    statements = (
        lambda: decisions.update(reason="Mine"),
        lambda: decisions.update(refused_at=now),
        lambda: decisions.update(accepted_at=now, reason="Mine"),
        lambda: decisions.delete(),
    )
    for statement in statements:
        with pytest.raises(DatabaseError), transaction.atomic():
            statement()
    decisions.update(accepted_at=now)
    with pytest.raises(DatabaseError), transaction.atomic():
        decisions.update(accepted_at=clock.now())


def test_an_acceptance_that_nobody_recorded_is_found(
    owned: Agreement, monkeypatch: pytest.MonkeyPatch
):
    # The test's own transaction is one consistent read.
    monkeypatch.setattr(comparison, "consistent_read", nullcontext)
    OwnerDecision.objects.create(agreement=owned, accepted_at=clock.now())
    code, document = verified()
    assert (code, document["agreements"]) == (1, [str(owned.pk)])


def test_a_version_that_was_set_together_with_its_acceptance_is_found(owned: Agreement):
    decision = OwnerDecision.objects.create(agreement=owned, accepted_at=clock.now())
    rows = load_rows(kind_of(AGREEMENT), ids=[owned.pk])[owned.pk]
    names = {str(value.number): "Someone" for value in PersonalValue.objects.all()}
    event = Event(json.loads(AuditEvent.objects.get(code="agreement.set").text), names)
    assert list(RULES[AGREEMENT](rows, [event])) == []
    event.details["rows"]["owner_decision"] = row_of(decision)
    assert list(RULES[AGREEMENT](rows, [event])) == [f"event {event.seq} decides for its owner"]


def test_a_recorded_decision_by_someone_else_is_found(
    owned: Agreement, victor: Person, ada: Person, actor_for: ActorFor
):
    refuse_agreement(actor=actor_for(victor), pair=owned.pair, version=1, reason="Not mine")
    accept_agreements(actor=actor_for(victor), pairs=[owned.pair], versions={owned.pair: 1})
    rows = load_rows(kind_of(AGREEMENT), ids=[owned.pk])[owned.pk]
    names = {str(value.number): "Someone" for value in PersonalValue.objects.all()}
    stored = AuditEvent.objects.filter(code__startswith="agreement.").order_by("seq")
    events = [Event(json.loads(event.text), names) for event in stored]
    assert list(RULES[AGREEMENT](rows, events)) == []
    rows["agreement"]["owner_id"] = str(ada.pk)
    assert list(RULES[AGREEMENT](rows, events)) == [
        f"event {event.seq} is not by its owner" for event in events[1:]
    ]
