"""The pages of bulk deletions: plan, request, approval and the pages that link to them."""

import json
import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from connections.access.actor import WORKER, person_actor
from connections.batches import decisions, drafts, endings, running, stopping
from connections.change_requests import lifecycle
from connections.core.text import format_time
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    AuditEvent,
    Batch,
    BatchOrigin,
    BatchState,
    Credential,
    CredentialAccess,
    Deletion,
    OrgPair,
    Person,
    Role,
)
from connections.operations import heartbeats
from sandbox import faults
from sandbox.server import SandboxServer
from tests.agreements.support import agree, pair_between
from tests.batches.conftest import MakeDraft
from tests.batches.support import (
    REASON,
    add_connections,
    approve,
    draft,
    key_of,
    request,
    sync_now,
)
from tests.flows.support import HTMX, read, store_credential
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.support.sandbox import connection_between

pytestmark = pytest.mark.django_db

LIST = "/deletions/batches/"


def url_of(batch: Batch, act: str = "detail") -> str:
    return reverse(f"batch-{act}", args=[batch.pk])


def the_batch() -> Batch:
    return Batch.objects.get()


def form_for(client: Client, batch: Batch, act: str) -> Any:
    """The form of the page that posts to this action."""
    page = read(client.get(url_of(batch)))
    return next(form for form in page.forms if form.action == url_of(batch, act))


# --- Planning ---


def test_selected_connections_become_a_draft(
    operator: Client, payments: Credential, sandbox: SandboxServer
):
    keys = add_connections(sandbox, 2)
    sync_now(payments)
    response = operator.post(LIST, {"connection": [*keys, "sandbox-us1/nonsense"]})
    batch = the_batch()
    assert (response.status_code, response["Location"]) == (303, url_of(batch))
    page = operator.get(url_of(batch)).text
    assert 'id="batch" data-state="draft"' in page
    assert set(re.findall(r'data-connection="([^"]+)"', page)) == {*keys, "sandbox-us1/nonsense"}
    assert "1 can't be deleted and is left out" in read(operator.get(url_of(batch))).text
    assert 'data-confirm="2"' in page


@pytest.mark.database
def test_a_filter_takes_everything_that_matches(
    operator: Client, payments: Credential, sandbox: SandboxServer
):
    add_connections(sandbox, 2)
    sync_now(payments)
    operator.post(LIST, {"filter": "destination=partner&q="})
    assert the_batch().origin == BatchOrigin.FILTER
    assert [row.sink_org_name for row in the_batch().rows.all()] == ["Partner 0", "Partner 1"]


def test_an_org_is_confirmed_by_its_name_and_warned_of_without_a_credential(
    operator: Client, payments: Credential
):
    soc = payments.snapshots.filter(sink_org_name="Group SOC").get()
    operator.post(LIST, {"org": f"{soc.site}/{soc.sink_org_id}"})
    assert (the_batch().org_name, the_batch().rows.count()) == ("Group SOC", 2)
    page = read(operator.get(url_of(the_batch())))
    assert 'data-confirm="Group SOC"' in page.html
    known = "Only its connections with an org that has a credential are known. Others might remain."
    assert f"Group SOC has no credential: {known}" in page.text


def test_several_orgs_are_planned_together_and_confirmed_by_the_number(
    operator: Client, payments: Credential, sandbox: SandboxServer
):
    add_connections(sandbox, 3)
    sync_now(payments)
    partners = payments.snapshots.filter(sink_org_name__in=["Partner 0", "Partner 2"])
    orgs = [f"{each.site}/{each.sink_org_id}" for each in partners]
    operator.post(LIST, {"org": orgs})
    rows = the_batch().rows.order_by("sink_org_name")
    assert [row.sink_org_name for row in rows] == ["Partner 0", "Partner 2"]
    assert 'data-confirm="2"' in read(operator.get(url_of(the_batch()))).html


def test_a_thousand_connections_are_accepted_here_and_nowhere_else(
    operator: Client, payments: Credential
):
    fields = {"connection": [f"sandbox-us1/{number}" for number in range(1000)]}
    assert operator.post(LIST, fields).status_code == 303
    assert the_batch().rows.count() == 1000
    assert operator.post("/connections/refresh/", fields).status_code == 400


@pytest.mark.parametrize("wrong", ["protected=maybe", f"q={'x' * 201}", "tpye=audit"])
def test_a_filter_that_is_not_valid_plans_nothing(
    operator: Client, payments: Credential, wrong: str
):
    response = operator.post(LIST, {"filter": f"sort=-source&page=2&{wrong}"})
    name = wrong.partition("=")[0]
    assert response.status_code == 422
    assert f"These filters aren't valid: {name}." in read(response).text
    assert not Batch.objects.exists()


