"""The overview says what Org Admin does by itself soon, and what keeps it from working."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from django.utils.html import escape

from connections.access.actor import WORKER, command_actor, person_actor
from connections.access_reviews.repeating import change_repetition
from connections.change_requests.guards import read_clock
from connections.core import clock as database_clock
from connections.inventory import syncs
from connections.models import (
    AccessKind,
    AuditVerification,
    CredentialAccess,
    Person,
    RequestKind,
    Role,
)
from connections.operations import holds
from connections.web.overview.attention import Situation
from connections.web.overview.upcoming import starting_reviews
from tests.access_requests.conftest import DAY, End, credential, end, free_pair, listed_pair
from tests.access_reviews.support import start
from tests.support.clock import SettableClock
from tests.support.people import make_person
from tests.web.overview.test_overview import lines, others, yours

__all__ = ["credential", "end", "free_pair", "listed_pair"]
ClientOf = Callable[[Person], Client]


def lines_about_ends(person: Person, client_of: ClientOf) -> list[str]:
    return [line for line in yours(person, client_of) if line.partition(":")[2].count("deletes it")]


@pytest.mark.parametrize(
    ("days", "label"),
    [(5, "Ends in 3 days"), (3, "Ends in 1 day"), (2, "Deleted tonight")],
)
def test_whoever_can_extend_access_reads_when_org_admin_deletes_its_connection(
    end: End, client_of: ClientOf, days: int, label: str
):
    end.clock.advance(seconds=-days * DAY)

    line = f"{label}: Payments US to Group SOC, Org Admin deletes it · SOC team, Extend…"
    # The requester is an Operator too.
    for person in (end.ada, make_person("oscar", Role.OPERATOR)):
        assert lines_about_ends(person, client_of) == [line]


def test_the_owner_reads_it_without_a_right_to_use_the_credential(
    end: End, client_of: ClientOf, victor: Person
):
    end.clock.advance(seconds=-3 * DAY)
    assert lines_about_ends(victor, client_of) == []
    assert [line for line in others(victor, client_of) if "SOC team, View" in line]

    end.ask(RequestKind.CHANGE, types=["logs", "metrics"], owner=victor)

    [line] = lines_about_ends(victor, client_of)
    assert line.endswith("Extend…")


def test_what_ends_later_was_extended_or_is_gone_is_not_listed(end: End, client_of: ClientOf):
    end.clock.advance(seconds=-2 * DAY)
    assert lines_about_ends(end.ada, client_of)
    extension = end.ask(ends_on=end.given.ends_on + timedelta(days=4))  # type: ignore[operator]
    assert extension.outcome == "extended"
    assert lines_about_ends(end.ada, client_of) == []

    end.clock.advance(seconds=2 * DAY)
    assert lines_about_ends(end.ada, client_of)
    end.sandbox.world.remove_connection(connection_id=end.connection_id)
    syncs.sync_credentials(credentials=[end.credential], actor=WORKER)
    assert lines_about_ends(end.ada, client_of) == []


def test_an_end_of_orgs_that_someone_does_not_see_is_not_on_their_overview(
    end: End, client_of: ClientOf, victor: Person
):
    end.clock.advance(seconds=-2 * DAY)
    CredentialAccess.objects.create(credential=end.credential, kind=AccessKind.SEE, person=end.ada)
    assert not [line for line in others(victor, client_of) if "Org Admin deletes it" in line]


def test_whoever_manages_access_reviews_reads_that_one_repeats_soon(
    edith: Person, ada: Person, client_of: ClientOf, clock: SettableClock, credential: None
):
    review = start(edith, days=7)
    change_repetition(review=review, actor=person_actor(person=edith), repeat_months=1)
    line = "Access review starts: Q4 2026, Org Admin starts it, because the last one repeats"
    assert f"{line}, Change…" not in yours(edith, client_of)

    clock.advance(hours=27 * 24)

    assert f"{line}, Change…" in yours(edith, client_of)
    assert not [each for each in yours(ada, client_of) if each.startswith(line)]


def test_more_access_reviews_that_repeat_take_no_more_statements(
    edith: Person, clock: SettableClock, credential: None
):
    situation = Situation(
        actor=person_actor(person=edith), now=database_clock.now(), credentials=[]
    )
    counted = []
    for _ in range(2):
        for _ in range(2):
            first = start(edith, days=7, repeat_months=1)
            start(edith, days=7, repeat_months=1, repeats=first)
        with CaptureQueriesContext(connection) as captured:
            starting = list(starting_reviews(replace(situation, now=first.due_at)))
        counted.append((len(captured), len(starting)))
    assert counted == [(2, 0), (2, 0)]


def test_a_hold_is_a_line_that_an_administrator_can_release(
    root: Person, ada: Person, client_of: ClientOf, credential: None
):
    holds.put_on_hold(actor=command_actor(), reason="restored a backup")
    line = "On hold: Org Admin does nothing by itself, restored a backup"
    assert f"{line}, Release…" in yours(root, client_of)
    page = client_of(ada).get("/")
    assert "restored a backup" in page.text
    assert lines(page.context["others"]) == []


def test_a_failed_verification_stays_until_one_succeeds(
    edith: Person, ada: Person, client_of: ClientOf, credential: None
):
    def verified(**result: str) -> None:
        AuditVerification.objects.create(checked_at=timezone.now(), size=1, **result)

    verified(fault="altered", message="Event 7 was changed.")
    line = "Verification failed: Audit log, Event 7 was changed."
    assert f"{line}, View audit log" in yours(edith, client_of)
    # Others, who can't act on it, read it in a banner.
    for person in (edith, ada):
        assert client_of(person).get("/").text.count("Event 7 was changed.") == 1
    assert others(ada, client_of) == []
    verified()
    assert not [each for each in yours(edith, client_of) if "Event 7" in each]


def test_a_clock_that_is_behind_is_a_line(end: End, client_of: ClientOf, root: Person):
    end.clock.advance(seconds=-60 * DAY)
    assert [
        each
        for each in yours(root, client_of)
        if each.startswith("Clock is behind: Nothing is confirmed, sent or ended, ")
    ]
    assert "The clock is behind: nothing is sent" not in client_of(root).get("/").text


def test_what_a_line_says_of_a_problem_is_not_cut(
    end: End, client_of: ClientOf, root: Person, edith: Person
):
    end.clock.advance(seconds=-60 * DAY)
    message = "Event 7 was changed: " + "its data isn't what was signed. " * 6 + "Ask for help."
    AuditVerification.objects.create(
        checked_at=timezone.now(), size=1, fault="altered", message=message
    )
    problem = escape(read_clock().problem)
    assert problem in client_of(root).get("/").text
    assert escape(message) in client_of(edith).get("/").text
