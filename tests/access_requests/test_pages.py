"""The pages of access requests: requesting, deciding, confirming, and what each person sees."""

import json
import re
import shlex
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils.html import escape
from pytest_django import Settings

from connections.access.actor import WORKER, person_actor
from connections.access_requests import ending
from connections.access_requests.texts import kind_button, kind_title
from connections.change_requests import verification
from connections.inventory import syncs
from connections.models import (
    AccessOutcome,
    AccessRequest,
    AccessState,
    Agreement,
    ApprovalPolicy,
    Credential,
    Deletion,
    OrgPair,
    Person,
    RequestKind,
)
from connections.web.framework.addresses import access_request_url
from sandbox import faults
from sandbox.server import SandboxServer
from tests.access_requests.conftest import RequestAccess
from tests.access_reviews.support import start
from tests.agreements.support import agree
from tests.flows.support import store_credential
from tests.support.clock import SettableClock
from tests.support.deletions import request_deletion
from tests.support.people import let_proof_age
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db
NEW = "/access-requests/new/"

type ClientOf = Callable[[Person], Client]


def page_of(pair: OrgPair, kind: str = "create") -> dict[str, str]:
    return {
        "kind": kind,
        "source": f"{pair.site}/{pair.source_org_id}",
        "destination": f"{pair.site}/{pair.sink_org_id}",
    }


def fill_in(client: Client, pair: OrgPair, kind: str = "create", **changed: Any) -> dict[str, Any]:
    """The form as the page has it, filled in; its digest is that of a first, unchanged page."""
    form = client.get(NEW, page_of(pair, kind)).context
    hidden = {name: form["form"][name].value() for name in ("request_id", "credential")}
    return (
        page_of(pair, kind)
        | hidden
        | {
            "digest": form["digest"],
            "connection_types": ["logs"],
            "owner_text": "SOC team",
            "purpose": "incident response",
            "ends_on": "",
            "reason": "quarterly report",
        }
        | changed
    )


def test_without_javascript_a_preview_shows_what_was_typed_and_one_submit_creates_it(
    ada: Person, free_pair: OrgPair, sandbox: SandboxServer, client_of: ClientOf
):
    client = client_of(ada)
    fields = fill_in(client, free_pair, ends_on="2099-01-31")
    preview = client.post(NEW, fields | {"preview": "1"})
    assert (preview.status_code, "<h1" in preview.text) == (200, True)
    assert (
        preview.context["changes"].sentence
        == "Group SOC gets access to Payments US's logs until 31 Jan 2099."
    )
    # Enter submits, because that button is the first.
    assert preview.text.index("Create connection<") < preview.text.index('name="preview"')
    assert not AccessRequest.objects.exists()
    wrong = client.post(NEW, fields | {"confirmation": "x"})
    assert (wrong.status_code, AccessRequest.objects.count()) == (422, 0)
    assert "Type Group SOC." in wrong.text
    fields |= {"confirmation": "group soc"}
    done = client.post(NEW, fields)
    access_request = AccessRequest.objects.get()
    assert done["Location"] == f"/access-requests/{access_request.pk}/"
    assert access_request.outcome == AccessOutcome.CREATED
    assert connection_between(sandbox.world, "Payments US", "Group SOC").connection_types == (
        "logs",
    )
    # The same form again shows the same request.
    assert client.post(NEW, fields)["Location"] == done["Location"]
    page = client.get(done["Location"]).text
    assert 'data-state="settled" data-outcome="created"' in page
    assert "201" in page or "200" in page


