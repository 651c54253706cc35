"""Where somebody is signed in: one's own sessions, and ending them; those of others, too."""

from dataclasses import dataclass
from datetime import datetime

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.urls import reverse

from connections.models import Person
from connections.models.sessions import hash_of_session_key, public_id_of
from connections.people import sessions
from connections.web.support import SeeOther, actor_of, signed_in_person
from connections.wording.browsers import browser_name


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """One session as its page shows it."""

    public_id: str
    at: datetime | None
    address: str
    browser: str
    is_current: bool


def session_rows(request: HttpRequest, person: Person) -> list[SessionRow]:
    """The person's open sessions for a page: this one first, then the newest."""
    current = _current(request)
    rows = [
        SessionRow(
            public_id=one.public_id,
            at=one.at,
            address=one.address,
            browser=browser_name(one.agent),
            is_current=one.public_id == current,
        )
        for one in sessions.sessions_of(person=person)
    ]
    return sorted(rows, key=lambda row: not row.is_current)


def session_list(request: HttpRequest) -> HttpResponse:
    """One's own sessions."""
    rows = session_rows(request, _self(request))
    return render(request, "connections/session_list.html", {"sessions": rows})


def session_end(request: HttpRequest) -> HttpResponse:
    """End one of one's own sessions, or (without `session`) all but this one."""
    person = _self(request)
    return end(request, person, but=_current(request), to=reverse("session-list"))


def end(request: HttpRequest, person: Person, *, but: str, to: str) -> HttpResponse:
    """End the person's session that was posted, or all but the one named, and lead on."""
    actor, one = actor_of(request), request.POST.get("session", "")
    if one:
        is_ended = sessions.end_session(actor=actor, person=person, public_id=one)
        text = "That session is ended." if is_ended else "That session had ended already."
    else:
        count = sessions.end_sessions(actor=actor, person=person, but=but)
        text = f"{count} session{'s are' if count != 1 else ' is'} ended."
    messages.success(request, text)
    return SeeOther(to)


def _self(request: HttpRequest) -> Person:
    person = signed_in_person(request)
    if person is None:
        raise PermissionDenied("Sign in first.")
    return person


def _current(request: HttpRequest) -> str:
    return public_id_of(hash_of_session_key(request.session.session_key or ""))
