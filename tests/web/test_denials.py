"""Requests that a role does not allow are refused and recorded, at a limited rate."""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from django.db import OperationalError
from django.test import Client

from connections.models import AuditEvent, Person
from connections.web.framework import errors

pytestmark = pytest.mark.django_db


def refusals() -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(code="access.refused").order_by("seq"))


@pytest.mark.parametrize("method", ["get", "post"])
def test_a_request_that_a_role_does_not_allow_is_refused_and_recorded(
    victor: Person, client_of: Callable[[Person], Client], method: str
):
    assert getattr(client_of(victor), method)("/people/new/").status_code == 403
    [event] = refusals()
    assert event.actor_id == victor.pk
    assert event.details == {
        "address": "person-new",
        "method": method.upper(),
        "path": "/people/new/",
    }


def test_refusals_are_recorded_once_a_minute_per_person_and_url_name(
    victor: Person, client_of: Callable[[Person], Client]
):
    client = client_of(victor)
    for _ in range(5):
        assert client.get(f"/people/{uuid4()}/").status_code == 403
    assert len(refusals()) == 1


def test_a_refusal_that_cannot_be_recorded_is_still_a_refusal(
    victor: Person, client_of: Callable[[Person], Client], monkeypatch: pytest.MonkeyPatch
):
    def fail(**_: Any) -> None:
        raise OperationalError("database is locked")

    monkeypatch.setattr(errors, "record_denial", fail)
    assert client_of(victor).get("/people/").status_code == 403


def test_a_signed_out_person_is_redirected_to_sign_in_without_an_event():
    assert Client().get("/people/").status_code == 302
    assert refusals() == []
