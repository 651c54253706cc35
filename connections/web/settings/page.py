"""The settings that a person can open, and what `doctor` reports."""

from django.core.checks import ERROR, INFO, WARNING
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.text import capfirst

from connections.access import permissions
from connections.operations.checks import run_all_checks
from connections.web.badges import Badge
from connections.web.framework.http import actor_of
from connections.web.framework.person_limits import limited

_LEVELS = {
    INFO: Badge("OK", "ok", "check"),
    WARNING: Badge("Warning", "warn", "warning"),
    ERROR: Badge("Error", "danger", "cross"),
}


def settings(request: HttpRequest) -> HttpResponse:
    """The settings that the person's roles allow."""
    context = {"can_administer": permissions.can_administer(actor_of(request))}
    return render(request, "settings/settings.html", context)


# It tries the mail server, the webhook and the identity provider.
@limited("status", per_minute=20)
def settings_status(request: HttpRequest) -> HttpResponse:
    """What `doctor` reports, problems first."""
    messages = sorted(run_all_checks(), key=lambda message: -message.level)
    findings = [
        (_LEVELS[message.level], message, start_sentence(message.msg)) for message in messages
    ]
    return render(request, "settings/status.html", {"findings": findings})


def start_sentence(text: str) -> str:
    """The text with a capital letter, unless it begins with an address or a path."""
    first_word = text.split(" ")[0]
    return text if "/" in first_word else capfirst(text)
