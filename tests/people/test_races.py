"""Concurrent changes to people, of which only one can succeed. PostgreSQL only."""

import pytest
from django.conf import settings

from connections.access.actor import command_actor
from connections.core import clock
from connections.models import Person
from connections.people import people, sign_in_links
from tests.support.at_once import run_concurrently
from tests.support.people import make_person

pytestmark = [
    pytest.mark.database,
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(settings.DATABASE_IS_SQLITE, reason="SQLite has one writer at a time"),
]


def test_two_administrators_cannot_disable_each_other():
    one = make_person("one", is_administrator=True)
    two = make_person("two", is_administrator=True)
    results = run_concurrently(
        lambda: people.disable_person(actor=command_actor(), person=one),
        lambda: people.disable_person(actor=command_actor(), person=two),
    )
    assert results == ["done", "refused"]
    assert Person.objects.filter(is_active=True).count() == 1


def test_a_link_used_twice_concurrently_signs_in_once():
    ada = make_person("ada")
    link = sign_in_links.make_sign_in_link(actor=command_actor(), person=ada, now=clock.now())
    token = link.rpartition("#")[2]

    def use() -> None:
        sign_in_links.use_sign_in_link(token=token, password="")

    assert run_concurrently(use, use, use) == ["done", "refused", "refused"]


def test_two_concurrent_set_up_links_create_one_administrator():
    tokens = [
        sign_in_links.make_set_up_link(actor=command_actor(), now=clock.now()).rpartition("#")[2]
        for _ in range(2)
    ]

    def set_up(number: int) -> None:
        sign_in_links.set_up_first_administrator(
            token=tokens[number],
            username=f"root{number}",
            email=f"root{number}@example.com",
            password="a long enough pass phrase",
        )

    assert run_concurrently(lambda: set_up(0), lambda: set_up(1)) == ["done", "refused"]