def test_fields_that_change_say_at_once_what_they_mean(
    ada: Person, free_pair: OrgPair, sandbox: SandboxServer, client_of: ClientOf
):
    client = client_of(ada)
    fields = fill_in(client, free_pair, preview="1", confirmation="Group SOC")
    htmx = {"HX-Request": "true"}
    response = client.post(NEW, fields, headers=htmx)
    assert "Group SOC gets access to Payments US&#x27;s logs." in response.text
    assert 'hx-swap-oob="true"' in response.text
    assert not AccessRequest.objects.exists()
    response = client.post(NEW, fields | {"connection_types": ["it's", "logs"]}, headers=htmx)
    *start, option, body = shlex.split(response.context["curl"].replace("\\\n", ""))
    assert start[:4] == [
        "curl",
        "-X",
        "POST",
        f"{sandbox.base_urls[free_pair.site]}/api/v2/org_connections",
    ]
    assert (option, json.loads(body)["data"]["attributes"]) == (
        "-d",
        {"connection_types": ["it's", "logs"]},
    )


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"connection_types": []}, "Choose at least 1 data type."),
        ({"connection_types": ["logs", ""]}, "Choose data types from the list."),
        ({"connection_types": ["logs", " ", "\u3164"]}, "Choose data types from the list."),
        ({"connection_types": [f"type-{n}" for n in range(21)]}, "Choose at most 20 data types."),
        ({"owner_text": ""}, "Choose an owner"),
        ({"owner_text": "\u200b\u202e"}, "Choose an owner"),
        ({"purpose": " "}, "Enter a purpose."),
        ({"ends_on": "2001-01-01"}, "Choose today or a later date."),
        ({"ends_on": "soon"}, "Enter a date"),
        # Access without an end is never given by mistake.
        ({"ends_in": "date", "ends_on": ""}, "Enter the last day, or choose “No end”."),
        ({"ends_in": "date", "ends_on": "2027-02-31"}, "Enter a date"),
        ({"request_id": ""}, "This page is out of date."),
        ({"credential": "garbage"}, "This page is out of date."),
    ],
)
def test_invalid_input_is_said_at_its_field_and_nothing_is_requested(
    ada: Person, free_pair: OrgPair, client_of: ClientOf, changed: dict[str, Any], said: str
):
    client = client_of(ada)
    fields = fill_in(client, free_pair, **changed)
    response = client.post(NEW, fields)
    assert (response.status_code, said in response.text) == (422, True), response.text
    assert not AccessRequest.objects.exists()


def test_the_agreed_owner_stays_for_a_new_connection(
    ada: Person, free_pair: OrgPair, client_of: ClientOf
):
    agree(free_pair, actor=person_actor(person=ada), connection_types=["logs"])
    client = client_of(ada)
    fields = fill_in(client, free_pair, confirmation="Group SOC")
    # With JavaScript, the folded owner isn't sent.
    del fields["owner_text"]
    folded = [
        client.get(NEW, page_of(free_pair)),
        client.post(NEW, fields | {"preview": "1"}),
        client.post(NEW, fields | {"preview": "1", "owner_text": "SOC team"}),
        client.post(NEW, fields | {"preview": "1", "owner_text": "iOS team"}),
    ]
    assert [page.context["is_unfolded"] for page in folded] == [False, False, False, True]
    assert client.post(NEW, fields).status_code == 303
    assert AccessRequest.objects.get().owner_text == "SOC team"


def test_a_new_connection_needs_another_owner_if_the_agreed_one_has_left(
    ada: Person, linus: Person, free_pair: OrgPair, client_of: ClientOf
):
    actor = person_actor(person=ada)
    agree(free_pair, actor=actor, owner=linus, owner_text="", connection_types=["logs"])
    Person.objects.filter(pk=linus.pk).update(is_active=False)
    client = client_of(ada)
    fields = fill_in(client, free_pair, confirmation="Group SOC")
    del fields["owner_text"]
    refused = client.post(NEW, fields)
    assert "The account of Linus is disabled. Choose someone else." in refused.text
    assert (refused.context["is_unfolded"], AccessRequest.objects.count()) == (True, 0)


def test_the_block_shows_owner_and_purpose_as_they_are_written(
    ada: Person, free_pair: OrgPair, client_of: ClientOf
):
    client = client_of(ada)
    written = {"owner_text": "iOS team", "purpose": "eBPF probes", "confirmation": "Group SOC"}
    done = client.post(NEW, fill_in(client, free_pair, **written))
    cells = re.findall(r'<td class="changes-after"><span>(.*?)<', client.get(done["Location"]).text)
    assert {"iOS team", "eBPF probes"} <= {*cells}


@pytest.mark.parametrize("query", ["", "?needs=you"])
def test_each_part_of_the_list_leads_to_a_new_request(
    victor: Person, client_of: ClientOf, query: str
):
    assert f'href="{NEW}"' in client_of(victor).get(f"/access-requests/{query}").text


