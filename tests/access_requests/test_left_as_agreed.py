"""What a request doesn't name stays as agreed, and what is agreed by hand never ends by itself."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client

from connections.access.actor import Actor, person_actor
from connections.access_requests.requesting import WantedTerms
from connections.agreements.agreed import find_agreements
from connections.agreements.setting import set_agreements
from connections.change_requests import lifecycle
from connections.core.errors import InvalidInputError
from connections.inventory import syncs
from connections.models import (
    AccessRequest,
    Agreement,
    Credential,
    OrgPair,
    Person,
    RequestKind,
)
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.test_pages import NEW, page_of
from tests.agreements.support import agree
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock

pytestmark = [pytest.mark.django_db, pytest.mark.database(every=4)]

MAY_CHANGE = {
    RequestKind.CHANGE: WantedTerms(types=["audit", "logs", "metrics"]),
    RequestKind.MOVE: WantedTerms(),
}


@pytest.fixture
def actor(ada: Person) -> Actor:
    return person_actor(person=ada)


@pytest.fixture
def agreed(listed_pair: OrgPair, actor: Actor, linus: Person, clock: SettableClock) -> Agreement:
    """By hand: metrics until in 60 days. The connection has more, and its keys can move it."""
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    return agree(
        listed_pair,
        actor=actor,
        owner=linus,
        owner_text="",
        ticket="INC-4711",
        connection_types=["metrics"],
        ends_on=clock.at.date() + timedelta(days=60),
    )


def terms_of(agreement: Agreement) -> tuple[Any, ...]:
    return agreement.owner, agreement.purpose, agreement.ticket, agreement.ends_on


def request(agreement: Agreement, kind: RequestKind, actor: Actor, **more: Any) -> AccessRequest:
    wanted = WantedTerms(**MAY_CHANGE.get(kind, {}), **more)  # type: ignore[typeddict-item]
    return request_for(actor=actor, pair=agreement.pair, kind=kind, wanted=wanted)


@pytest.mark.parametrize("kind", MAY_CHANGE)
def test_a_request_leaves_what_it_does_not_name_and_no_end_by_hand_becomes_automatic(
    agreed: Agreement, actor: Actor, kind: RequestKind
):
    done = request(agreed, kind, actor)
    assert done.outcome in {"changed", "created"}
    newest = find_agreements([agreed.pair])[agreed.pair]
    assert terms_of(newest) == terms_of(agreed)
    assert done.ends_on is None


def test_what_is_set_by_hand_while_a_move_is_interrupted_stays(
    agreed: Agreement, actor: Actor, victor: Person, sandbox: SandboxServer
):
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="POST")
    moved = request(agreed, RequestKind.MOVE, actor, purpose="Fraud team")
    set_agreements(actor=actor, pairs=[agreed.pair], terms={"owner": victor, "ticket": "NEW-1"})
    sandbox.world.clear_faults()
    lifecycle.execute(change_request=moved, actor=actor, confirmation="Group SOC")
    newest = find_agreements([agreed.pair])[agreed.pair]
    assert terms_of(newest) == (victor, "Fraud team", "NEW-1", agreed.ends_on)


@pytest.mark.parametrize("kind", [RequestKind.MOVE, RequestKind.EXTEND])
def test_moving_and_extending_agree_no_data_type(
    agreed: Agreement, actor: Actor, kind: RequestKind, clock: SettableClock
):
    later = clock.at.date() + timedelta(days=90)
    more = {"ends_on": later} if kind == RequestKind.EXTEND else {}
    assert request(agreed, kind, actor, **more).outcome in {"created", "extended"}
    newest = find_agreements([agreed.pair])[agreed.pair]
    assert newest.connection_types == ["metrics"]
    assert newest.ticket == "INC-4711"


def test_moving_what_nobody_agreed_agrees_no_data_type(listed_pair: OrgPair, actor: Actor):
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    wanted = WantedTerms(owner_text="SOC team", purpose="incident response")
    moved = request_for(actor=actor, pair=listed_pair, kind=RequestKind.MOVE, wanted=wanted)
    assert moved.outcome == "created"
    assert find_agreements([listed_pair])[listed_pair].connection_types == []


@pytest.mark.parametrize("kind", MAY_CHANGE)
def test_an_end_that_a_request_named_stays_automatic(
    agreed: Agreement, actor: Actor, kind: RequestKind, clock: SettableClock
):
    later = clock.at.date() + timedelta(days=90)
    request(agreed, RequestKind.EXTEND, actor, ends_on=later)
    # By hand, an earlier day: Org Admin doesn't delete by itself then, but on the approved one.
    earlier = later - timedelta(days=10)
    set_agreements(actor=actor, pairs=[agreed.pair], terms={"ends_on": earlier})
    clock.advance(minutes=1)
    assert request(agreed, kind, actor).ends_on == later
    assert find_agreements([agreed.pair])[agreed.pair].ends_on == earlier


def test_a_limit_forces_no_end_that_stays_and_nothing_is_added_after_it(
    agreed: Agreement, actor: Actor, settings: Any, clock: SettableClock
):
    settings.ACCESS_MAX_DAYS = 7
    assert request(agreed, RequestKind.CHANGE, actor).outcome == "changed"
    clock.advance(hours=61 * 24)
    syncs.sync_credentials(credentials=list(Credential.objects.all()), actor=actor)
    with pytest.raises(InvalidInputError) as refused:
        request_for(
            actor=actor,
            pair=agreed.pair,
            kind=RequestKind.CHANGE,
            wanted={"types": ["audit", "logs", "metrics", "rum"]},
        )
    assert [*refused.value.fields] == ["ends_on"]
    narrowed = WantedTerms(types=["metrics"])
    done = request_for(actor=actor, pair=agreed.pair, kind=RequestKind.CHANGE, wanted=narrowed)
    assert done.outcome == "changed"


# --- The page ---


def fields_of(client: Client, pair: OrgPair, kind: str, *, is_unfolded: bool) -> dict[str, Any]:
    """What a browser posts: with JavaScript, folded fields are left out."""
    form = client.get(NEW, page_of(pair, kind)).context["form"]
    names = ["request_id", "credential", "connection_types"]
    names += ["owner_kind", "owner", "owner_text", "purpose", "ends_on"] if is_unfolded else []
    values = {name: form[name].value() for name in names}
    digest = client.get(NEW, page_of(pair, kind)).context["digest"]
    shown = {name: value for name, value in values.items() if value is not None}
    return page_of(pair, kind) | shown | {"digest": digest, "reason": "quarterly report"}


@pytest.mark.parametrize("is_unfolded", [False, True], ids=["with JavaScript", "without"])
def test_the_folded_part_of_the_form_changes_nothing(
    agreed: Agreement, ada: Person, client_of: Callable[[Person], Client], is_unfolded: bool
):
    client = client_of(ada)
    page = client.get(NEW, page_of(agreed.pair, "change")).text
    assert "· owner Linus · “Fraud alerts” · until" in page
    assert "data-folded>" in page
    fields = fields_of(client, agreed.pair, "change", is_unfolded=is_unfolded)
    fields |= {"connection_types": ["logs"], "confirmation": "Group SOC"}
    assert client.post(NEW, fields).status_code == 303
    done = AccessRequest.objects.get()
    assert (done.outcome, done.ends_on) == ("changed", None)
    newest = find_agreements([agreed.pair])[agreed.pair]
    assert terms_of(newest) == terms_of(agreed)
    assert "owner Linus · “Fraud alerts”" in client.get(f"/access-requests/{done.pk}/").text


def test_what_is_changed_in_the_unfolded_part_is_named(
    agreed: Agreement, ada: Person, client_of: Callable[[Person], Client], clock: SettableClock
):
    client, later = client_of(ada), clock.at.date() + timedelta(days=70)
    fields = fields_of(client, agreed.pair, "change", is_unfolded=True)
    fields |= {"connection_types": ["logs"], "ends_on": f"{later}", "confirmation": "x"}
    refused = client.post(NEW, fields)
    assert (refused.status_code, "data-folded open>" in refused.text) == (422, True)
    assert client.post(NEW, fields | {"confirmation": "Group SOC"}).status_code == 303
    done = AccessRequest.objects.get()
    assert (done.ends_on, done.as_agreed) == (later, ["owner", "purpose", "ticket"])
    newest = find_agreements([agreed.pair])[agreed.pair]
    assert terms_of(newest) == (*terms_of(agreed)[:3], later)


def test_the_unfolded_part_stays_open_at_an_error_in_it(
    agreed: Agreement, ada: Person, client_of: Callable[[Person], Client]
):
    agree(agreed.pair, actor=person_actor(person=ada), owner_text="", ends_on=None)
    client = client_of(ada)
    fields = fields_of(client, agreed.pair, "change", is_unfolded=True)
    fields |= {"connection_types": ["logs"], "ends_in": "date", "ends_on": "31/12/2099"}
    refused = client.post(NEW, fields)
    assert (refused.status_code, "data-folded open>" in refused.text) == (422, True)
    assert 'value="31/12/2099"' in refused.text


def test_an_owner_with_an_account_and_a_text_stays_without_javascript(
    agreed: Agreement, ada: Person, client_of: Callable[[Person], Client]
):
    agree(agreed.pair, actor=person_actor(person=ada), owner_text="SOC team")
    client = client_of(ada)
    fields = fields_of(client, agreed.pair, "change", is_unfolded=True)
    fields |= {"connection_types": ["logs"], "confirmation": "Group SOC"}
    assert client.post(NEW, fields).status_code == 303
    newest = find_agreements([agreed.pair])[agreed.pair]
    assert (newest.owner, newest.owner_text) == (agreed.owner, "SOC team")
