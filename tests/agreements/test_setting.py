"""Setting agreements: who can, what a version has, and two people at once."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta

import pytest
from django.core.exceptions import PermissionDenied
from django.db import DatabaseError, IntegrityError, transaction
from django.http import Http404

from connections.access.actor import Actor, command_actor
from connections.agreements import setting
from connections.agreements.agreed import find_agreements, list_versions
from connections.agreements.setting import LISTED, OlderVersionError, Terms, can_set, set_agreements
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.evidence.records import kind_of
from connections.models import (
    AccessKind,
    Agreement,
    AuditEvent,
    Credential,
    Org,
    OrgPair,
    Person,
)
from connections.people.people import disable_person
from connections.verifier.events import AGREEMENT
from tests.agreements.support import agree, let_only
from tests.evidence.columns import assert_each_stored_column_counts
from tests.evidence.support import verified
from tests.support.append_only import triggers_off

pytestmark = pytest.mark.django_db
ActorFor = Callable[[Person], Actor]
FIRST: Terms = {"owner_text": "SOC team", "purpose": "Fraud alerts"}


def set_one(pair: OrgPair, terms: Terms, *, actor: Actor, version: int | None = None) -> Agreement:
    versions = {} if version is None else {pair: version}
    [agreement] = set_agreements(actor=actor, pairs=[pair], terms=terms, versions=versions).new
    return agreement


def problems(pair: OrgPair, terms: Terms, *, actor: Actor) -> dict[str, str]:
    with pytest.raises(InvalidInputError) as caught:
        set_agreements(actor=actor, pairs=[pair], terms=terms)
    return caught.value.fields


def test_a_first_agreement_has_the_listed_data_types_and_its_own_event(
    pair: OrgPair, ada: Person, actor_for: ActorFor
):
    terms: Terms = FIRST | {"owner": ada, "ticket": "SEC-1", "ends_on": date(2099, 1, 31)}
    agreement = set_one(pair, terms, actor=actor_for(ada))
    [stored] = list_versions(pair)
    assert (stored, stored.version, stored.connection_types) == (agreement, 1, ["logs", "metrics"])
    assert (stored.owner, stored.ticket, stored.ends_on) == (ada, "SEC-1", date(2099, 1, 31))
    event = AuditEvent.objects.get(code="agreement.set")
    assert event.sentence == ("Ada set version 1 of the agreement for Payments US → Group SOC.")
    assert json.loads(event.text)["details"]["rows"]["agreement"]["purpose"] == "Fraud alerts"


def test_what_is_not_set_stays_and_the_same_terms_make_no_version(
    pair: OrgPair, ada: Person, actor_for: ActorFor
):
    set_one(pair, FIRST | {"connection_types": ["logs"]}, actor=actor_for(ada))
    second = set_one(pair, {"ticket": " SEC-2 "}, actor=actor_for(ada))
    assert (second.version, second.ticket, second.purpose) == (2, "SEC-2", "Fraud alerts")
    assert second.connection_types == ["logs"]
    again = set_agreements(actor=actor_for(ada), pairs=[pair], terms={"ticket": "SEC-2"})
    assert (again.new, again.unchanged) == ([], [pair])
    third = set_one(pair, {"connection_types": LISTED}, actor=actor_for(ada))
    assert third.connection_types == ["logs", "metrics"]


@pytest.mark.parametrize(
    ("terms", "field", "problem"),
    [
        ({"purpose": "x"}, "owner", "Choose an owner, or enter a team or other owner."),
        ({"owner_text": "SOC"}, "purpose", "Enter a purpose."),
        (FIRST | {"purpose": " \u200b"}, "purpose", "Enter a purpose."),
        (FIRST | {"owner_text": "\u200b"}, "owner_text", "Enter a team or a name."),
        (FIRST | {"owner_text": "x" * 201}, "owner_text", "at most 200 characters"),
        (FIRST | {"ticket": "x" * 201}, "ticket", "at most 200 characters"),
        (FIRST | {"ends_on": date(2020, 1, 1)}, "ends_on", "Choose today or a later date."),
        (FIRST | {"connection_types": ["a b"]}, "connection_types", "Choose data types"),
    ],
)
def test_invalid_terms_are_refused_by_field(pair: OrgPair, terms: Terms, field: str, problem: str):
    assert problem in problems(pair, terms, actor=command_actor())[field]
    assert not Agreement.objects.exists()


def test_one_invalid_pair_among_many_stops_all(
    pair: OrgPair, ada: Person, actor_for: ActorFor, monkeypatch: pytest.MonkeyPatch
):
    now = clock.now()
    Org.objects.create(site=pair.site, org_id="new", first_seen_at=now, established_at=now)
    without_connection = OrgPair(pair.site, pair.source_org_id, "new")
    with pytest.raises(InvalidInputError, match="no connection between these orgs"):
        set_agreements(actor=actor_for(ada), pairs=[pair, without_connection], terms=FIRST)
    assert not Agreement.objects.exists()
    terms: Terms = FIRST | {"connection_types": ["logs"]}
    monkeypatch.setattr(setting, "MAX_PAIRS", 1)
    with pytest.raises(InvalidInputError, match="Select at most 1 connections"):
        set_agreements(actor=command_actor(), pairs=[pair, without_connection], terms=terms)
    monkeypatch.setattr(setting, "MAX_PAIRS", 2)
    set_agreements(actor=command_actor(), pairs=[pair, without_connection], terms=terms)
    assert set(find_agreements([pair, without_connection])) == {pair, without_connection}


def test_a_disabled_person_cannot_become_the_owner_but_stays_in_other_versions(
    pair: OrgPair, grace: Person, root: Person, actor_for: ActorFor
):
    set_one(pair, {"owner": grace, "purpose": "x"}, actor=command_actor())
    disable_person(person=grace, actor=actor_for(root))
    grace.refresh_from_db()
    assert set_one(pair, {"ticket": "T-1"}, actor=command_actor()).owner == grace
    other = OrgPair(pair.site, pair.sink_org_id, pair.source_org_id)
    terms: Terms = {"owner": grace, "purpose": "x", "connection_types": ["logs"]}
    assert "disabled" in problems(other, terms, actor=command_actor())["owner"]


# --- Who can --------------------------------------------------------------------------------------


def test_operators_who_can_use_a_credential_of_either_org_set_everything(
    pair: OrgPair,
    payments: Credential,
    ada: Person,
    grace: Person,
    linus: Person,
    root: Person,
    actor_for: ActorFor,
):
    assert can_set(actor=actor_for(ada), pairs=[pair]) == {pair}
    assert can_set(actor=actor_for(linus), pairs=[pair]) == set()
    let_only(ada, credential=payments, kind=AccessKind.USE, actor=actor_for(root))
    assert can_set(actor=actor_for(Person.objects.get(pk=grace.pk)), pairs=[pair]) == set()
    with pytest.raises(PermissionDenied):
        set_one(pair, FIRST, actor=actor_for(Person.objects.get(pk=grace.pk)))


def test_the_owner_can_name_another_owner_or_an_earlier_end_with_any_role(
    pair: OrgPair, victor: Person, edith: Person, actor_for: ActorFor
):
    owner, today = actor_for(victor), clock.now().date()
    end = today + timedelta(days=30)
    set_one(pair, {"owner": victor, "purpose": "x", "ends_on": end}, actor=command_actor())
    for terms in ({"purpose": "y"}, {"ends_on": None}, {"ends_on": end + timedelta(days=1)}):
        with pytest.raises(PermissionDenied, match="As the owner"):
            set_one(pair, terms, actor=owner)  # type: ignore[arg-type]
    set_one(pair, {"ends_on": end - timedelta(days=1)}, actor=owner)
    assert set_one(pair, {"owner": edith}, actor=owner).version == 3
    with pytest.raises(PermissionDenied):
        set_one(pair, {"ends_on": today}, actor=owner)


@pytest.mark.database
def test_a_hidden_pair_is_not_found_and_the_request_is_recorded(
    pair: OrgPair,
    payments: Credential,
    ada: Person,
    victor: Person,
    root: Person,
    actor_for: ActorFor,
):
    agree(pair, actor=command_actor())
    let_only(ada, credential=payments, kind=AccessKind.SEE, actor=actor_for(root))
    hidden_from = actor_for(Person.objects.get(pk=victor.pk))
    with pytest.raises(Http404):
        set_one(pair, FIRST, actor=hidden_from)
    assert AuditEvent.objects.filter(code="access.refused", actor_id=victor.pk).exists()
    unknown = OrgPair(pair.site, pair.source_org_id, "00000000-0000-4000-8000-000000000000")
    with pytest.raises(Http404):
        set_one(unknown, FIRST | {"connection_types": ["logs"]}, actor=command_actor())


# --- Two people -----------------------------------------------------------------------------------


def test_a_fault_is_not_reported_as_a_newer_version(pair: OrgPair):
    """The database refuses a version that nobody set."""
    agree(pair, actor=command_actor())
    with pytest.raises(IntegrityError):
        set_one(pair, {"purpose": "y"}, actor=replace(command_actor(), name=""), version=1)


def test_an_older_version_is_refused_with_the_newest_one(
    pair: OrgPair, ada: Person, actor_for: ActorFor
):
    actor = actor_for(ada)
    first = set_one(pair, FIRST, actor=actor, version=0)
    set_one(pair, {"purpose": "y"}, actor=actor, version=first.version)
    for shown in (0, 1):
        with pytest.raises(OlderVersionError) as caught:
            set_one(pair, {"purpose": "z"}, actor=actor, version=shown)
        newest = caught.value.newest[pair]
        assert newest is not None
        assert (newest.version, newest.purpose) == (2, "y")


# --- Evidence -------------------------------------------------------------------------------------


@pytest.mark.database
def test_each_column_of_an_agreement_counts(
    pair: OrgPair, ada: Person, actor_for: ActorFor, subtests: pytest.Subtests
):
    end = date(2099, 1, 31)
    agreement = agree(pair, actor=actor_for(ada), owner=ada, ticket="T-1", ends_on=end)
    assert_each_stored_column_counts(kind_of(AGREEMENT), agreement.pk, subtests)


@pytest.mark.database
def test_no_version_can_be_changed_removed_or_inserted_before_the_newest(pair: OrgPair):
    agreement = agree(pair, actor=command_actor())
    agree(pair, actor=command_actor(), purpose="y")
    statements = (
        lambda: Agreement.objects.update(purpose="z"),
        lambda: Agreement.objects.filter(pk=agreement.pk).delete(),
        lambda: Agreement.objects.create(
            **{
                field.attname: getattr(agreement, field.attname)
                for field in Agreement._meta.concrete_fields
                if field.name not in {"id", "version"}
            },
            version=2,
        ),
    )
    for statement in statements:
        with pytest.raises(DatabaseError), transaction.atomic():
            statement()
    with triggers_off():
        Agreement.objects.filter(pk=agreement.pk).delete()
    code, document = verified()
    assert (code, document["agreements"]) == (1, [str(agreement.pk)])
