"""Erases a person: clears their names and addresses. The audit log of what they did stays."""

from dataclasses import dataclass

from allauth.account.models import EmailAddress
from django.apps import apps
from django.db import connection, transaction

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.access_requests.requesting import search_text_of
from connections.audit import EventCode, personal_data
from connections.core import clock
from connections.deletions import comments, history
from connections.models import (
    AccessRequest,
    AccessReviewReviewer,
    Deletion,
    Person,
    PersonalValue,
    PersonSession,
)
from connections.people import people

# PostgreSQL searches the column itself.
_UPDATE_SEARCH_TEXT = (
    "UPDATE connections_deletion_search SET search_text = %s WHERE deletion_id = %s"
)


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """What was erased.

    `shared_names` is how many names other people have too, whose copies were kept.
    """

    number: int
    values: int
    shared_names: int


def erase_person(*, actor: Actor, person: Person) -> Erasure:
    """Clear every name and address of a person, end their access permanently, and record it.

    Events keep the person's number and a commitment, and verify as before. What people wrote
    themselves (reasons, comments) stays. Raises PermissionDenied, and ConflictError for the last
    active administrator.
    """
    permissions.require(permissions.can_administer(actor), "erase people")
    # In its own transaction, because it might lock the audit log, which must be locked last below.
    number = personal_data.ensure_person_number(person)
    with transaction.atomic():
        with audit.atomic():
            if person.is_superuser and person.is_active:
                people.require_another_administrator(person)
            person = people.lock_person(person)
            stored = PersonalValue.objects.filter(person_id=person.pk, erased_at=None)
            names = set(stored.filter(kind=personal_data.Kind.NAME).values_list("value", flat=True))
            shared = _find_shared_names(names, person=person)
            name = personal_data.name_of(person)
            _clear_person(person, number=number)
            _replace_copies(person, names=names - shared, new_name=person.display_name)
            audit.record(
                code=EventCode.PERSON_ERASED,
                actor=actor,
                subject=person,
                sentence=audit.Sentence(
                    "{name} was erased: names and addresses were removed.", name=name
                ),
            )
        # Last, because the event above refers to them.
        values = stored.update(value="", salt="", erased_at=clock.now())
    return Erasure(number=number, values=values, shared_names=len(shared))


def _find_shared_names(names: set[str], *, person: Person) -> set[str]:
    others = PersonalValue.objects.filter(value__in=names, kind=personal_data.Kind.NAME)
    return set(others.exclude(person_id=person.pk).values_list("value", flat=True))


def _clear_person(person: Person, *, number: int) -> None:
    person.first_name = f"erased person no. {number}"
    person.last_name = ""
    person.username = f"erased-{number}"
    person.email = ""
    person.is_active = person.is_superuser = person.has_break_glass = False
    person.session_epoch += 1
    person.set_unusable_password()
    person.save()
    person.groups.clear()
    people.list_authenticators(person.pk).delete()
    EmailAddress.objects.filter(user=person).delete()
    person.sign_in_links.all().delete()
    person.api_tokens.all().delete()
    PersonSession.objects.filter(person_id=person.pk).delete()
    person.provider_accounts.all().delete()


def _replace_copies(person: Person, *, names: set[str], new_name: str) -> None:
    """Replace each copy next to a reference to the person, and `names` in all other columns."""
    for model in apps.get_app_config("connections").get_models():
        fields = {field.name: field for field in model._meta.concrete_fields}
        rows = model._default_manager
        for name, field in fields.items():
            if field.related_model is Person and f"{name}_name" in fields:
                rows.filter(**{name: person}).update(**{f"{name}_name": new_name})
            elif name.endswith("_by_name") and name.removesuffix("_name") not in fields:
                rows.filter(**{f"{name}__in": names}).update(**{name: new_name})
    AccessReviewReviewer.objects.filter(person=person).update(name=new_name)
    for access_request in AccessRequest.objects.filter(requested_by=person).order_by("pk"):
        access_request.search_text = search_text_of(access_request)
        access_request.save(update_fields=["search_text"])
    for deletion in Deletion.objects.filter(requested_by=person).order_by("pk"):
        deletion.search_text = history.search_text_of(
            deletion, comments=comments.list_comments(deletion)
        )
        deletion.save(update_fields=["search_text"])
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute(_UPDATE_SEARCH_TEXT, [deletion.search_text, deletion.pk.hex])