# --- Changing and requesting a plan ---


def test_rows_are_removed_and_the_last_one_stays(operator: Client, make_draft: MakeDraft):
    batch = make_draft(2)
    first, second = (row.reference for row in batch.rows.all())
    assert operator.post(url_of(batch, "remove"), {"connection": first}).status_code == 303
    page = operator.get(url_of(batch)).text
    assert (first in page, second in page) == (False, True)
    response = operator.post(url_of(batch, "remove"), {"connection": second})
    assert response.status_code == 422
    assert "A plan needs at least 1 connection. Discard the draft instead." in response.text


def test_the_plan_counts_what_each_owner_answers_for(
    operator: Client, ada: Person, linus: Person, make_draft: MakeDraft
):
    batch = make_draft(3)
    for row, owner in zip(batch.rows.all(), [linus, linus], strict=False):
        pair = OrgPair(row.site, row.source_org_id, row.sink_org_id)
        agree(pair, actor=person_actor(person=ada), owner=owner, owner_text="")
    plan = operator.get(url_of(batch)).context["plan"]
    [owners] = [total for total in plan.totals if total.label == "Owners"]
    assert owners.largest == [("Linus", 2), ("No one", 1)]


@pytest.mark.parametrize("act", ["remove", "credential"])
def test_changing_rows_needs_a_selection(
    operator: Client, payments: Credential, make_draft: MakeDraft, act: str
):
    response = operator.post(url_of(make_draft(2), act), {"credential": payments.pk})
    assert response.status_code == 422
    assert "Select at least 1 connection." in response.text


def test_a_split_links_the_new_drafts(
    operator: Client, payments: Credential, sandbox: SandboxServer, ada: Person
):
    store_credential(sandbox, "Labs EU")
    pairs = [("Payments US", "Group SOC"), ("Labs EU", "Data Lake EU")]
    batch = draft(ada, [key_of(connection_between(sandbox.world, *pair)) for pair in pairs])
    page = read(operator.post(url_of(batch, "split"), follow=True))
    new = Batch.objects.exclude(pk=batch.pk).get()
    assert f'<a href="{url_of(new)}">1 connection with Labs EU</a>' in page.html


def test_the_form_confirms_the_plan_that_the_page_shows(operator: Client, make_draft: MakeDraft):
    batch = make_draft(3)
    form = form_for(operator, batch, "request")
    typed = form.fields | {"reason": REASON, "confirmation": form.attributes["data-confirm"]}
    response = operator.post(form.action, typed)
    assert (response.status_code, response["Location"]) == (303, url_of(batch))
    assert the_batch().state == BatchState.RUNNING
    page = operator.get(url_of(batch)).text
    assert 'id="batch" data-state="running"' in page
    assert page.count('data-state="waiting"') == 3


def test_a_wrong_confirmation_sends_nothing_and_keeps_the_input(
    operator: Client, make_draft: MakeDraft
):
    batch = make_draft(3)
    typed = form_for(operator, batch, "request").fields | {
        "reason": REASON,
        "ticket": "OPS-1",
        "stop_at_first_problem": "on",
        "confirmation": "4",
    }
    response = operator.post(url_of(batch, "request"), typed)
    assert response.status_code == 422
    assert "Type 3." in response.text
    [form] = [form for form in read(response).forms if form.action == url_of(batch, "request")]
    assert {name: form.fields[name] for name in ("reason", "ticket", "confirmation")} == {
        "reason": REASON,
        "ticket": "OPS-1",
        "confirmation": "4",
    }
    assert "stop_at_first_problem" in form.fields
    assert not Deletion.objects.exists()


def test_a_plan_that_changed_since_the_page_is_not_requested(
    operator: Client, make_draft: MakeDraft
):
    batch = make_draft(2)
    form = form_for(operator, batch, "request")
    operator.post(url_of(batch, "remove"), {"connection": batch.rows.all()[0].reference})
    typed = {"reason": REASON, "confirmation": "1"}
    response = operator.post(form.action, form.fields | typed)
    assert response.status_code == 409
    assert "The plan has changed since you opened this page." in read(response).text
    assert not Deletion.objects.exists()
    [shown] = [one for one in read(response).forms if one.action == form.action]
    assert shown.fields["reason"] == REASON
    assert operator.post(form.action, shown.fields | {"confirmation": "1"}).status_code == 303


def test_another_operator_sees_a_draft_and_cannot_change_it(
    grace: Person, make_draft: MakeDraft, client_of: Any
):
    batch = make_draft(2)
    other = client_of(grace)
    page = other.get(url_of(batch)).text
    assert "data-connection" in page
    assert url_of(batch, "request") not in page
    assert other.post(url_of(batch, "remove"), {}).status_code == 403
    assert other.post(url_of(batch, "credential"), {"credential": "nonsense"}).status_code == 403


