"""A sentence for each cause."""

from connections.core.causes import Cause

_TEXTS: dict[str, str] = {
    # Ours: why a deletion is where it is.
    Cause.LISTING_FAILED: "The connection could not be read again.",
    Cause.ABSENT_WHEN_READ: "A complete listing just before sending no longer shows it.",
    Cause.CHANGED_WHEN_READ: "The listing just before sending shows something else.",
    Cause.ANSWER_LOST: "No response was recorded within 60 s of starting the attempt.",
    Cause.TOO_MANY_TRIES: "Five times the request could not leave this server.",
    Cause.TOO_LATE: "The 15 minutes after confirming ran out.",
    Cause.NOT_APPROVED_IN_TIME: "Nobody approved it within 24 hours.",
    Cause.NOT_CONFIRMED_IN_TIME: "Nobody confirmed it within 24 hours.",
    Cause.PERSON_LOST_RIGHT: "Somebody who asked for, confirmed or approved it lost the right.",
    Cause.APPROVALS_MISSING: "Fewer other people approved it than it needs.",
    Cause.CREDENTIAL_RETIRED: "Its credential was retired.",
    Cause.CONNECTION_PROTECTED: "The connection is protected.",
    Cause.ANOTHER_ORG: "The key pair answered for another org than the one it belongs to.",
    Cause.KEY_RING_UNUSABLE: "The key ring that decrypts stored keys is missing or wrong.",
    Cause.KEYS_NOT_OPENED: "The stored keys cannot be decrypted. Rotate to a pair pasted anew.",
    Cause.CANNOT_BE_ASKED: "Its site, or the proxy, is not configured on this server any more.",
    Cause.LISTINGS_AGREE: "Two complete listings, a minute or more apart, agree.",
    Cause.LATER_LISTING: "A later complete listing no longer shows it.",
    # The request never left.
    Cause.CONNECTION_REFUSED: "Datadog’s host refused the connection.",
    Cause.NAME_NOT_RESOLVED: "The name of Datadog’s host could not be resolved.",
    Cause.CONNECT_TIMEOUT: "No connection to Datadog came about in time.",
    Cause.HOST_UNREACHABLE: "There is no network route to Datadog’s host.",
    Cause.CERTIFICATE_REFUSED: ("The certificate shown is not one we trust for Datadog’s host."),
    Cause.TLS_FAILED: "No encrypted connection to Datadog could be agreed on.",
    Cause.CA_BUNDLE_UNREADABLE: "The file of ORGADMIN_CA_BUNDLE cannot be read.",
    Cause.PROXY_UNREACHABLE: "The proxy of ORGADMIN_HTTP_PROXY cannot be reached.",
    Cause.PROXY_REFUSED: "The proxy of ORGADMIN_HTTP_PROXY would not open the way.",
    # It may have been sent, and no complete response came.
    Cause.CONNECTION_LOST: "The connection was cut before an answer came.",
    Cause.NO_ANSWER_IN_TIME: "No answer came in time.",
    Cause.HALF_STATUS_LINE: "The answer was cut in its first line.",
    Cause.NOT_HTTP: "What came back was no HTTP answer.",
    Cause.CLIENT_FAILURE: "Org Admin itself failed while sending; its log says how.",
    # Datadog responded.
    Cause.BAD_REQUEST: "Datadog calls the request malformed (400).",
    Cause.UNAUTHORIZED: "Datadog does not accept the key pair (401).",
    Cause.FORBIDDEN: (
        "Datadog forbids it to this key pair (403): the keys are revoked, belong to another site "
        "or lack the permission."
    ),
    Cause.NOT_FOUND: "Datadog found no such connection (404).",
    Cause.WRONG_404: "A 404 came that is not in Datadog’s form, perhaps from a proxy.",
    Cause.REQUEST_TIMEOUT: "Datadog gave up on the request (408).",
    Cause.RATE_LIMITED: "Datadog asks us to wait (429).",
    Cause.REDIRECT: "The answer points elsewhere (3xx), which is never followed.",
    Cause.SERVER_ERROR: "Datadog had a failure of its own (5xx).",
    Cause.UNEXPECTED_STATUS: "The answer has a status that Datadog does not document.",
    # A 200 with an unusable body.
    Cause.BODY_CUT: "The answer was cut before its end.",
    Cause.BODY_UNDECODABLE: "The answer cannot be decompressed.",
    Cause.BODY_TOO_LONG: "The answer is longer than we read.",
    Cause.MALFORMED_JSON: "Datadog’s response is not valid JSON, or repeats a name.",
    Cause.WRONG_TYPE: "The answer is not of the form that Datadog documents.",
    Cause.ERRORS_IN_RESPONSE: ("Datadog returned 200 but reports a failure in the same response."),
    Cause.KEY_NOT_VALID: "Datadog does not call the API key valid.",
    # A listing that is not complete.
    Cause.MALFORMED_ELEMENT: "One connection in the list could not be understood.",
    Cause.COUNT_MISSING: "The list does not say how many connections there are.",
    Cause.COUNTS_DIFFER: "Datadog’s two counts of the connections differ.",
    Cause.CONTRADICTORY_ELEMENTS: "Datadog’s list gives two different contents for one ID.",
    Cause.COUNT_CHANGED: "The list changed while it was being read.",
    Cause.TOO_FEW: "The list holds fewer connections than it says.",
    Cause.TOO_MANY: "The list holds more connections than it says.",
    Cause.TOO_MANY_PAGES: "The list has more pages than we read.",
}


def unavailable_text(*, cause: str, why: str) -> str:
    """Why Datadog was not contacted, without the paths of key files."""
    words = cause_text(cause)
    more = why if cause == Cause.CANNOT_BE_ASKED else ""
    return f"{words} {more}".strip() + " An administrator can run the command “doctor”."


def cause_text(cause: str) -> str:
    """The sentence for a stored cause; empty for none.

    A code that this version does not know is shown as it is.
    """
    return _TEXTS.get(cause, f"Cause: {cause}." if cause else "")


# The stored keys can't be decrypted, so Datadog was not contacted.
KEYS_UNDECRYPTABLE = "not_opened"


def failure_text(*, cause: str, http_status: int | None = None) -> str:
    """Why a sync failed, in a sentence or two; `http_status` is None without a response."""
    if cause == KEYS_UNDECRYPTABLE:
        return "Its stored keys could not be decrypted."
    if cause == Cause.NOT_FOUND:
        # Elsewhere the cause is about a connection, which a sync doesn't request.
        return "Datadog does not know the address that was asked (404)."
    words = cause_text(cause)
    return words if http_status else f"{words} This says nothing about the keys."
