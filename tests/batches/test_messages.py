"""A bulk deletion sends one message for each of its steps, and none about single rows."""

from collections import Counter

import pytest
from pytest_django import Settings

from connections.access.actor import WORKER
from connections.batches import running
from connections.models import ApprovalPolicy, Notification, Person
from connections.notifications import messages
from sandbox import faults
from sandbox.server import SandboxServer
from tests.batches.conftest import MakeDraft
from tests.batches.support import approve, execute, request
from tests.support.clock import SettableClock

pytestmark = pytest.mark.django_db


def test_there_is_one_message_for_each_step_and_none_for_a_row(
    ada: Person,
    linus: Person,
    barbara: Person,
    make_draft: MakeDraft,
    clock: SettableClock,
    settings: Settings,
):
    settings.HAS_MAIL = True
    batch = request(make_draft(3, policy=ApprovalPolicy.TWO), ada)
    execute(approve(approve(batch, linus), barbara), ada)
    clock.advance(seconds=1)
    running.run_due(actor=WORKER)
    sent = Notification.objects.filter(code__regex="^(batch|deletion)")
    assert Counter(sent.values_list("code", "person__username")) == {
        ("batch.requested", "linus"): 1,
        ("batch.requested", "barbara"): 1,
        # About the last missing approval, which Barbara gave.
        ("batch.approved", "ada"): 1,
        ("batch.approved", "linus"): 1,
        **{("batch.finished", name): 1 for name in ("ada", "linus", "barbara")},
    }
    message = messages.build_message(sent.filter(code="batch.requested")[0])
    assert message.subject == "Org Admin: Approval needed: 3 connections"
    assert message.path == f"/deletions/batches/{batch.pk}/"


def test_an_unknown_outcome_of_a_row_still_causes_a_notification(
    ada: Person, make_draft: MakeDraft, sandbox: SandboxServer, settings: Settings
):
    settings.HAS_MAIL = True
    request(make_draft(1), ada)
    sandbox.world.set_fault(fault=faults.RETURNS_500)
    running.run_due(actor=WORKER)
    assert Notification.objects.filter(code="deletion.unknown", person=ada).exists()