def test_a_plan_without_enough_approvers_says_so(operator: Client, make_draft: MakeDraft):
    batch = make_draft(2, policy=ApprovalPolicy.ONE)
    text = read(operator.get(url_of(batch))).text
    assert (
        "All 2 need approval: every connection of Payments US needs 1, whichever credential" in text
    )
    assert "No one else can approve this request." in text


def test_a_plan_says_what_needs_approval_and_splits_it_off(
    operator: Client, ada: Person, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    Credential.objects.filter(pk=soc.pk).update(policy=ApprovalPolicy.ONE)
    shared = key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))
    other = add_connections(sandbox, 1)
    sync_now(payments)
    batch = draft(ada, [shared, *other])
    page = read(operator.get(url_of(batch)))
    assert "1 of 2 needs approval: every connection of Group SOC needs 1, whichever" in page.text
    assert "Request approval for all" in page.text
    assert "Split off that 1" in page.text
    page = read(operator.post(url_of(batch, "split"), {"by": "approval"}, follow=True))
    new = Batch.objects.exclude(pk=batch.pk).get()
    assert (Batch.objects.get(pk=batch.pk).needs_approval, new.needs_approval) == (False, True)
    assert [row.reference for row in new.rows.all()] == [shared]
    assert "Delete 1 connection?" in page.text
    assert f'<a href="{url_of(new)}">1 connection with Payments US</a>' in page.html


def test_a_credential_that_is_hidden_is_not_named_as_the_one_that_requires_approval(
    operator: Client, ada: Person, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    Credential.objects.filter(pk=soc.pk).update(policy=ApprovalPolicy.TWO)
    other = make_person("other")
    CredentialAccess.objects.create(credential=soc, kind=AccessKind.SEE, person=other)
    batch = draft(ada, [key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))])
    text = read(operator.get(url_of(batch))).text
    assert "It needs approval: every connection of another org needs 2, whichever" in text


def test_a_draft_says_what_became_of_its_connections_and_deletes_the_rest(
    operator: Client, ada: Person, make_draft: MakeDraft, payments: Credential
):
    batch = make_draft(3)
    keys = [row.reference for row in batch.rows.all()]
    other = request(draft(ada, keys[:2]), ada, ticket="OPS-1")
    page = read(operator.get(url_of(batch)))
    assert "2 can't be deleted and are left out: 2 with an open deletion" in page.text
    running.run_due(actor=WORKER)
    sync_now(payments)
    page = read(operator.get(url_of(batch)))
    assert "2 were already deleted: By a bulk deletion that Ada requested" in page.text
    assert page.text.count("Already deleted") == 2
    urls = [
        url_of(other),
        *(reverse("deletion-detail", args=[d.pk]) for d in other.deletions.all()),
    ]
    assert all(f'href="{url}"' in page.html for url in urls)
    # The form that the page holds is for the plan that it shows.
    form = form_for(operator, batch, "request")
    assert form.attributes["data-confirm"] == "1"
    typed = form.fields | {"reason": REASON, "confirmation": "1"}
    assert operator.post(form.action, typed).status_code == 303
    assert batch.deletions.count() == 1


def test_a_draft_says_nothing_of_a_deletion_with_a_hidden_credential(
    operator: Client, grace: Person, ada: Person, payments: Credential, sandbox: SandboxServer
):
    soc = store_credential(sandbox, "Group SOC")
    key = key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))
    batch, other = draft(ada, [key]), draft(grace, [key])
    actor = person_actor(person=grace)
    drafts.change_credential(batch=other, actor=actor, connections=[key], credential=soc)
    request(other, grace)
    CredentialAccess.objects.create(credential=soc, kind=AccessKind.SEE, person=grace)
    running.run_due(actor=WORKER)
    sync_now(payments)
    text = read(operator.get(url_of(batch))).text
    assert "1 can't be deleted and is left out: 1 changed" in text
    assert "lready deleted" not in text


def test_a_draft_with_nothing_to_delete_has_no_form_to_confirm(
    operator: Client, ada: Person, make_draft: MakeDraft
):
    batch = make_draft(2)
    for row in batch.rows.all():
        request(draft(ada, [row.reference]), ada)
    page = read(operator.get(url_of(batch)))
    assert "Nothing to delete" in page.text
    assert not page.has_form_to(url_of(batch, "request"))
    assert page.has_form_to(url_of(batch, "cancel"))


