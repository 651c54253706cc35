"""Objects hidden by access lists are not found on any page, and requests for them are recorded."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from html import unescape
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

import pytest
from django.core.cache import cache
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import DjangoAssertNumQueries

from connections import audit
from connections.access.actor import WORKER, person_actor
from connections.access.approvers import people_who_can_approve
from connections.credentials import access_lists
from connections.inventory import contradictions, protections, syncs
from connections.models import (
    AccessKind,
    AccessRequest,
    AccessReview,
    AccessReviewDecision,
    ApprovalPolicy,
    AuditEvent,
    Batch,
    Change,
    Credential,
    Deletion,
    Org,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    Protection,
    RequestKind,
    Role,
)
from connections.notification_queue.outbox import Audience, people_to_notify
from sandbox.faults import rate_limited
from sandbox.server import SandboxServer
from tests.access_reviews.support import start as start_access_review
from tests.agreements.support import agree, pair_between
from tests.batches.support import draft, key_of
from tests.credentials.support import fields_of
from tests.flows.support import REASON, Requester, read, store_credential
from tests.support.access_requests import request_for
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.support.reach_addresses import OF_MANY, OF_ONE
from tests.support.sandbox import connection_between, key_pair_of, org_named
from tests.support.undo import undone

pytestmark = pytest.mark.django_db

# Every role except those that see everything.
LIMITED = (Role.OPERATOR, Role.APPROVER, Role.CREDENTIAL_MANAGER, Role.VIEWER)
SECRET = "Labs EU"


@dataclass(frozen=True, kw_only=True)
class Data:
    """Two credentials; Grace sees only `own`."""

    own: Credential
    hidden: Credential
    deletion: Deletion
    connection_id: UUID
    change: Change
    access_request: AccessRequest
    batch: Batch
    review: AccessReview

    def kwargs(self, name: str) -> dict[str, Any]:
        """The URL arguments of the hidden object for the URL with this name."""
        if name.startswith("org-connection"):
            return {"site": self.hidden.site, "connection_id": self.connection_id}
        if name.startswith("org-"):
            return {"site": self.hidden.site, "org_id": self.hidden.org_id}
        if name.startswith("change"):
            return {"pk": self.change.pk}
        if name.startswith("batch"):
            return {"pk": self.batch.pk}
        if name.startswith("access-request"):
            return {"pk": self.access_request.pk}
        if name.startswith("access-review"):
            return {"pk": self.review.pk}
        if name.startswith("problem"):
            return {"kind": "failed", "pk": self.deletion.pk}
        return {"pk": self.deletion.pk if name.startswith("deletion") else self.hidden.pk}

    def absent(self, name: str) -> dict[str, Any]:
        """The URL arguments of an object that doesn't exist."""
        field = list(self.kwargs(name))[-1]
        return self.kwargs(name) | {field: uuid4()}


def allow(credential: Credential, root: Person, **wanted: list[str]) -> None:
    """Set the access lists of a credential; those not given become empty."""
    access_lists.change_access(
        actor=person_actor(person=root),
        credential=credential,
        wanted={kind: wanted.get(kind.value, []) for kind in AccessKind},
    )


@pytest.fixture
def grace(db: None) -> Person:
    """A person with every role except Auditor, and with the break-glass permission."""
    grace = make_person("grace", *LIMITED)
    grace.has_break_glass = True
    grace.save(update_fields=["has_break_glass"])
    return grace


