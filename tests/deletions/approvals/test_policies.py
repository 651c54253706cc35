"""Whether there are enough approvers for a policy: shown once it is set."""

from collections.abc import Callable

import pytest
from django.core.checks import INFO, WARNING, CheckMessage
from django.test import Client

from connections.models import ApprovalPolicy, Credential, Person, Role
from connections.operations import checks
from sandbox.entities import Connection
from tests.flows.support import Requester, read
from tests.support.key_rings import stored_credential
from tests.support.people import make_person

pytestmark = pytest.mark.django_db

ClientOf = Callable[[Person], Client]


def test_after_it_is_set_everyone_who_sees_the_credential_is_warned(
    guarded: Credential, victor: Person, client_of: ClientOf
):
    page = read(client_of(victor).get(f"/credentials/{guarded.pk}/"))
    assert "0 active approvers, but 1 approval" in page.text


def test_doctor_reports_the_same(guarded: Credential, linus: Person, barbara: Person):
    def found() -> list[CheckMessage]:
        return [check for check in checks.run_all_checks() if check.obj == "approval policy"]

    assert [message.level for message in found()] == [INFO]
    Person.objects.filter(pk=barbara.pk).update(is_active=False)
    [warning, ok] = found()
    assert warning.level == WARNING
    assert warning.msg.startswith("Payments US: 1 active approver.")
    assert ok.level == INFO


def test_doctor_names_only_the_first_credentials_without_approval(guarded: Credential):
    for number in range(6):
        stored_credential(f"Partner {number}")
    Credential.objects.update(policy=ApprovalPolicy.NONE)
    [warning] = [check for check in checks.run_all_checks() if check.obj == "approval policy"]
    assert (warning.msg.count(","), warning.msg.endswith(" and 2 more")) == (4, True)


def test_the_confirmation_page_warns_that_no_one_else_could_approve(
    guarded: Credential, root: Person, wanted: Connection, client_of: ClientOf
):
    requester = Requester(client=client_of(root), credential=guarded, connection=wanted)
    warning = "No one else can approve this request. It would expire after 24 hours."
    text = requester.confirmation_page().text
    assert warning in text
    assert "Another person must approve. Requesting sends nothing." in text
    make_person("linus", Role.APPROVER)
    assert warning not in requester.confirmation_page().text
