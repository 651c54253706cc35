"""Erasing a person: their names and addresses go, and what they did stays on the record."""

from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.db import connection, transaction

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.audit.events import EventCode
from connections.core import clock
from connections.deletions import comments, history
from connections.models import (
    Approval,
    BreakGlassReview,
    Credential,
    Deletion,
    Person,
    PersonalValue,
    PersonSession,
    SignInLink,
)
from connections.people import people

# Where a name was copied to without a reference to the person.
_COPIES = (
    (Deletion, "settled_by_name"),
    (Credential, "keys_set_by_name"),
    (Credential, "created_by_name"),
    (Credential, "retired_by_name"),
    (SignInLink, "made_by_name"),
)

# PostgreSQL searches the column itself.
_SEARCH = "UPDATE connections_deletion_search SET search_text = %s WHERE deletion_id = %s"


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was done. `shared_names` are borne by others too, so their plain copies were left."""

    number: int
    values: int
    shared_names: int


def erase_person(*, actor: Actor, person: Person) -> Erasure:
    """Empty every name and address of a person, shut them out for good, and record it.

    Events keep a number and a commitment and verify as before. What people wrote themselves
    (reasons, comments) stays. Raises PermissionDenied, and ConflictError for the last active
    administrator.
    """
    permissions.require(permissions.can_administer(actor), "erase people")
    # In a transaction of its own: it may need the record's lock, which must come last below.
    number = personal_data.person_number(person)
    with transaction.atomic():
        with audit.atomic():
            if person.is_superuser and person.is_active:
                people.require_another_administrator(person)
            person = people.locked(person)
            stored = PersonalValue.objects.filter(person_id=person.pk, erased_at=None)
            names = set(stored.filter(kind=personal_data.Kind.NAME).values_list("value", flat=True))
            shared = _shared(names, person=person)
            who = personal_data.name_of(person)
            _forget(person, number=number)
            _replace_copies(person, names=names - shared, told=person.display_name)
            audit.record(
                code=EventCode.PERSON_ERASED,
                actor=actor,
                subject=person,
                sentence=f"{who} was erased: names and addresses were emptied.",
            )
        # Only now, when the event that refers to them stands.
        values = stored.update(value="", salt="", erased_at=clock.now())
    return Erasure(number=number, values=values, shared_names=len(shared))


def _shared(names: set[str], *, person: Person) -> set[str]:
    others = PersonalValue.objects.filter(value__in=names, kind=personal_data.Kind.NAME)
    return set(others.exclude(person_id=person.pk).values_list("value", flat=True))


def _forget(person: Person, *, number: int) -> None:
    person.first_name = f"erased person no. {number}"
    person.last_name = ""
    person.username = f"erased-{number}"
    person.email = ""
    person.is_active = person.is_superuser = person.may_break_glass = False
    person.session_epoch += 1
    person.set_unusable_password()
    person.save()
    person.groups.clear()
    people.second_factors_of(person.pk).delete()
    EmailAddress.objects.filter(user=person).delete()
    person.sign_in_links.all().delete()
    PersonSession.objects.filter(person_id=person.pk).delete()
    person.provider_accounts.all().delete()


def _replace_copies(person: Person, *, names: set[str], told: str) -> None:
    Approval.objects.filter(approver=person).update(approver_name=told)
    BreakGlassReview.objects.filter(reviewer=person).update(reviewer_name=told)
    Deletion.objects.filter(confirmed_by=person).update(confirmed_by_name=told)
    Deletion.objects.filter(break_glass_by=person).update(break_glass_by_name=told)
    for deletion in Deletion.objects.filter(requested_by=person).order_by("pk"):
        deletion.requested_by_name = told
        deletion.search_text = history.search_text_of(
            deletion, comments=comments.list_comments(deletion)
        )
        deletion.save(update_fields=["requested_by_name", "search_text"])
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(_SEARCH, [deletion.search_text, deletion.pk.hex])
    for model, field in _COPIES:
        model.objects.filter(**{f"{field}__in": names}).update(**{field: told})
