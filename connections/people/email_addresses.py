"""The address by which a person is found and written to: only an administrator changes it."""

from allauth.account.models import EmailAddress
from django.db import IntegrityError

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import personal_data
from connections.audit.events import EventCode
from connections.core.errors import InvalidInputError
from connections.models import Person
from connections.people import rules


@audit.atomic()
def change_email(*, actor: Actor, person: Person, email: str) -> Person:
    """Give a person another e-mail address. Links mailed to the old one no longer work.

    Password, second factors and sessions stay as they are. Gives the person as stored now.
    Raises PermissionDenied, and InvalidInputError for an address that is malformed or by which
    somebody else signs in.
    """
    permissions.require(permissions.can_administer(actor), "change e-mail addresses")
    person = rules.locked(person)
    email = Person.objects.normalize_email(email.strip())
    if email == person.email:
        return person
    rules.require_free_email(email, of=person)
    person.email = email
    try:
        with audit.atomic():
            person.save(update_fields=["email"])
    except IntegrityError:
        raise InvalidInputError({"email": rules.TAKEN}) from None
    EmailAddress.objects.filter(user=person).delete()
    audit.record(
        code=EventCode.EMAIL_CHANGED,
        actor=actor,
        subject=person,
        sentence=f"The e-mail address of {personal_data.name_of(person)} was changed.",
    )
    return person