@pytest.fixture
def data(
    clock: SettableClock,
    ada: Person,
    root: Person,
    sandbox: SandboxServer,
    client_of: Callable[[Person], Client],
) -> Data:
    own = store_credential(sandbox, "Payments US")
    hidden = store_credential(sandbox, SECRET, policy=ApprovalPolicy.ONE)
    connection = connection_between(sandbox.world, SECRET, "Data Lake EU")
    sandbox.world.set_fault(fault=rate_limited(), connection_id=connection.id)
    Requester(client=client_of(ada), credential=hidden, connection=connection).delete()
    sandbox.world.add_connection(
        source_org=org_named(sandbox.world, "Data Lake EU"),
        sink_org=org_named(sandbox.world, SECRET),
        connection_types=("audit",),
    )
    third = sandbox.world.add_connection(
        source_org=connection.source_org,
        sink_org=sandbox.world.add_org(name="Third", site=connection.source_org.site),
    )
    syncs.sync_credentials(credentials=[hidden], actor=WORKER)
    access_request = request_for(
        actor=person_actor(person=ada),
        pair=OrgPair(hidden.site, third.source_org.id, third.sink_org.id),
        kind=RequestKind.CHANGE,
        wanted={"types": ["audit"], "owner_text": f"{SECRET} team", "purpose": "audit"},
    )
    back = connection_between(sandbox.world, "Data Lake EU", SECRET)
    for source, sink in ((SECRET, "Data Lake EU"), ("Data Lake EU", SECRET)):
        agree(
            pair_between(sandbox, source, sink),
            actor=person_actor(person=root),
            owner_text=f"{SECRET} team",
            purpose=f"{SECRET} needs it",
        )
    batch = draft(ada, [key_of(back)])
    review = start_access_review(root, scope=urlencode({"q": SECRET}))
    allow(hidden, root, see=[f"person:{ada.pk}"])
    deletion = Deletion.objects.get()
    now = timezone.now()
    Org.objects.get_or_create(
        site=hidden.site,
        org_id=hidden.org_id,
        defaults={"name": SECRET, "first_seen_at": now, "established_at": now},
    )
    Org.objects.filter(org_id=hidden.org_id).update(group=f"{SECRET} group")
    return Data(
        own=own,
        hidden=hidden,
        deletion=deletion,
        connection_id=deletion.connection_id,
        change=Change.objects.latest("number"),
        access_request=access_request,
        batch=batch,
        review=review,
    )


def test_a_hidden_object_is_not_found_and_the_request_is_recorded(
    data: Data, grace: Person, client_of: Callable[[Person], Client], subtests: pytest.Subtests
):
    client = client_of(grace)
    events = AuditEvent.objects.filter(code="access.refused")
    for name, method in [(name, method) for name, methods in OF_ONE.items() for method in methods]:
        with subtests.test(name=name, method=method), undone():
            cache.clear()  # A refusal at the same address is recorded once a minute.
            hidden = client.generic(method, reverse(name, kwargs=data.kwargs(name)))
            assert hidden.status_code == 404
            assert [event.actor_id for event in events.all()] == [grace.pk]
            absent = client.generic(method, reverse(name, kwargs=data.absent(name)))
            assert absent.status_code == 404
            assert without_tokens(hidden.content) == without_tokens(absent.content)


