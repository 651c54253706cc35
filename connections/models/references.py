"""Fields that refer to people."""

from typing import TYPE_CHECKING

from django.conf import settings
from django.db import models
from django.db.models.expressions import Combinable

if TYPE_CHECKING:
    from connections.models.people import Person


def person_reference() -> "models.ForeignKey[Person | Combinable, Person]":
    """A person who did something. Such a person can be disabled and erased, but never deleted."""
    return models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")


def optional_person_reference() -> "models.ForeignKey[Person | Combinable | None, Person | None]":
    """Like `person_reference`. Null if nobody did it yet, or if no person did."""
    return models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+"
    )