def test_a_row_that_was_left_out_stays_left_out_and_can_be_planned_again(
    operator: Client, ada: Person, make_draft: MakeDraft
):
    keys = [row.reference for row in make_draft(2).rows.all()]
    other = request(draft(ada, keys[:1]), ada)
    batch = draft(ada, keys)
    assert "Delete 1 connection?" in operator.get(url_of(batch)).text
    stopping.cancel_batch(batch=other, actor=person_actor(person=ada))
    text = operator.get(url_of(batch)).text
    assert "Delete 1 connection?" in text
    assert "1 of those left out can be deleted now" in text
    again = operator.post(LIST, {"connection": keys})["Location"]
    assert again != url_of(batch)
    assert "Delete 2 connections?" in operator.get(again).text


def test_another_person_sees_a_draft_as_its_author_can_delete_it(
    grace: Person, ada: Person, make_draft: MakeDraft, payments: Credential, client_of: Any
):
    batch = make_draft(1)
    CredentialAccess.objects.create(credential=payments, kind=AccessKind.USE, person=ada)
    assert "Delete 1 connection?" in client_of(grace).get(url_of(batch)).text


def test_a_draft_stays_as_it_is_while_a_sync_fails(
    operator: Client, make_draft: MakeDraft, payments: Credential, sandbox: SandboxServer
):
    batch = make_draft(1)
    sandbox.world.set_fault(fault=faults.RETURNS_503, method="GET")
    sync_now(payments)
    assert "Delete 1 connection?" in operator.get(url_of(batch)).text


def test_the_same_plan_is_drafted_once_for_each_person(
    operator: Client, grace: Person, payments: Credential, client_of: Any, clock: SettableClock
):
    org = {"org": f"{payments.site}/{payments.org_id}"}
    first, again, other = (
        client.post(LIST, org)["Location"] for client in (operator, operator, client_of(grace))
    )
    assert first == again != other
    clock.advance(hours=25)
    sync_now(payments)
    assert operator.post(LIST, org)["Location"] not in {first, other}


# --- Approval ---


def test_a_second_tab_is_told_that_what_it_posted_was_not_used(
    operator: Client, ada: Person, linus: Person, make_draft: MakeDraft
):
    batch = make_draft(2, policy=ApprovalPolicy.ONE)
    form = form_for(operator, batch, "request")
    not_used = "what you just entered wasn't used"
    for reason, is_told in ((REASON, False), (REASON, False), ("Another reason", True)):
        response = operator.post(form.action, form.fields | {"reason": reason}, follow=True)
        assert response.redirect_chain == [(url_of(batch), 303)]
        assert (not_used in read(response).text) == is_told
    approve(the_batch(), linus)
    for is_told in (False, True):
        response = operator.post(url_of(batch, "execute"), {"confirmation": "2"}, follow=True)
        assert (not_used in read(response).text) == is_told
    assert (the_batch().reason, the_batch().state) == (REASON, BatchState.RUNNING)


def test_another_person_approves_what_the_page_shows_and_the_requester_confirms(
    operator: Client, approver: Client, ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(2, policy=ApprovalPolicy.ONE), ada)
    assert url_of(batch, "approve") not in operator.get(url_of(batch)).text
    form = form_for(approver, batch, "approve")
    assert approver.post(form.action, form.fields | {"digest": "0"}).status_code == 409
    assert approver.post(form.action, form.fields).status_code == 303
    assert the_batch().state == BatchState.APPROVED
    assert url_of(batch, "execute") not in approver.get(url_of(batch)).text
    assert "Ada must confirm by" in read(approver.get(url_of(batch))).text
    assert "You must confirm by" in read(operator.get(url_of(batch))).text
    form = form_for(operator, batch, "execute")
    assert operator.post(form.action, {"confirmation": "3"}).status_code == 422
    confirmation = form.attributes["data-confirm"]
    assert operator.post(form.action, {"confirmation": confirmation}).status_code == 303
    assert the_batch().state == BatchState.RUNNING


def test_a_withdrawn_row_hides_no_approval_of_the_others(
    operator: Client,
    approver: Client,
    ada: Person,
    linus: Person,
    barbara: Person,
    make_draft: MakeDraft,
):
    batch = request(make_draft(3, policy=ApprovalPolicy.TWO), ada)
    withdrawn = batch.deletions.order_by("pk")[0]
    lifecycle.withdraw(change_request=withdrawn, actor=person_actor(person=ada))
    page = read(approver.get(url_of(batch)))
    assert "Approve 2 connections" in page.text
    assert "Waiting for 2 approvals" in page.text
    # Counted at the top and marked in its row.
    assert page.text.count("Withdrawn") == 2
    approve(batch, linus)
    page = read(approver.get(url_of(batch)))
    assert "Waiting for 1 more approval" in page.text
    assert url_of(batch, "approve") not in page.html
    approve(batch, barbara)
    page = read(operator.get(url_of(batch)))
    assert page.text.count("Approved by") == 2
    assert "Delete 2 connections" in page.text
    assert "Delete 3 connections" not in page.text


