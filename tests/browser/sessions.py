"""Sessions for browsers, without the way through the sign-in page."""

import time
from typing import Any

from allauth.account.internal.flows import login
from django.conf import settings
from django.test import Client

from connections.models import Person


def session_cookie(person: Person, *, address: str) -> Any:
    """The cookie of a new session in which the person has just proved who they are."""
    client = Client()
    client.force_login(person)
    session = client.session
    session[login._AUTHENTICATION_METHODS_USER_SESSION_KEY] = str(person.pk)
    session[login.AUTHENTICATION_METHODS_SESSION_KEY] = [
        {"method": "password", "at": time.time(), "reauthenticated": True}
    ]
    session.save()
    name = settings.SESSION_COOKIE_NAME
    return {"name": name, "value": client.cookies[name].value, "url": address}
