"""The settings that a person can open, and what `doctor` reports."""

from django.core.checks import ERROR, INFO, WARNING
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from connections.access import permissions
from connections.operations.checks import run_all_checks
from connections.web.badges import Badge
from connections.web.framework.rate_limits import limited
from connections.web.framework.support import actor_of

_LEVELS = {
    INFO: Badge("OK", "ok", "check"),
    WARNING: Badge("Warning", "warn", "warning"),
    ERROR: Badge("Error", "danger", "cross"),
}


def settings(request: HttpRequest) -> HttpResponse:
    """The settings that the person's roles allow."""
    actor = actor_of(request)
    context = {
        "can_administer": permissions.can_administer(actor),
        "can_delete": permissions.can_delete(actor),
        "can_protect": permissions.can_protect(actor),
    }
    return render(request, "settings/settings.html", context)


# It tries the mail server, the webhook and the identity provider.
@limited("status", per_minute=20)
def settings_status(request: HttpRequest) -> HttpResponse:
    """What `doctor` reports, problems first."""
    messages = sorted(run_all_checks(), key=lambda message: -message.level)
    findings = [(_LEVELS[message.level], message) for message in messages]
    return render(request, "settings/status.html", {"findings": findings})
