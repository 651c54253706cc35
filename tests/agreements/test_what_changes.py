"""The block "What changes": the difference, what must not be missed, and what stays."""

from dataclasses import replace
from datetime import date
from uuid import UUID

import pytest
from pytest_django import Settings

from connections.agreements.what_changes import Access, WhatChanges, compare_access

GRACE, VICTOR = UUID(int=1), UUID(int=2)
NOW = Access(
    types=["logs", "metrics"],
    creator="Dana Keller",
    owner="Grace Lindqvist",
    owner_id=GRACE,
    purpose="Shared dashboards",
    agreed_types=["logs", "metrics"],
    ends_on=date(2027, 2, 17),
)
LEFT = replace(NOW, owner_note="account disabled")
TEAMS = replace(NOW, owner="SOC team", owner_id=None)
NOTHING = Access()
UNAGREED = Access(types=["logs", "metrics"], creator="Dana Keller")


def compare(
    now: Access,
    after: Access | None,
    *,
    is_recreated: bool = False,
    is_over: bool = False,
    is_owner_emailed: bool = False,
    sees_everything: bool = True,
    reader: UUID | None = None,
) -> WhatChanges:
    return compare_access(
        source="Labs",
        sink="SOC",
        now=now,
        after=after,
        is_recreated=is_recreated,
        is_over=is_over,
        is_owner_emailed=is_owner_emailed,
        sees_everything=sees_everything,
        reader=reader,
    )


def facts_of(changes: WhatChanges) -> list[str]:
    return [note.fact for note in changes.notes]


@pytest.mark.parametrize(
    ("types", "expected"),
    [
        (
            ["logs", "metrics", "audit"],
            "gains access to Labs' audit events. It keeps logs and metrics.",
        ),
        (["logs"], "loses access to Labs' metrics. It keeps logs."),
        (
            ["audit", "logs"],
            "loses access to Labs' metrics and gains access to its audit events. It keeps logs.",
        ),
        (["rum"], "loses access to Labs' logs and metrics and gains access to its rum."),
    ],
    ids=["wider", "removal only", "both", "all others"],
)
def test_the_sentence_says_the_difference_and_first_what_is_lost(types: list[str], expected: str):
    assert compare(NOW, replace(NOW, types=types)).sentence == f"SOC {expected}"


@pytest.mark.parametrize(
    ("ends_on", "expected"),
    [
        (date(2027, 6, 30), "Access ends on 30 Jun 2027 instead of 17 Feb 2027."),
        (None, "Access no longer ends."),
    ],
)
def test_an_extension_says_both_ends(ends_on: date | None, expected: str):
    changes = compare(NOW, replace(NOW, ends_on=ends_on))
    assert (changes.sentence, [each.field for each in changes.fields]) == (expected, ["end"])
    assert changes.unchanged == (
        "logs and metrics · owner Grace Lindqvist · “Shared dashboards” · creator Dana Keller"
    )


def test_an_earlier_end_and_a_first_automatic_deletion_are_one_note():
    after = replace(NOW, ends_on=date(2026, 12, 31), is_deleted_then=True)
    [note] = compare(NOW, after).notes
    assert note.fact == "Access ends on 31 Dec 2026."
    assert note.text == (
        "That is 48 days earlier than agreed. Org Admin then deletes the connection, which wasn't "
        "agreed before."
    )


def test_a_first_automatic_deletion_is_a_note_without_an_earlier_end():
    after = replace(NOW, ends_on=date(2027, 6, 30), is_deleted_then=True)
    assert facts_of(compare(NOW, after)) == ["Org Admin deletes the connection after 30 Jun 2027."]
    assert facts_of(compare(replace(NOW, is_deleted_then=True), after)) == []


def test_an_end_where_none_was_agreed_is_an_earlier_one():
    [note] = compare(replace(NOW, ends_on=None), NOW).notes
    assert (note.fact, note.text) == ("Access ends on 17 Feb 2027.", "No end was agreed.")


@pytest.mark.parametrize(
    ("reader", "fact"),
    [
        (VICTOR, "Grace Lindqvist no longer answers for it."),
        (GRACE, "You no longer answer for it."),
    ],
)
def test_a_new_owner_is_a_note_that_addresses_the_old_one(reader: UUID, fact: str):
    after = replace(NOW, owner="Victor Huang", owner_id=VICTOR)
    changes = compare(NOW, after, reader=reader)
    assert facts_of(changes) == [fact]
    assert [(each.field, each.is_taken) for each in changes.fields] == [("owner", True)]


