"""A sentence for each cause."""

from connections.core.causes import Cause

_TEXTS: dict[str, str] = {
    # Org Admin's own causes: why a deletion is in its state.
    Cause.LISTING_FAILED: "The pre-send check failed.",
    Cause.ABSENT_WHEN_READ: "A complete sync just before sending no longer listed it.",
    Cause.CHANGED_WHEN_READ: "The sync just before sending showed different details.",
    Cause.ANSWER_LOST: "No response was recorded within 60 s of starting the attempt.",
    Cause.TOO_MANY_TRIES: "The request could not leave this server in 5 tries.",
    Cause.TOO_LATE: "The 15 minutes after confirmation ran out.",
    Cause.NOT_RETRIED_IN_TIME: (
        "The 15 minutes after its first attempt, or after the last rate limit reset, ran out."
    ),
    Cause.NOT_STARTED_IN_TIME: "The 24 hours after confirming the bulk deletion ran out.",
    Cause.NOT_APPROVED_IN_TIME: "No one approved it within 24 hours.",
    Cause.NOT_CONFIRMED_IN_TIME: "No one confirmed it within 24 hours.",
    Cause.PERSON_LOST_RIGHT: "A person involved no longer has permission.",
    Cause.APPROVALS_MISSING: "It has fewer approvals than it needs.",
    Cause.CREDENTIAL_RETIRED: "Its credential was retired.",
    Cause.CONNECTION_PROTECTED: "The connection is protected.",
    Cause.DECIDED_TO_KEEP: (
        "An access review has since decided to keep a connection of this bulk deletion."
    ),
    Cause.ANOTHER_ORG: "The keys belong to another org.",
    Cause.KEY_RING_UNUSABLE: "The key ring that decrypts stored keys is missing or wrong.",
    Cause.KEYS_NOT_OPENED: "The stored keys can't be decrypted. Rotate the credential to new keys.",
    Cause.CANNOT_BE_ASKED: "Its site or the proxy is no longer configured on this server.",
    Cause.LISTINGS_AGREE: "Two complete syncs, at least a minute apart, agree.",
    Cause.LATER_LISTING: "A later complete sync no longer lists it.",
    # The request never left.
    Cause.CONNECTION_REFUSED: "Datadog's host refused the connection.",
    Cause.NAME_NOT_RESOLVED: "The name of Datadog's host could not be resolved.",
    Cause.CONNECT_TIMEOUT: "Connecting to Datadog took too long.",
    Cause.HOST_UNREACHABLE: "There is no network route to Datadog's host.",
    Cause.CERTIFICATE_REFUSED: "The certificate of Datadog's host isn't trusted.",
    Cause.TLS_FAILED: "The TLS handshake with Datadog failed.",
    Cause.CA_BUNDLE_UNREADABLE: (
        "The file in ORGADMIN_CA_BUNDLE can't be read. Check its path, that Org Admin can read it, "
        "and that it contains PEM certificates."
    ),
    Cause.PROXY_UNREACHABLE: "The proxy in ORGADMIN_HTTP_PROXY can't be reached.",
    Cause.PROXY_REFUSED: "The proxy in ORGADMIN_HTTP_PROXY refused to open a tunnel.",
    # It might have been sent, and no complete response arrived.
    Cause.CONNECTION_LOST: "The network connection was cut before a response arrived.",
    Cause.NO_ANSWER_IN_TIME: "No response arrived in time.",
    Cause.HALF_STATUS_LINE: "The response was cut off in its first line.",
    Cause.NOT_HTTP: "The response wasn't HTTP.",
    Cause.CLIENT_FAILURE: "Org Admin failed while sending. See its log.",
    # Datadog responded.
    Cause.BAD_REQUEST: "Datadog rejected the request as malformed (400).",
    Cause.UNAUTHORIZED: "Datadog rejected the keys (401).",
    Cause.FORBIDDEN: (
        "Datadog denied permission (403): the keys are revoked, belong to another site "
        "or lack the permission."
    ),
    Cause.NOT_FOUND: "Datadog found no such connection (404).",
    Cause.WRONG_404: "The 404 isn't in Datadog's format. It might come from a proxy.",
    Cause.REQUEST_TIMEOUT: "Datadog timed out waiting for the request (408).",
    Cause.RATE_LIMITED: "Datadog rate limited the request (429).",
    Cause.REDIRECT: "The response redirects elsewhere (3xx). Org Admin never follows redirects.",
    Cause.SERVER_ERROR: "Datadog had an internal failure (5xx).",
    Cause.UNEXPECTED_STATUS: "The response has a status that Datadog doesn't document.",
    # A 200 with an unusable body.
    Cause.BODY_CUT: "The response was cut off before its end.",
    Cause.BODY_UNDECODABLE: "The response can't be decompressed.",
    Cause.BODY_TOO_LONG: "The response is longer than Org Admin reads.",
    Cause.MALFORMED_JSON: "Datadog's response isn't valid JSON, or repeats a key.",
    Cause.WRONG_TYPE: "The response isn't in the format that Datadog documents.",
    Cause.ERRORS_IN_RESPONSE: "Datadog returned 200 but reports a failure in the same response.",
    Cause.KEY_NOT_VALID: "Datadog reports that the API key isn't valid.",
    # A list that is not complete.
    Cause.MALFORMED_ELEMENT: "One connection in the list could not be parsed.",
    Cause.COUNT_MISSING: "The list doesn't say how many connections there are.",
    Cause.COUNTS_DIFFER: "Datadog reports 2 different connection counts.",
    Cause.CONTRADICTORY_ELEMENTS: "Datadog's list has the same ID twice, with different details.",
    Cause.COUNT_CHANGED: "The list changed during the sync.",
    Cause.TOO_FEW: "The list has fewer connections than it says.",
    Cause.TOO_MANY: "The list has more connections than it says.",
    Cause.TOO_MANY_PAGES: "The list has more pages than Org Admin reads.",
}


def unavailable_text(*, cause: str, why: str) -> str:
    """Why Datadog was not contacted, without the paths of key files."""
    words = cause_text(cause)
    more = why if cause == Cause.CANNOT_BE_ASKED else ""
    return f"{words} {more}".strip() + " Ask an administrator to run `./run manage doctor`."


def cause_text(cause: str) -> str:
    """The sentence for a stored cause. Empty if there is none.

    A code that this version doesn't know is shown as it is.
    """
    return _TEXTS.get(cause, f"Cause: {cause}." if cause else "")


# The stored keys can't be decrypted, so Datadog was not contacted.
KEYS_UNDECRYPTABLE = "not_opened"


def failure_text(*, cause: str, http_status: int | None = None) -> str:
    """Why a sync failed, in a sentence or two. `http_status` is None without a response."""
    if cause == KEYS_UNDECRYPTABLE:
        return "Its stored keys can't be decrypted."
    if cause == Cause.NOT_FOUND:
        # For other requests, the cause is about a connection, which a sync doesn't request.
        return "Datadog has no connection list at this address (404)."
    words = cause_text(cause)
    return words if http_status else f"{words} This says nothing about the keys."