def test_title_and_button_name_the_kind():
    assert [(kind_title(kind), kind_button(kind)) for kind in RequestKind] == [
        ("Create", "Create connection"),
        ("Change data types of", "Change data types"),
        ("Extend", "Extend access"),
        ("Restore", "Restore connection"),
        ("Move", "Move connection"),
    ]


def test_a_change_needs_a_reason(ada: Person, listed_pair: OrgPair, client_of: ClientOf):
    client = client_of(ada)
    refused = client.post(NEW, fill_in(client, listed_pair, "change", reason=""))
    assert (refused.status_code, "Enter a reason" in refused.text) == (422, True)


def test_who_asks_for_a_connection_answers_for_it_and_its_purpose_is_the_reason(
    victor: Person, free_pair: OrgPair, client_of: ClientOf
):
    client = client_of(victor)
    page = client.get(NEW, page_of(free_pair)).text
    assert "You answer for it and are reminded before it ends." in page
    assert 'name="reason"' not in page
    fields = fill_in(client, free_pair, purpose="Find out why sign-ins fail")
    # With JavaScript, the folded owner isn't sent.
    del fields["owner_text"], fields["reason"]
    assert client.post(NEW, fields).status_code == 303
    made = AccessRequest.objects.get()
    assert (made.owner, made.reason, made.purpose) == (victor, made.purpose, fields["purpose"])


@pytest.mark.parametrize(
    ("ends_in", "expected"),
    [("1m", (2, 28)), ("3m", (4, 30)), ("1y", (1, 31)), ("none", None), ("date", (6, 1))],
)
def test_the_end_is_chosen_in_months_as_a_date_or_not_at_all(
    victor: Person,
    free_pair: OrgPair,
    client_of: ClientOf,
    clock: SettableClock,
    ends_in: str,
    expected: tuple[int, int] | None,
):
    clock.at = clock.at.replace(year=2030, month=1, day=31)
    client = client_of(victor)
    fields = fill_in(client, free_pair, ends_in=ends_in, ends_on="2030-06-01")
    assert client.post(NEW, fields).status_code == 303
    ends_on = AccessRequest.objects.get().ends_on
    assert (ends_on and (ends_on.month, ends_on.day)) == expected


def test_only_ends_that_can_be_requested_are_offered(
    ada: Person, free_pair: OrgPair, client_of: ClientOf, settings: Settings
):
    settings.ACCESS_MAX_DAYS = 60
    form = client_of(ada).get(NEW, page_of(free_pair)).context["form"]
    assert [value for value, _ in form.fields["ends_in"].choices] == ["1m", "date"]
    assert form.initial["ends_in"] == "date"


@pytest.mark.parametrize(
    "query",
    [
        {"kind": "grant"},
        {"source": "x"},
        {"destination": "sandbox-us1/nowhere"},
        {"deletion": "7"},
    ],
)
def test_an_address_that_names_nothing_is_not_found(
    ada: Person, free_pair: OrgPair, client_of: ClientOf, query: dict[str, str]
):
    assert client_of(ada).get(NEW, page_of(free_pair) | query).status_code == 404


def test_without_two_orgs_of_a_site_the_page_asks_for_them(
    ada: Person, free_pair: OrgPair, client_of: ClientOf
):
    client, orgs = client_of(ada), page_of(free_pair)
    assert "Whose data" in client.get(NEW).text
    for destination in (orgs["source"], "datadoghq.eu/other-site"):
        page = client.get(NEW, orgs | {"destination": destination})
        assert page.status_code == 422
        assert page.context["texts"]["source"].startswith("Payments US · ")
        assert "Choose two different orgs of the same site." in page.text


@pytest.mark.parametrize("label", ["payments us", "Payments US · {site}"])
def test_the_two_orgs_are_chosen_by_name(
    ada: Person, free_pair: OrgPair, client_of: ClientOf, label: str
):
    source = label.format(site=free_pair.site)
    client, names = client_of(ada), {"source_name": source, "destination_name": "Group SOC"}
    page = client.get(NEW, names)
    assert page["Location"] == access_request_url(RequestKind.CREATE, free_pair).replace(
        "kind=create&", ""
    )
    wrong = client.get(NEW, names | {"destination_name": "Group"})
    assert (wrong.status_code, "Choose “Group” from the list." in wrong.text) == (422, True)
    assert 'value="Group"' in wrong.text