@pytest.mark.parametrize("is_approved", [False, True])
def test_an_expired_request_says_so_everywhere_and_can_only_be_canceled_while_no_worker_runs(
    is_approved: bool,
    operator: Client,
    approver: Client,
    make_draft: MakeDraft,
    ada: Person,
    linus: Person,
    clock: SettableClock,
):
    batch = request(make_draft(2, policy=ApprovalPolicy.ONE), ada)
    if is_approved:
        batch = approve(batch, linus)
    ended = f"Expired at {format_time(batch.expires_at)}. Nothing was sent."
    clock.advance(hours=24, seconds=1)
    for client in (operator, approver):
        page = read(client.get(url_of(batch)))
        assert ended in page.text
        assert "Once it is canceled, its connections can be planned again." in page.text
        acts = {form.action for form in page.forms if form.action.startswith(url_of(batch))}
        assert acts == {url_of(batch, "cancel")}
        assert "Expired" in read(client.get(LIST)).html.partition("<tbody>")[2]
        overview = client.get("/").text
        assert "Nothing for you to do." in overview
        assert "Expired" in overview.partition("Waiting on others")[2]
        assert 'id="count-deletion-list"></span>' in overview
    operator.post(url_of(batch, "cancel"))
    assert "Plan all 2 again" in operator.get(url_of(batch)).text


def test_declining_needs_a_reason_and_ends_it(approver: Client, ada: Person, make_draft: MakeDraft):
    batch = request(make_draft(2, policy=ApprovalPolicy.ONE), ada)
    response = approver.post(url_of(batch, "decline"), {"reason": " "})
    assert (response.status_code, "Enter a reason for declining." in response.text) == (422, True)
    approver.post(url_of(batch, "decline"), {"reason": "Still in use"})
    page = read(approver.get(url_of(batch)))
    assert 'data-state="declined"' in page.html
    assert page.html.count('data-outcome="declined"') == 2
    assert "0 of 2 deleted Declined" in page.text
    assert "Declined by Linus. Nothing was sent. Reason: Still in use" in page.text
    # Nothing repeats it in each row, and no bar looks like progress.
    assert page.text.count("Declined") == 2
    assert "run-bar" not in page.html


def test_an_approver_sees_what_was_decided_earlier_about_these_connections(
    approver: Client, ada: Person, linus: Person, make_draft: MakeDraft, clock: SettableClock
):
    first = request(make_draft(1, policy=ApprovalPolicy.ONE), ada)
    decisions.decline_batch(batch=first, actor=person_actor(person=linus), reason="Still in use")
    again = draft(ada, [first.rows.get().reference])
    assert "Earlier decisions" not in read(approver.get(url_of(first))).text
    clock.advance(seconds=1)
    page = read(approver.get(url_of(request(again, ada))))
    assert "Deletion: Declined Payments US → Partner 0 Linus: Still in use" in page.text
    assert reverse("deletion-detail", args=[first.deletions.get().pk]) in page.html


def test_earlier_decisions_with_a_hidden_credential_are_not_shown(
    approver: Client,
    ada: Person,
    linus: Person,
    payments: Credential,
    sandbox: SandboxServer,
    clock: SettableClock,
):
    soc = store_credential(sandbox, "Group SOC")
    Credential.objects.update(policy=ApprovalPolicy.ONE)
    key = key_of(connection_between(sandbox.world, "Payments US", "Group SOC"))
    batch = draft(ada, [key])
    drafts.change_credential(
        batch=batch, actor=person_actor(person=ada), connections=[key], credential=soc
    )
    request(batch, ada)
    decisions.decline_batch(batch=batch, actor=person_actor(person=linus), reason="Still in use")
    clock.advance(seconds=1)
    again = request(draft(ada, [key]), ada)
    assert again.deletions.get().credential == payments
    assert "Still in use" in approver.get(url_of(again)).text
    CredentialAccess.objects.create(credential=soc, kind=AccessKind.SEE, person=ada)
    assert "Still in use" not in approver.get(url_of(again)).text


def test_an_open_page_shows_the_approval_and_lets_the_requester_confirm(
    operator: Client, ada: Person, linus: Person, make_draft: MakeDraft
):
    batch = request(make_draft(2, policy=ApprovalPolicy.ONE), ada)
    watch = read(operator.get(url_of(batch))).watch["hx-get"]
    approve(batch, linus)
    news = read(operator.get(watch, headers=HTMX | {"HX-Target": "batch"}))
    assert url_of(batch, "execute") in {form.action for form in news.forms}


