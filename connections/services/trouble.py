"""Datadog's trouble in words: what a cause means when something was read, not deleted."""

from connections.datadog.errors import Cause
from connections.models import Cause as OurCause

_UNREACHED = "Datadog could not be reached: {why}. This says nothing about the keys."
_NOT_REACHED_BECAUSE = {
    Cause.CONNECTION_REFUSED: "the port is closed",
    Cause.NAME_NOT_RESOLVED: "its name does not resolve",
    Cause.CONNECT_TIMEOUT: "no connection came about in time",
    Cause.HOST_UNREACHABLE: "there is no route to it",
    Cause.CERTIFICATE_REFUSED: "its certificate is not trusted here",
    Cause.TLS_FAILED: "the TLS handshake failed",
    Cause.CA_BUNDLE_UNREADABLE: "the file of ORGADMIN_CA_BUNDLE cannot be read",
    Cause.PROXY_UNREACHABLE: "the proxy of ORGADMIN_HTTP_PROXY does not answer",
    Cause.PROXY_REFUSED: "the proxy of ORGADMIN_HTTP_PROXY refuses to connect",
}
_LOST = "Datadog's answer was lost: {why}. This says nothing about the keys; try again."
_LOST_BECAUSE = {
    Cause.CONNECTION_LOST: "the connection was cut",
    Cause.NO_ANSWER_IN_TIME: "none came in time",
    Cause.HALF_STATUS_LINE: "it ended in its first line",
    Cause.NOT_HTTP: "what came is not HTTP",
    Cause.CLIENT_FAILURE: "Org Admin itself failed, and its log says how",
    Cause.BODY_CUT: "it ended early",
    Cause.BODY_UNDECODABLE: "it could not be decompressed",
    Cause.BODY_TOO_LONG: "it is longer than anything Datadog sends",
}
_SAID: dict[str, str] = {
    Cause.UNAUTHORIZED: "Datadog does not accept this key pair (401): a key was mistyped or "
    "revoked, its owner disabled, or it belongs to another site.",
    Cause.FORBIDDEN: "Datadog refuses this key pair (403): it may be revoked, belong to another "
    "site, or lack org_connections_read.",
    Cause.KEY_NOT_VALID: "Datadog does not call the key valid: it may be revoked, mistyped or "
    "belong to another site.",
    Cause.RATE_LIMITED: "Datadog asks to wait (429): too many requests. Try again in a minute.",
    Cause.SERVER_ERROR: "Datadog answered with an error of its own. Try again later.",
    Cause.REDIRECT: "The answer leads to another host, where keys are never sent. Is a proxy "
    "in between?",
    Cause.WRONG_404: "The address exists nowhere at that host. Is a proxy in between?",
    Cause.NOT_FOUND: "Datadog does not know the address (404).",
    OurCause.ANOTHER_ORG: "The key pair answered for another org than the one it was stored for.",
}
_INCOMPLETE = {
    Cause.MALFORMED_ELEMENT,
    Cause.COUNT_MISSING,
    Cause.COUNT_CHANGED,
    Cause.TOO_FEW,
    Cause.TOO_MANY,
    Cause.TOO_MANY_PAGES,
}


def words_for(*, cause: str, http_status: int | None = None) -> str:
    """One or two sentences for a cause of `connections.datadog.errors` or of a reading."""
    if cause in _SAID:
        return _SAID[cause]
    if cause in _NOT_REACHED_BECAUSE:
        return _UNREACHED.format(why=_NOT_REACHED_BECAUSE[Cause(cause)])
    if cause in _LOST_BECAUSE:
        return _LOST.format(why=_LOST_BECAUSE[Cause(cause)])
    if cause in _INCOMPLETE:
        return "The list came, but not whole: what it lacks may still exist. Try again."
    status = f" ({http_status})" if http_status else ""
    return f"Datadog answered something that it does not document{status}. Is a proxy in between?"
