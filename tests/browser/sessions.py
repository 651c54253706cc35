"""Sessions for browsers, without going through the sign-in page."""

from typing import Any

from django.conf import settings

from connections.models import Person
from tests.support.people import just_signed_in


def session_cookie(person: Person, *, address: str) -> Any:
    """The cookie of a new session in which the person just passed an identity check."""
    client = just_signed_in(person)
    name = settings.SESSION_COOKIE_NAME
    return {"name": name, "value": client.cookies[name].value, "url": address}