@pytest.mark.parametrize("is_manager", [True, False])
def test_after_an_org_is_removed_its_credential_can_be_retired(
    ada: Person, payments: Credential, client_of: Any, is_manager: bool
):
    operator = client_of(ada)
    operator.post(LIST, {"org": f"{payments.site}/{payments.org_id}"})
    request(the_batch(), ada)
    running.run_due(actor=WORKER)
    reader = client_of(make_person("carol", Role.CREDENTIAL_MANAGER)) if is_manager else operator
    page = read(reader.get(url_of(the_batch())))
    assert "All connections of Payments US in this plan are gone." in page.text
    assert (reverse("credential-retire", args=[payments.pk]) in page.html) == is_manager


def test_a_row_is_decided_on_the_page_of_its_bulk_deletion(
    operator: Client, approver: Client, ada: Person, linus: Person, make_draft: MakeDraft
):
    batch = request(make_draft(1, policy=ApprovalPolicy.ONE), ada)
    pk = Deletion.objects.get().pk
    url = reverse("deletion-detail", args=[pk])
    page = approver.get(url).text
    assert url_of(batch) in page
    assert reverse("deletion-approve", args=[pk]) not in page
    assert reverse("deletion-decline", args=[pk]) not in page
    assert url_of(batch) in operator.get("/deletions/").text
    approve(batch, linus)
    assert reverse("deletion-execute", args=[pk]) not in operator.get(url).text


def test_a_bulk_deletion_waits_for_an_approver_as_one(
    approver: Client, ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(3, policy=ApprovalPolicy.ONE), ada)
    page = approver.get("/").text
    assert page.count("Needs approval</span>") == 1
    assert "Bulk deletion · Requested by Ada" in page
    assert f'<a class="button button-small" href="{url_of(batch)}">Decide…' in page
    assert 'class="nav-count is-waiting" id="count-deletion-list">1<' in page


# --- Progress ---


def test_a_poll_replaces_the_page_only_when_there_is_news(
    operator: Client, ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(2), ada)
    watch = read(operator.get(url_of(batch))).watch["hx-get"]
    headers = HTMX | {"HX-Target": "batch"}
    assert operator.get(watch, headers=headers).status_code == 204
    Deletion.objects.filter(batch=batch).update(epoch=1)
    Deletion.objects.filter(pk=Deletion.objects.all()[0].pk).update(
        state="unknown", sending_at=batch.created_at
    )
    news = operator.get(watch, headers=headers)
    assert news["HX-Reselect"] == "#batch"
    assert "1 of 2" in read(news).text
    shown = operator.get(f"{url_of(batch)}?show=unknown").text
    assert shown.count("data-connection") == 1


def send_without_verifying() -> None:
    running.send_due(actor=WORKER)
    endings.end_due(actor=WORKER)


def test_polling_ends_once_every_result_is_verified(
    operator: Client, ada: Person, make_draft: MakeDraft, clock: SettableClock
):
    batch = request(make_draft(2), ada)
    send_without_verifying()
    page = read(operator.get(url_of(batch)))
    assert 'data-state="finished"' in page.html
    assert "hx-get" in page.watch
    for _ in range(3):
        clock.advance(minutes=2)
        running.run_due(actor=WORKER)
    assert not Deletion.objects.filter(verified_at=None).exists()
    page = read(operator.get(url_of(batch)))
    assert "2 of 2 deleted Finished" in page.text
    assert page.text.count("200 OK in") == 2
    assert not page.watch


def test_an_export_has_the_deletions_of_one_bulk_deletion(
    operator: Client, edith: Person, ada: Person, make_draft: MakeDraft, client_of: Any
):
    batch, _ = request(make_draft(2), ada), request(make_draft(1), ada)
    exported = operator.get(url_of(batch, "export"), {"format": "json"})
    rows = json.loads(exported.getvalue())
    assert [row["batch"] for row in rows] == [str(batch.pk)] * 2
    bundle_url = f"/evidence/bundle/?batch={batch.pk}"
    auditor = client_of(edith)
    assert bundle_url in auditor.get(url_of(batch)).text
    assert f'value="{batch.pk}"' in auditor.get(bundle_url).text


def test_a_running_bulk_deletion_without_a_worker_says_so(
    operator: Client, ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(1), ada)
    assert "Nothing is sent until a worker runs." in read(operator.get(url_of(batch))).text