def test_a_move_says_what_it_interrupts_and_that_restrictions_are_not_copied():
    after = replace(NOW, creator="Labs Org Admin", creator_note="service account")
    changes = compare(NOW, after, is_recreated=True)
    assert changes.sentence == "The creator changes from Dana Keller to Labs Org Admin."
    assert changes.detail == "SOC keeps its access to logs and metrics."
    assert facts_of(changes) == [
        "Access is interrupted for seconds.",
        "Restriction policies aren't copied:",
    ]
    # Once it is over, the result says for how long.
    assert facts_of(compare(NOW, after, is_recreated=True, is_over=True)) == [
        "Restriction policies aren't copied:"
    ]


def test_a_new_owner_with_the_name_of_the_old_one_is_a_new_owner():
    changes = compare(NOW, replace(NOW, owner_id=VICTOR))
    assert facts_of(changes) == ["Grace Lindqvist no longer answers for it."]
    assert [each.field for each in changes.fields] == ["owner"]


def test_a_move_between_creators_of_one_name_says_what_happens():
    assert compare(NOW, NOW, is_recreated=True).sentence == "The connection is created again."


def test_a_move_says_what_stays_wider_than_agreed():
    wider = replace(NOW, types=["logs", "audit"])
    notes = compare(wider, replace(wider, creator="Labs Org Admin"), is_recreated=True).notes
    assert (notes[-1].fact, notes[-1].text) == (
        "Not agreed: audit.",
        "A move agrees nothing, so the connection stays wider than agreed.",
    )


def test_restoring_interrupts_nothing():
    changes = compare(replace(NOW, types=[]), NOW, is_recreated=True)
    assert changes.sentence == "SOC gets access to Labs' logs and metrics until 17 Feb 2027."
    assert facts_of(changes) == ["Restriction policies aren't copied:"]


def test_where_nothing_is_agreed_nothing_agreed_is_taken_away():
    after = replace(NOW, types=["logs", "metrics", "audit"])
    changes = compare(UNAGREED, after)
    assert facts_of(changes) == []
    assert not any(each.is_taken for each in changes.fields)
    created = compare(NOTHING, after)
    assert (created.is_new, facts_of(created)) == (True, [])


@pytest.mark.parametrize(
    ("now", "reader", "is_over", "fact", "text"),
    [
        (
            *(NOW, VICTOR, False, "Grace Lindqvist answers for this access."),
            "Org Admin doesn't email this owner: tell them yourself.",
        ),
        (NOW, GRACE, False, "You answer for this access.", ""),
        (NOW, VICTOR, True, "Grace Lindqvist answered for this access.", ""),
        (
            *(LEFT, VICTOR, False, "Grace Lindqvist answers for this access."),
            "The owner's account is disabled.",
        ),
        (LEFT, VICTOR, True, "Grace Lindqvist answered for this access.", ""),
        (
            *(TEAMS, VICTOR, False, "SOC team answers for this access."),
            "Org Admin doesn't email this owner: tell them yourself.",
        ),
        (UNAGREED, VICTOR, False, "No one answers for this access.", ""),
    ],
)
def test_a_deletion_says_who_needs_it(
    settings: Settings, now: Access, reader: UUID, is_over: bool, fact: str, text: str
):
    settings.HAS_MAIL = True
    [note] = compare(now, None, reader=reader, is_over=is_over).notes
    assert (note.fact, note.text) == (fact, text)


def test_an_owner_whom_org_admin_emails_is_said_to_be_notified(settings: Settings):
    settings.HAS_MAIL = True
    [note] = compare(NOW, None, reader=VICTOR, is_owner_emailed=True).notes
    assert note.text == "The owner is notified."


@pytest.mark.parametrize(
    ("sees_everything", "expected"),
    [
        (True, "These orgs aren't connected, and nothing is agreed."),
        (False, "You see no connection and no agreement of these orgs."),
    ],
)
def test_what_is_new_is_said_as_far_as_the_reader_sees(sees_everything: bool, expected: str):
    assert compare(NOTHING, NOW, sees_everything=sees_everything).detail == expected


def test_without_email_no_owner_is_said_to_be_notified(settings: Settings):
    settings.HAS_MAIL = False
    [note] = compare(NOW, None, reader=VICTOR, is_owner_emailed=True).notes
    assert note.text == "Email is off: tell the owner yourself."


def test_a_deletion_takes_every_field_that_is_agreed():
    fields = {each.field: each for each in compare(NOW, None).fields}
    assert list(fields) == ["types", "owner", "purpose", "end"]
    assert all(each.is_taken and not each.after for each in fields.values())
    assert [each.field for each in compare(UNAGREED, None).fields] == ["types"]


def test_the_block_as_text_has_everything():
    after = replace(NOW, types=["logs"], purpose="Find out why sign-ins fail")
    assert compare(NOW, after).lines == (
        "SOC loses access to Labs' metrics. It keeps logs.",
        "Data types: logs, metrics → logs",
        "Purpose: Shared dashboards → Find out why sign-ins fail",
        "Unchanged: owner Grace Lindqvist · until 17 Feb 2027 · creator Dana Keller",
    )