def test_once_one_org_is_chosen_the_other_is_of_its_site(
    ada: Person, free_pair: OrgPair, sandbox: SandboxServer, client_of: ClientOf
):
    store_credential(sandbox, "Labs EU")
    names = {"source_name": "Payments US", "destination_name": "", "choosing": "1"}
    page = client_of(ada).get(NEW, names)
    labels = [label.split(" · ")[0] for label in page.context["destinations"]]
    assert (page.status_code, "Group SOC" in labels) == (200, True)
    assert not {"Labs EU", "Payments US"} & set(labels)


def test_a_kind_that_doesnt_fit_leads_to_the_one_that_does(
    ada: Person, listed_pair: OrgPair, sandbox: SandboxServer, client_of: ClientOf
):
    def link_of(kind: str) -> str:
        return access_request_url(RequestKind(kind), listed_pair, types=["logs"])

    client, chosen = client_of(ada), {"connection_types": "logs"}
    page = client.get(NEW, page_of(listed_pair, "create") | chosen)
    assert "already connected" in page.text
    assert f'"{escape(link_of("change"))}"' in page.text
    found = connection_between(sandbox.world, "Payments US", "Group SOC")
    sandbox.world.remove_connection(connection_id=found.id)
    syncs.sync_credentials(credentials=list(Credential.objects.all()), actor=WORKER)
    for kind in ("change", "move"):
        page = client.get(NEW, page_of(listed_pair, kind) | chosen)
        assert escape("These orgs aren't connected.") in page.text
        assert f'"{escape(link_of("create"))}"' in page.text


def test_a_credential_that_cant_be_used_is_not_said_to_be_missing(
    ada: Person, free_pair: OrgPair, credential: Credential, client_of: ClientOf
):
    client, page = client_of(ada), page_of(free_pair)
    named = page | {"credential": str(credential.pk)}
    back = page | {"source": page["destination"], "destination": page["source"]}
    for query, problem in (
        (named, ""),
        (back | {"credential": str(credential.pk)}, "Payments US isn't a credential of Group SOC."),
        (back, "You can't use any credential of Group SOC."),
    ):
        assert client.get(NEW, query).context["target"].problem.startswith(problem), query
    Credential.objects.update(retired_at=credential.created_at)
    assert "Payments US is retired." in client.get(NEW, named).context["target"].problem