def test_an_open_page_notices_that_its_worker_died(
    operator: Client, ada: Person, make_draft: MakeDraft, clock: SettableClock
):
    heartbeats.record_heartbeat(name="first", host="localhost", process_id=1)
    batch = request(make_draft(1), ada)
    page = read(operator.get(url_of(batch)))
    assert "No worker is running" not in page.text
    clock.advance(minutes=10)
    news = operator.get(page.watch["hx-get"], headers=HTMX | {"HX-Target": "batch"})
    assert "No worker is running" in read(news).text


def test_an_open_page_stops_polling_when_no_check_comes(
    operator: Client, ada: Person, make_draft: MakeDraft, clock: SettableClock
):
    batch = request(make_draft(1), ada)
    send_without_verifying()
    watch = read(operator.get(url_of(batch))).watch["hx-get"]
    clock.advance(hours=1)
    news = operator.get(watch, headers=HTMX | {"HX-Target": "batch"})
    assert (news.status_code, read(news).watch) == (200, {})


def test_a_canceled_bulk_deletion_says_what_is_still_in_progress(
    operator: Client, ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(2), ada)
    first = batch.deletions.all()[0].pk
    Deletion.objects.filter(pk=first).update(state="sending", epoch=1, due_at=batch.confirmed_at)
    operator.post(url_of(batch, "cancel"))
    text = read(operator.get(url_of(batch))).text
    assert "1 in progress can't be stopped." in text
    assert "Nothing more is sent." not in text


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_row_of_a_paused_bulk_deletion_waits_until_it_is_resumed(
    operator: Client, ada: Person, make_draft: MakeDraft, sandbox: SandboxServer, method: str
):
    batch = request(make_draft(3), ada)
    fault = faults.RETURNS_503 if method == "GET" else faults.rate_limited(reset="7")
    sandbox.world.set_fault(fault=fault, method=method)
    running.run_due(actor=WORKER)
    Batch.objects.update(state=BatchState.PAUSED, paused_at=batch.confirmed_at)
    row = batch.deletions.exclude(cause="")[0]
    text = read(operator.get(reverse("deletion-detail", args=[row.pk]))).text
    assert "Waits until the bulk deletion is resumed." in text
    assert "Retries at" not in text


def test_a_hidden_bulk_deletion_does_not_show_through_its_visible_row(
    ada: Person, grace: Person, payments: Credential, sandbox: SandboxServer, client_of: Any
):
    labs = store_credential(sandbox, "Labs EU")
    pairs = [("Payments US", "Group SOC"), ("Labs EU", "Data Lake EU")]
    keys = [key_of(connection_between(sandbox.world, *pair)) for pair in pairs]
    batch = request(draft(ada, keys), ada)
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.SEE, person=ada)
    row = batch.deletions.get(credential=payments)
    other = client_of(grace)
    assert other.get(url_of(batch)).status_code == 404
    org = reverse("org-detail", args=[row.site, row.source_org_id])
    for url in (reverse("deletion-detail", args=[row.pk]), "/deletions/", org):
        page = other.get(url).text
        assert str(row.pk) in page
        assert str(batch.pk) not in page
    exported = json.loads(other.get("/deletions/export/?format=json").getvalue())
    assert [each["batch"] for each in exported] == [None]
    # A filter by it finds nothing, as for an unknown one.
    assert str(row.pk) not in other.get(f"/deletions/?batch={batch.pk}").text
    filtered = other.get(f"/deletions/export/?format=json&batch={batch.pk}")
    assert json.loads(filtered.getvalue()) == []


def test_an_owner_learns_of_their_part_of_a_bulk_deletion_with_hidden_connections(
    ada: Person, grace: Person, payments: Credential, sandbox: SandboxServer, client_of: Any
):
    labs = store_credential(sandbox, "Labs EU", policy=ApprovalPolicy.ONE)
    pairs = [("Payments US", "Group SOC"), ("Labs EU", "Data Lake EU")]
    keys = [key_of(connection_between(sandbox.world, *pair)) for pair in pairs]
    agree(pair_between(sandbox, *pairs[0]), actor=WORKER, owner=grace, owner_text="")
    batch = request(draft(ada, keys), ada)
    row = batch.deletions.get(credential=payments)

    def about_it() -> list[tuple[str, bool]]:
        items = client_of(grace).get("/").context["others"]
        return [(item.url, item.note.startswith("You answer for this access.")) for item in items]

    assert (url_of(batch), False) in about_it()
    CredentialAccess.objects.create(credential=labs, kind=AccessKind.SEE, person=ada)
    url = reverse("deletion-detail", args=[row.pk])
    assert about_it() == [(url, True)]
    stopping.cancel_batch(batch=batch, actor=person_actor(person=ada))
    assert about_it() == []


