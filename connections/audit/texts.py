"""What events are called, and their sentences shortened for lists."""

import re

from django.utils.text import capfirst

from connections.core.text import format_limit
from connections.core.time_limits import UNKNOWN_FOR
from connections.models import AuditEvent, ChangeRequest, render_references

# In this order, because each user agent also names the browsers below it.
_BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser", "Samsung Internet"),
    ("Firefox", "Firefox"),
    ("FxiOS", "Firefox"),
    ("CriOS", "Chrome"),
    ("Chrome", "Chrome"),
    ("Safari", "Safari"),
)
_SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)


def browser_name(agent: str) -> str:
    """“Firefox on Linux”, or as much of it as the user agent shows."""
    browser = next((name for mark, name in _BROWSERS if mark in agent), "Unknown browser")
    system = next((name for mark, name in _SYSTEMS if mark in agent), "")
    return f"{browser} on {system}" if system else browser


# A user agent up to this length is shown as it is: “curl/8.14.1”.
_SHORT_AGENT = 40
# Confirmations also use the last eight characters of an ID.
_ID = re.compile(r"\b[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{4}([0-9a-f]{8})\b")


def brief_sentence(event: AuditEvent) -> str:
    """The event's sentence, with short browser names and shortened IDs."""

    def brief(agent: str) -> str:
        return agent if len(agent) <= _SHORT_AGENT else browser_name(agent)

    sentence = render_references(event.stored_sentence, event.shown_values, agents=brief)
    return _ID.sub(r"…\1", sentence)


# Subjects that pages call something other than the code does.
_SUBJECTS = {
    "batch": "Bulk deletion",
    "org_connection": "Connection",
    "provider_account": "SSO account",
    "service": "Org Admin",
    "sign_in_link": "Sign-in link",
}
_REQUEST_ACTIONS = {
    "answered": "response received",
    "answered_late": "late response",
    "approvals_lapsed": "approvals expired",
    "recheck_failed": "pre-send check failed",
    "settled": "closed",
    "still_unknown": f"still unknown after {format_limit(UNKNOWN_FOR)}",
    "unknown": "outcome unknown",
    "waiting": "waiting to retry",
}
_ACTIONS = {
    "api_token.made": "created",
    **{
        f"{kind.noun}.{step}": action
        for kind in ChangeRequest.__subclasses__()
        for step, action in _REQUEST_ACTIONS.items()
    },
    "access_request.contradicted": "not listed as requested",
    "access_request.interrupted": "access interrupted",
    "access_request.removed": "old connection deleted",
    "access_request.ended": "access ended",
    "access_request.not_ended": "access ended, connection not deleted",
    "batch.cancelled": "canceled",
    "credential.access_changed": "access list changed",
    "credential.not_verified": "keys not accepted",
    "credential.policy_changed": "approval policy changed",
    "credential.creator_changed": "creating connections changed",
    "credential.permission_lost": "permission lost",
    "credential.permission_restored": "permission granted again",
    "credential.verified": "keys accepted",
    "deletion.break_glass_reviewed": "late approval given",
    "deletion.contradicted": "Datadog still lists it",
    "deletion.still_present": "no effect",
    "encryption_key.dropped": "removed",
    "org.details_set": "group or owner changed",
    "org_connection.protection_lifted": "protection removed",
    "person.break_glass_forbidden": "break glass revoked",
    "person.change_emails_set": "choice of emails changed",
    "person.changed": "roles changed",
    "person.email_changed": "email address changed",
    "person.password_reset_mailed": "password reset link emailed",
    "person.provider_sign_in_refused": "SSO sign-in refused",
    "person.reauthenticated": "identity check passed",
    "person.reauthentication_failed": "identity check failed",
    "person.second_factor_added": "MFA method added",
    "person.second_factor_lost": "MFA removed with a lost encryption key",
    "person.second_factor_refused": "MFA failed",
    "person.second_factor_removed": "MFA removed by a sign-in link",
    "person.second_factor_turned_off": "MFA method removed",
    "person.single_keys_set": "keys of one character turned on or off",
    "person.sign_in_failed": "sign-in failed",
    "service.held": "put on hold",
    "service.released": "hold released",
    "sign_in_link.made": "created",
}


def event_label(code: str) -> str:
    """ "Person: signed in" for a code, and "Person: all" for the prefix "person."."""
    return f"{_subject_of(code)}: {action_of(code) or 'all'}"


def event_title(code: str) -> str:
    """What happened: "Deletion approved", or "Roles changed" if the action has several words."""
    action = action_of(code)
    return capfirst(action) if " " in action else f"{_subject_of(code)} {action}"


def _subject_of(code: str) -> str:
    noun = code.partition(".")[0]
    return _SUBJECTS.get(noun) or capfirst(noun.replace("_", " "))


def action_of(code: str) -> str:
    """What happened, in lower case: "approved". Empty for a prefix such as "person."."""
    return _ACTIONS.get(code) or code.partition(".")[2].replace("_", " ")