def test_a_viewer_requests_an_approver_approves_and_an_operator_confirms(
    ada: Person,
    victor: Person,
    linus: Person,
    listed_pair: OrgPair,
    credential: Credential,
    sandbox: SandboxServer,
    client_of: ClientOf,
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    viewer = client_of(victor)
    page = viewer.get(NEW, page_of(listed_pair, "change"))
    assert (page.context["approvers"], "Linus can approve." in page.text) == ("Linus", True)
    assert "curl -X PATCH" in page.text
    fields = fill_in(viewer, listed_pair, "change", connection_types=["audit"])
    url = viewer.post(NEW, fields)["Location"]
    access_request = AccessRequest.objects.get()
    assert access_request.state == AccessState.REQUESTED
    assert viewer.post(f"{url}approve/").status_code == 403
    assert viewer.post(f"{url}execute/", {"confirmation": "Group SOC"}).status_code == 403
    page = client_of(linus).get(url)
    assert "Victor" in page.context["outcome"]["text"].title
    changes = page.context["outcome"]["changes"]
    assert (changes.added, changes.removed) == (["audit"], ["logs", "metrics"])
    approval = {"digest": access_request.approval_digest, "approval_round": 1}
    assert client_of(linus).post(f"{url}approve/", approval).status_code == 303
    assert client_of(linus).post(f"{url}execute/", {"confirmation": "Group SOC"}).status_code == 403
    page = client_of(ada).get(url)
    assert "Create connection" not in page.text
    assert page.context["outcome"]["steps"]["confirm"]
    assert page.context["outcome"]["text"].meaning.startswith("Confirm by ")
    meaning = viewer.get(url).context["outcome"]["text"].meaning
    assert meaning.startswith("An Operator who can use the Payments US credential must confirm by")
    assert client_of(ada).post(f"{url}execute/", {"confirmation": "Group"}).status_code == 422
    assert client_of(ada).post(f"{url}execute/", {"confirmation": "Group SOC"}).status_code == 303
    access_request.refresh_from_db()
    assert access_request.outcome == AccessOutcome.CHANGED


def test_its_requester_withdraws_it_whatever_their_role(
    victor: Person, listed_pair: OrgPair, credential: Credential, client_of: ClientOf
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    viewer = client_of(victor)
    fields = fill_in(viewer, listed_pair, "change", connection_types=["audit"])
    url = viewer.post(NEW, fields)["Location"]
    assert viewer.post(f"{url}withdraw/").status_code == 303
    assert AccessRequest.objects.get().outcome == AccessOutcome.WITHDRAWN


@pytest.mark.parametrize("policy", [ApprovalPolicy.ONE, ApprovalPolicy.NONE])
def test_an_approval_that_is_refused_says_why(
    ada: Person,
    linus: Person,
    credential: Credential,
    change: RequestAccess,
    client_of: ClientOf,
    policy: ApprovalPolicy,
):
    Person.objects.filter(pk=ada.pk).update(is_superuser=True)
    Credential.objects.update(policy=policy)
    access_request = change()
    url = reverse("access-request-detail", args=[access_request.pk])
    approval = {"digest": access_request.approval_digest, "approval_round": 1}
    client = client_of(ada)
    for minutes in (0, 6):
        let_proof_age(client, minutes=minutes)
        own = client.post(f"{url}approve/", approval)
        assert (own.status_code, "You requested this." in own.text) == (403, True)
        assert "change your roles" not in own.text
    if policy == ApprovalPolicy.NONE:
        page = client_of(linus).post(f"{url}approve/", approval)
        said = "This access request isn&#x27;t waiting for approval."
        assert (page.status_code, said in page.text) == (409, True)


def test_a_decline_needs_a_reason_and_ends_it(
    ada: Person, linus: Person, credential: Credential, change: RequestAccess, client_of: ClientOf
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    access_request = change()
    url = reverse("access-request-detail", args=[access_request.pk])
    assert client_of(linus).post(f"{url}decline/").status_code == 422
    assert client_of(linus).post(f"{url}decline/", {"reason": "without audit"}).status_code == 303
    access_request.refresh_from_db()
    assert access_request.outcome == AccessOutcome.DECLINED
    page = client_of(ada).get(url)
    assert "without audit" in page.text
    again = page.context["outcome"]["again_url"]
    assert f'"{escape(again)}"' in page.text
    form = client_of(ada).get(again).context
    assert form["types"] == list(access_request.types_after)
    assert form["form"]["reason"].value() == access_request.reason


def test_the_page_polls_until_nothing_changes(
    ada: Person, credential: Credential, change: RequestAccess, client_of: ClientOf
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    url = reverse("access-request-detail", args=[change().pk])
    client = client_of(ada)
    version = client.get(url).context["outcome"]["version"]
    poll = {"HX-Request": "true", "HX-Target": "outcome"}
    same = client.get(url, {"seen": version}, headers=poll)
    assert same.status_code == 204
    client.post(f"{url}withdraw/")
    changed = client.get(url, {"seen": version}, headers=poll)
    assert changed["HX-Reselect"] == "#outcome"
    assert "Withdrawn" in changed.text


def test_the_list_filters_and_exports(
    ada: Person, change: RequestAccess, listed_pair: OrgPair, client_of: ClientOf
):
    client, pk = client_of(ada), str(change().pk)
    org = f"{listed_pair.site}/{listed_pair.sink_org_id}"
    for found in (
        "",
        "?kind=change",
        "?status=changed",
        f"?site={listed_pair.site}",
        f"?org={org}",
        "?q=quarterly",
    ):
        assert pk in client.get(f"/access-requests/{found}").text, found
    for missed in (
        "?kind=create",
        "?status=requested",
        "?org=x/y",
        "?group=x",
        "?owner=ada",
        "?q=x",
    ):
        assert pk not in client.get(f"/access-requests/{missed}").text, missed
    export = b"".join(client.get("/access-requests/export/?format=json"))
    assert pk.encode() in export
    assert client.get("/access-requests/export/?kind=x").status_code == 400


def test_every_other_page_leads_to_it(
    ada: Person,
    linus: Person,
    listed_pair: OrgPair,
    credential: Credential,
    change: RequestAccess,
    client_of: ClientOf,
):
    operator, approver = client_of(ada), client_of(linus)
    snapshot = credential.snapshots.get(is_current=True, sink_org_id=listed_pair.sink_org_id)
    connection = operator.get(f"/connections/{listed_pair.site}/{snapshot.connection_id}/").text
    assert "Change data types…" in connection
    # Without an end there is nothing to extend.
    assert "Extend…" not in connection
    org = operator.get(f"/orgs/{listed_pair.site}/{listed_pair.source_org_id}/").text
    assert f"{NEW}?source={listed_pair.site}/{listed_pair.source_org_id}" in org
    assert "Access requests" not in operator.get("/").text
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    url = reverse("access-request-detail", args=[change().pk])
    overview = approver.get("/").text
    assert (url in overview, "Decide…" in overview) == (True, True)
    assert 'id="count-access-request-list">1<' in overview
    assert url in operator.get("/search/?q=quarterly").text
    approval = {"digest": AccessRequest.objects.get().approval_digest, "approval_round": 1}
    approver.post(f"{url}approve/", approval)
    assert "Confirm…" in operator.get("/").text
    assert 'id="count-access-request-list">1<' in operator.get("/").text
    assert 'id="count-access-request-list">1<' not in approver.get("/").text


def test_what_it_gave_leads_to_it_until_and_after_its_end(
    ada: Person,
    free_pair: OrgPair,
    credential: Credential,
    client_of: ClientOf,
    clock: SettableClock,
):
    client, ends_on = client_of(ada), clock.now().date() + timedelta(days=2)
    fields = fill_in(client, free_pair, ends_on=f"{ends_on}", confirmation="Group SOC")
    url = client.post(NEW, fields)["Location"]
    access_request = AccessRequest.objects.get()
    clock.advance(seconds=60)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    connection = client.get(f"/connections/{free_pair.site}/{access_request.connection_id}/")
    page = connection.text
    assert ("then Org Admin deletes it" in page, f'"{url}"' in page) == (True, True)
    # One entry says who created it, in place of Datadog's creator and of what the sync found.
    timeline = [(each.badge.label, each.by) for each in connection.context["timeline"].first]
    assert timeline == [("Created, verifying", "requested and confirmed by Ada"), ("Listed", "")]
    for other in ("/changes/", f"/orgs/{free_pair.site}/{free_pair.source_org_id}/"):
        assert f'"{url}"' in client.get(other).text
    clock.advance(seconds=4 * 86400)
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    ending.end_due(actor=WORKER)
    deletion = Deletion.objects.get()
    assert f'"{url}"' in client_of(ada).get(f"/deletions/{deletion.pk}/").text


def test_a_data_type_that_was_not_agreed_can_be_removed_from_every_page_that_says_so(
    ada: Person, root: Person, listed_pair: OrgPair, credential: Credential, client_of: ClientOf
):
    agree(listed_pair, actor=person_actor(person=ada), connection_types=["logs"])
    snapshot = credential.snapshots.get(is_current=True, sink_org_id=listed_pair.sink_org_id)
    review = start(root, scope="q=Group+SOC")
    url = access_request_url(RequestKind.CHANGE, listed_pair, types=["logs"])
    client = client_of(ada)
    for page in (
        f"/connections/{listed_pair.site}/{snapshot.connection_id}/",
        f"/reviews/{review.pk}/",
    ):
        text = client.get(page).text
        assert (escape(url) in text, "Remove metrics…" in text) == (True, True), page
    form = client.get(url).context
    assert (form["types"], form["changes"].removed) == (["logs"], ["metrics"])


def test_the_page_extends_the_end_and_sends_nothing(
    ada: Person, free_pair: OrgPair, sandbox: SandboxServer, client_of: ClientOf
):
    client = client_of(ada)
    created = fill_in(client, free_pair, ends_on="2099-01-31", confirmation="Group SOC")
    client.post(NEW, created)
    syncs.sync_credentials(credentials=list(Credential.objects.all()), actor=WORKER)
    sent = len(sandbox.world.requests(method="PATCH")) + len(sandbox.world.requests(method="POST"))
    fields = fill_in(client, free_pair, "extend", ends_on="9999-12-31", confirmation="Group SOC")
    del fields["connection_types"]
    response = client.post(NEW, fields)
    extension = AccessRequest.objects.get(kind="extend")
    assert response["Location"] == f"/access-requests/{extension.pk}/"
    assert extension.outcome == AccessOutcome.EXTENDED
    assert "Extended to 31 Dec 9999" in client.get(response["Location"]).text
    assert Agreement.objects.latest("version").ends_on == date.max
    # The form opens, although no later end exists.
    form = client.get(NEW, page_of(free_pair, "extend")).context["form"]
    assert form.initial["ends_on"] == date.max
    now = len(sandbox.world.requests(method="PATCH")) + len(sandbox.world.requests(method="POST"))
    assert now == sent


@pytest.mark.parametrize(
    ("ends_on", "said"),
    [
        ("2099-06-30", "Access ends on 30 Jun 2099 instead of 31 Jan 2099."),
        ("", "Access no longer ends."),
    ],
)
def test_an_approver_sees_what_an_extension_changes(
    ada: Person,
    linus: Person,
    listed_pair: OrgPair,
    client_of: ClientOf,
    clock: SettableClock,
    ends_on: str,
    said: str,
):
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    actor, client = person_actor(person=ada), client_of(ada)
    agree(listed_pair, actor=actor, ends_on=date(2099, 1, 31))
    clock.advance(seconds=1)
    fields = fill_in(client, listed_pair, "extend", ends_on=ends_on)
    assert said in client.post(NEW, fields | {"preview": "1"}).text
    url = client.post(NEW, fields)["Location"]
    clock.advance(seconds=1)
    # What is agreed afterwards doesn't change what was requested.
    agree(listed_pair, actor=actor, ends_on=date(2099, 3, 31))
    page = client_of(linus).get(url)
    assert (page.context["outcome"]["can_decide"], said in page.text) == (True, True)


def test_the_page_restores_what_a_deletion_removed(
    ada: Person, credential: Credential, sandbox: SandboxServer, client_of: ClientOf
):
    removed = connection_between(sandbox.world, "Payments US", "Group SOC")
    deletion = request_deletion(
        actor=person_actor(person=ada), credential=credential, connection_id=removed.id
    )
    syncs.sync_credentials(credentials=[credential], actor=WORKER)
    pair = OrgPair(deletion.site, deletion.source_org_id, deletion.sink_org_id)
    client = client_of(ada)
    address = page_of(pair, "restore") | {"deletion": str(deletion.pk)}
    page = client.get(NEW, address)
    assert "Restriction policies aren" in page.text
    fields = fill_in(
        client,
        pair,
        "restore",
        deletion=str(deletion.pk),
        connection_types=["logs", "metrics"],
        confirmation="Group SOC",
    )
    client.post(NEW, fields)
    restored = AccessRequest.objects.get()
    assert (restored.outcome, restored.restored_from) == (AccessOutcome.CREATED, deletion)
    assert connection_between(sandbox.world, "Payments US", "Group SOC").id != removed.id


def test_the_page_of_a_persons_connection_moves_it_to_a_service_account(
    ada: Person,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    client_of: ClientOf,
    clock: SettableClock,
):
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    client, old = client_of(ada), connection_between(sandbox.world, "Payments US", "Group SOC")
    address = f"/connections/{listed_pair.site}/{old.id}/"
    assert "Move to a service account…" in client.get(address).text
    page = client.get(NEW, page_of(listed_pair, "move"))
    for words in ("Access is interrupted for seconds", "Restriction policies", "new ID"):
        assert words in page.text
    for method in ("DELETE", "POST"):
        assert f"curl -X {method}" in page.text
    assert 'name="connection_types"' not in page.text
    fields = fill_in(client, listed_pair, "move")
    del fields["connection_types"]
    sandbox.world.set_fault(fault=faults.RETURNS_403, method="POST")
    url = client.post(NEW, fields | {"confirmation": "Group SOC"})["Location"]
    page = client.get(url)
    assert page.context["outcome"]["badge"].label == "Access interrupted"
    assert "Access has been interrupted since" in page.text
    assert page.context["outcome"]["steps"] == {"confirm": True, "withdraw": True}
    assert "Forbidden" in page.text
    assert "Access interrupted" in client.get("/").text
    again = page.context["outcome"]["again_url"]
    types = ["logs", "metrics"]
    assert again.startswith(access_request_url(RequestKind.CREATE, listed_pair, types=types))
    sandbox.world.clear_faults()
    clock.advance(seconds=2)
    assert client.post(f"{url}execute/", {"confirmation": "Group SOC"}).status_code == 303
    page = client.get(url)
    assert page.context["outcome"]["badge"].label == "Moved, verifying"
    assert "The DELETE returned 200. Attempt 2 returned 403." in page.text
    assert "Sending the DELETE, attempt 1" in page.text
    new = connection_between(sandbox.world, "Payments US", "Group SOC")
    for each in (old, new):
        assert f"/connections/{listed_pair.site}/{each.id}/" in page.text
    syncs.sync_credentials(credentials=list(Credential.objects.all()), actor=WORKER)
    verification.verify(change_request=AccessRequest.objects.get(), actor=WORKER)
    page = client.get(url)
    assert "Moved and verified" in page.text
    who, interrupted, *_ = page.context["outcome"]["text"].facts
    assert who == "from Dana Keller to Org Admin"
    assert interrupted == "interrupted 14:03:23–14:03:25 UTC"
    assert "Moved" in [entry.badge.label for entry in page.context["timeline"]]
    changes = client.get(url).context["outcome"]["changes"]
    assert changes.sentence == "The creator changes from Dana Keller to Org Admin."
    # Its creator is a service account now.
    assert "Move to a service" not in client.get(address.replace(old.id, new.id)).text


def test_a_new_connection_says_its_purpose_once_and_its_data_types_in_order(
    ada: Person, free_pair: OrgPair, client_of: ClientOf
):
    client, types = client_of(ada), ["metrics", "audit", "logs"]
    fields = fill_in(client, free_pair, connection_types=types, confirmation="Group SOC")
    fields["purpose"] = fields["reason"] = "incident response"
    page = client.get(client.post(NEW, fields)["Location"]).text
    assert "<dt>Reason</dt>" not in page
    arrow = page.split('class="org-flow"')[1].split("Destination org")[0]
    assert re.findall(r'class="tag[^"]*">(\w+)', arrow) == ["logs", "metrics", "audit"]


def test_a_move_within_a_second_says_so(
    ada: Person, listed_pair: OrgPair, sandbox: SandboxServer, client_of: ClientOf
):
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    client = client_of(ada)
    fields = fill_in(client, listed_pair, "move", confirmation="Group SOC")
    del fields["connection_types"]
    page = client.get(client.post(NEW, fields)["Location"])
    assert "interrupted at 14:03:23 UTC for less than a second" in page.text


def test_a_move_whose_post_is_unknown_doesnt_say_that_access_is_gone(
    ada: Person, listed_pair: OrgPair, sandbox: SandboxServer, client_of: ClientOf
):
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    client = client_of(ada)
    fields = fill_in(client, listed_pair, "move")
    del fields["connection_types"]
    sandbox.world.set_fault(fault=faults.EXECUTES_THEN_RESET, method="POST")
    url = client.post(NEW, fields | {"confirmation": "Group SOC"})["Location"]
    page = client.get(url)
    meaning = page.context["outcome"]["text"].meaning
    assert meaning.startswith("Access was interrupted at ")
    assert " and might still be. The POST was sent and might have worked." in meaning
    # The timeline says which step it was, and nothing about the result.
    assert page.text.count("Step 2 of 2: create the new connection.") >= 2


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"key_owner_is_service_account": False}, "The keys belong to a person."),
        ({"verification": []}, "lacks org_connections_write"),
    ],
)
def test_keys_that_cant_move_a_connection_are_refused_with_422(
    ada: Person,
    listed_pair: OrgPair,
    sandbox: SandboxServer,
    client_of: ClientOf,
    values: dict[str, Any],
    said: str,
):
    client = client_of(ada)
    Credential.objects.update(verification=[{"check": "permissions", "ok": True}])
    fields = fill_in(client, listed_pair, "move") | {"confirmation": "Group SOC"}
    Credential.objects.update(**values)
    response = client.post(NEW, fields)
    assert (response.status_code, said in response.text) == (422, True)
    assert not AccessRequest.objects.exists()