def test_a_timeline_tells_what_happened_and_links_to_the_events_for_an_auditor(
    operator: Client, ada: Person, make_draft: MakeDraft, client_of: Any
):
    batch = request(make_draft(2), ada)
    actor = person_actor(person=ada)
    stopping.pause_batch(batch=batch, actor=actor)
    stopping.resume_batch(batch=batch, actor=actor)
    running.run_due(actor=WORKER)
    text = read(operator.get(url_of(batch))).text
    words = ["requested", "confirmed", "paused", "resumed", "finished"]
    places = [text.find(f"Bulk deletion {each}") for each in words]
    assert -1 not in places
    assert places == sorted(places)
    auditor = client_of(make_person("frances", Role.AUDITOR))
    events = AuditEvent.objects.filter(subject_id=str(batch.pk))
    for seq in events.values_list("seq", flat=True):
        link = reverse("audit-detail", args=[seq])
        assert link in auditor.get(url_of(batch)).text
        assert link not in operator.get(url_of(batch)).text


@pytest.mark.parametrize(("refused", "tone"), [(0, "ok"), (1, "warn")])
def test_the_status_warns_when_a_connection_is_not_gone(
    operator: Client,
    ada: Person,
    make_draft: MakeDraft,
    sandbox: SandboxServer,
    refused: int,
    tone: str,
):
    batch = request(make_draft(2), ada)
    if refused:
        sandbox.world.set_fault(fault=faults.RETURNS_403, times=refused)
    running.run_due(actor=WORKER)
    assert f'<span class="badge tone-{tone} badge-tint">' in operator.get(url_of(batch)).text
    assert f'<span class="badge tone-{tone}"' in operator.get(LIST).text


def test_what_was_not_deleted_comes_first_and_can_be_planned_again(
    operator: Client, ada: Person, make_draft: MakeDraft, sandbox: SandboxServer
):
    batch = request(make_draft(3), ada)
    first = batch.rows.all()[0]
    sandbox.world.set_fault(fault=faults.RETURNS_403, connection_id=str(first.connection_id))
    running.run_due(actor=WORKER)
    Deletion.objects.filter(outcome="refused").update(settled_at=batch.created_at)
    page = read(operator.get(url_of(batch)))
    assert re.findall(r'data-outcome="(\w+)"', page.html) == ["refused", "deleted", "deleted"]
    assert "Plan 1 failed connection again" in page.text


def test_a_running_bulk_deletion_with_nothing_left_to_send_can_not_be_stopped(
    operator: Client, ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(1), ada)
    assert "Stop (1 not sent)" in operator.get(url_of(batch)).text
    batch.deletions.update(state="sending", epoch=1)
    forms = read(operator.get(url_of(batch))).forms
    assert not [form for form in forms if form.action.startswith(url_of(batch))]


def test_the_list_tells_bulk_deletions_apart(
    operator: Client, payments: Credential, sandbox: SandboxServer
):
    keys = add_connections(sandbox, 2)
    sync_now(payments)
    for selected in (keys[:1], keys):
        operator.post(LIST, {"connection": selected})
    text = read(operator.get(LIST)).text
    assert "Payments US → Partner 0 and 1 more 0 of 2" in text
    assert "Payments US → Partner 0 0 of 1" in text


def test_a_finished_bulk_deletion_says_no_effect_instead_of_open(
    operator: Client, ada: Person, make_draft: MakeDraft
):
    batch = request(make_draft(3), ada)
    first = batch.deletions.order_by("batch_row__position")[0].pk
    Deletion.objects.filter(pk=first).update(state="still_present", epoch=1, due_at=None)
    assert 'id="page-title">Delete 3 connections<' in operator.get(url_of(batch)).text
    running.run_due(actor=WORKER)
    page = read(operator.get(url_of(batch)))
    assert 'id="page-title">Bulk deletion of 3 connections<' in page.html
    assert "2 of 3 deleted Finished" in page.text
    assert "Deleted 2 No effect 1" in page.text
    assert "Open 1" not in page.text


@pytest.mark.parametrize("order", ["", "&sort=requested"])
def test_the_history_has_one_row_with_the_ticket_for_a_bulk_deletion(
    operator: Client, ada: Person, payments: Credential, sandbox: SandboxServer, order: str
):
    keys = add_connections(sandbox, 3)
    sync_now(payments)
    batch = request(draft(ada, keys), ada, ticket="OPS-41")
    page = operator.get(f"/deletions/?status=open{order}").text
    assert page.count("OPS-41</td>") == 1
    assert f'<a href="{url_of(batch)}">3 connections</a>' in page
    assert "3 deletions" in page
    assert operator.get(f"/deletions/?batch={batch.pk}").text.count("OPS-41</td>") == 3