def without_tokens(body: bytes) -> str:
    """The page without what differs between requests: tokens and the requested address."""
    return re.sub(r"[A-Za-z0-9]{64}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "…", body.decode())


@pytest.mark.database
def test_no_list_page_shows_hidden_objects(
    data: Data, grace: Person, client_of: Callable[[Person], Client], subtests: pytest.Subtests
):
    client = client_of(grace)
    for name, query in [(name, query) for name, queries in OF_MANY.items() for query in queries]:
        with subtests.test(name=name, query=query), undone():
            assert_shows_nothing_hidden(client, data, name=name, query=query)


def assert_shows_nothing_hidden(client: Client, data: Data, *, name: str, query: str) -> None:
    """Open a list; neither its rows nor its filters name the hidden objects."""
    requested = query.format(
        word=SECRET,
        site=data.hidden.site,
        credential=data.hidden.pk,
        own=data.own.pk,
        connection=data.connection_id,
    )
    response = client.get(reverse(name) + requested, follow=True)
    text = response.getvalue().decode()
    # The filters can repeat what the person requested.
    page_text = text.replace(requested.removeprefix("?"), "")
    secrets = [
        str(data.deletion.pk),
        str(data.access_request.pk),
        data.hidden.fingerprint,
        str(data.hidden.pk),
    ]
    if "{connection}" not in query:
        secrets.append(str(data.connection_id))
    if "{word}" not in query:
        secrets.append(SECRET)
    if "{credential}" in query:
        secrets.remove(str(data.hidden.pk))
    assert response.status_code == 200
    assert [secret for secret in secrets if secret in page_text] == []


def test_a_request_for_an_org_that_the_person_does_not_know_is_hidden(
    data: Data, grace: Person, root: Person, client_of: Callable[[Person], Client]
):
    # No credential that they can see makes its destination known.
    known, unknown = (
        AccessRequest.objects.create(
            **{field: getattr(data.access_request, field) for field in COPIED},
            site=data.own.site,
            credential=data.own,
            request_id=uuid4(),
            source_org_id=data.own.org_id,
            sink_org_id=sink,
        )
        for sink in (org_id_of("Group SOC"), str(uuid4()))
    )
    client = client_of(grace)
    statuses = [client.get(f"/access-requests/{each.pk}/").status_code for each in (known, unknown)]
    assert statuses == [200, 404]
    page = client.get("/access-requests/").text
    assert [str(each.pk) in page for each in (known, unknown)] == [True, False]
    # Nor is she named as an approver, or notified of it.
    for each, others in ((known, {grace, root}), (unknown, {root})):
        assert set(people_who_can_approve(change_request=each)) == others
        assert (grace in people_to_notify([Audience.APPROVERS], subject=each)) == (grace in others)


COPIED = (
    *("kind", "credential_name", "credential_fingerprint", "digest", "reason", "policy"),
    *("approval_digest", "requested_at", "requested_by", "requested_by_name", "types_after"),
    *("owner_text", "purpose", "search_text", "expires_at"),
)


def org_id_of(name: str) -> str:
    return Org.objects.filter(name=name).latest("pk").org_id


def test_a_limited_person_sees_the_visible_objects(
    data: Data, grace: Person, client_of: Callable[[Person], Client]
):
    client = client_of(grace)
    assert "Payments US" in read(client.get("/orgs/")).text
    assert "Payments US to Group SOC" in read(client.get("/connections/")).html
    assert client.get(f"/credentials/{data.own.pk}/").status_code == 200


@pytest.mark.parametrize("who", ["ada", "edith", "root"])
def test_listed_people_auditors_and_administrators_see_a_hidden_credential(
    data: Data, request: pytest.FixtureRequest, client_of: Callable[[Person], Client], who: str
):
    client = client_of(request.getfixturevalue(who))
    for name in (
        "credential-detail",
        "org-connection-detail",
        "deletion-detail",
        "access-request-detail",
    ):
        assert client.get(reverse(name, kwargs=data.kwargs(name))).status_code == 200


def test_a_role_on_the_list_admits_everyone_who_has_it(
    data: Data, root: Person, victor: Person, client_of: Callable[[Person], Client]
):
    url = reverse("credential-detail", kwargs={"pk": data.hidden.pk})
    assert client_of(victor).get(url).status_code == 404
    allow(data.hidden, root, see=["role:Viewer"])
    assert client_of(victor).get(url).status_code == 200


def test_repeated_refusals_are_recorded_once_a_minute(
    data: Data, grace: Person, client_of: Callable[[Person], Client]
):
    client = client_of(grace)
    for _ in range(5):
        client.get(reverse("credential-detail", kwargs={"pk": data.hidden.pk}))
        client.get(reverse("deletion-detail", kwargs={"pk": data.deletion.pk}))
    assert AuditEvent.objects.filter(code="access.refused").count() == 2
    cache.clear()
    client.get(reverse("credential-detail", kwargs={"pk": data.hidden.pk}))
    assert AuditEvent.objects.filter(code="access.refused").count() == 3


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_review_with_a_hidden_credential_is_not_found(
    data: Data, grace: Person, client_of: Callable[[Person], Client], method: str
):
    client = client_of(grace)
    requested = {"credential": str(data.hidden.pk), "connection_id": str(data.connection_id)}
    send = client.get if method == "GET" else client.post
    absent = send("/deletions/new/", requested | {"credential": str(uuid4())})
    assert send("/deletions/new/", requested).status_code == absent.status_code == 404
    assert AuditEvent.objects.filter(code="access.refused").exists()


@pytest.mark.database
def test_an_access_review_by_owners_shows_an_owner_nothing_that_is_hidden(
    data: Data,
    ada: Person,
    grace: Person,
    root: Person,
    sandbox: SandboxServer,
    client_of: Callable[[Person], Client],
):
    review = start_access_review(root, by_owners=True)
    pair = pair_between(sandbox, SECRET, "Data Lake EU")
    agree(pair, actor=person_actor(person=root), owner=grace, owner_text="", purpose="Theirs")
    client, url = client_of(grace), reverse("access-review-detail", args=[review.pk])
    hidden = review.rows.get(connection_id=data.connection_id)
    opened = urlencode({"select": f"row-{hidden.position}", "decision": "keep"})
    for path in (url, f"{url}?show=yours", f"{url}?{opened}", "/reviews/", "/"):
        page = client.get(path).text
        assert [text for text in (SECRET, str(data.connection_id), "Theirs") if text in page] == []
    fields = {"decision": "keep", "reason": REASON}
    mine = {"owner": "grace", "purpose": "Mine"}
    refused = [
        client.post(f"{url}decide/", fields | mine | {"connection": f"{data.hidden.site}/{pk}"})
        for pk in (data.connection_id, uuid4())
    ]
    assert [response.status_code for response in refused] == [422, 422]
    hidden_text, absent_text = (without_tokens(response.content) for response in refused)
    assert hidden_text == absent_text
    # The owner can't see it, so that everyone who can decides.
    client_of(ada).post(f"{url}decide/", fields | {"connection": hidden.key.reference})
    assert AccessReviewDecision.objects.get().row == hidden


def test_the_reason_of_a_hidden_deletion_is_not_prefilled(
    data: Data, grace: Person, client_of: Callable[[Person], Client]
):
    requested = {
        "credential": str(data.own.pk),
        "connection_id": str(uuid4()),
        "again": str(data.deletion.pk),
    }
    assert REASON not in read(client_of(grace).get("/deletions/new/", requested)).html


@pytest.mark.database
def test_a_connection_with_a_hidden_open_deletion_is_not_requested(
    grace: Person,
    root: Person,
    ada: Person,
    sandbox: SandboxServer,
    client_of: Callable[[Person], Client],
):
    soc = store_credential(sandbox, "Group SOC")
    payments = store_credential(sandbox, "Payments US")
    connection = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.set_fault(fault=rate_limited(), connection_id=connection.id)
    Requester(client=client_of(ada), credential=soc, connection=connection).delete()
    allow(soc, root, see=[f"person:{ada.pk}"])
    requester = Requester(client=client_of(grace), credential=payments, connection=connection)
    page = read(requester.client.post("/deletions/new/", requester.typed()))
    assert page.status == 409
    assert "Nothing was sent" in page.text
    assert "Ada" not in page.text
    assert Deletion.objects.count() == 1


def test_a_sync_reads_only_visible_credentials(
    data: Data, grace: Person, client_of: Callable[[Person], Client]
):
    before = data.hidden.syncs.count()
    client_of(grace).post("/connections/refresh/")
    assert data.hidden.syncs.count() == before


def test_protecting_does_not_reveal_whether_a_connection_exists(
    data: Data, grace: Person, ada: Person, client_of: Callable[[Person], Client]
):
    """The response is the same for hidden, unknown, protected and deletion-pending connections."""
    client = client_of(grace)

    def attempt(connection_id: UUID) -> tuple[int, str]:
        typed = {
            "site": data.hidden.site,
            "connection_id": str(connection_id),
            "reason": "It must stay.",
        }
        response = client.post("/connections/protect/", typed)
        return response.status_code, without_tokens(response.content)

    hidden, unused = attempt(data.connection_id), attempt(uuid4())
    assert hidden == unused
    assert hidden[0] == 404
    assert "No connection with this ID is visible to you." in hidden[1]
    assert AuditEvent.objects.filter(code="access.refused").count() == 2
    key = OrgConnectionKey(site=data.hidden.site, connection_id=data.connection_id)
    protections.protect_connection(actor=person_actor(person=ada), key=key, reason="It must stay.")
    assert attempt(data.connection_id) == unused
    assert Protection.objects.count() == 1


def test_limited_people_protect_what_they_see_and_others_any_id(
    data: Data, grace: Person, ada: Person, client_of: Callable[[Person], Client]
):
    seen = OrgConnectionSnapshot.objects.filter(credential=data.own).latest("pk")
    for person, connection_id in ((grace, seen.connection_id), (ada, uuid4())):
        typed = {
            "site": data.own.site,
            "connection_id": str(connection_id),
            "reason": "It must stay.",
        }
        response = client_of(person).post("/connections/protect/", typed)
        assert response.status_code == 303
    assert Protection.objects.count() == 2


def test_totals_are_only_for_people_who_see_everything(
    data: Data, grace: Person, ada: Person, client_of: Callable[[Person], Client]
):
    assert client_of(grace).get("/metrics").status_code == 403
    assert client_of(ada).get("/metrics").status_code == 200


def test_without_access_lists_visibility_costs_one_query(
    grace: Person, django_assert_max_num_queries: DjangoAssertNumQueries
):
    with django_assert_max_num_queries(3):
        assert Person.objects.get(pk=grace.pk).visibility.hidden == frozenset()


def test_a_refusal_is_in_the_audit_log_and_not_on_the_pages_of_its_subject(
    data: Data, grace: Person, ada: Person, client_of: Callable[[Person], Client]
):
    for name in ("org-connection-detail", "deletion-detail"):
        assert client_of(grace).get(reverse(name, kwargs=data.kwargs(name))).status_code == 404
    assert AuditEvent.objects.filter(code="access.refused").count() == 2
    for name in ("org-connection-detail", "deletion-detail"):
        page = read(client_of(ada).get(reverse(name, kwargs=data.kwargs(name))))
        assert "out of their reach" not in page.text


def test_no_refusal_contains_the_name_of_a_hidden_credential(
    data: Data, grace: Person, sandbox: SandboxServer, client_of: Callable[[Person], Client]
):
    typed = fields_of(key_pair_of(sandbox.world, SECRET), site=data.hidden.site)
    taken = client_of(grace).post("/credentials/new/", typed | {"name": SECRET.upper()})
    assert taken.status_code == 422
    assert SECRET not in taken.content.decode()
    again = client_of(grace).post("/credentials/new/", typed | {"name": "Mine"})
    assert again.status_code == 422
    assert "in a credential you can't see" in unescape(again.content.decode())
    assert SECRET not in again.content.decode()


def test_which_credential_still_lists_it_is_shown_only_to_people_who_see_it(
    data: Data, grace: Person, edith: Person, root: Person, client_of: Callable[[Person], Client]
):
    allow(data.hidden, root, see=[f"person:{grace.pk}"])
    allow(data.own, root, see=[f"person:{edith.pk}"])
    settled = Deletion.objects.filter(pk=data.deletion.pk)
    settled.update(
        state="settled", outcome="already_absent", settled_at=timezone.now(), due_at=None
    )
    with audit.atomic():
        contradictions.flag_contradiction(
            deletion=settled.get(), at=timezone.now(), listed_by="Payments US", actor=WORKER
        )
    url = reverse("deletion-detail", args=[data.deletion.pk])
    assert "Listed by another credential" in read(client_of(grace).get(url)).text
    assert "Payments US" not in read(client_of(grace).get(url)).text
    assert "Listed by Payments US" in read(client_of(edith).get(url)).text
