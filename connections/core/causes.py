"""Why a request to Datadog failed, or why a deletion is in its state: codes and their sentences."""

from enum import StrEnum

from connections.core import time_limits
from connections.core.text import format_limit


class Cause(StrEnum):
    """A stable code that is stored, and the sentence that people read."""

    _value_: str
    sentence: str

    def __new__(cls, code: str, sentence: str = "") -> "Cause":
        """A code with its sentence."""
        cause = str.__new__(cls, code)
        cause._value_ = code
        cause.sentence = sentence
        return cause

    # The request never left.
    CONNECTION_REFUSED = "connection_refused", "Datadog's host refused the connection."
    NAME_NOT_RESOLVED = "name_not_resolved", "The name of Datadog's host could not be resolved."
    CONNECT_TIMEOUT = "connect_timeout", "Connecting to Datadog took too long."
    HOST_UNREACHABLE = "host_unreachable", "There is no network route to Datadog's host."
    CERTIFICATE_REFUSED = "certificate_refused", "The certificate of Datadog's host isn't trusted."
    TLS_FAILED = "tls_failed", "The TLS handshake with Datadog failed."
    CA_BUNDLE_UNREADABLE = (
        "ca_bundle_unreadable",
        (
            "The file in ORGADMIN_CA_BUNDLE can't be read. Check its path, that Org Admin "
            "can read it, and that it contains PEM certificates."
        ),
    )
    PROXY_UNREACHABLE = "proxy_unreachable", "The proxy in ORGADMIN_HTTP_PROXY can't be reached."
    PROXY_REFUSED = "proxy_refused", "The proxy in ORGADMIN_HTTP_PROXY refused to open a tunnel."

    FIRST_BYTE_TOO_LATE = (
        "first_byte_too_late",
        f"It wasn't sent within {time_limits.FIRST_BYTE_SECONDS:.0f} s of starting the attempt.",
    )

    # It might have left, and no complete status line came back.
    CONNECTION_LOST = "connection_lost", "The network connection was cut before a response arrived."
    NO_ANSWER_IN_TIME = "no_answer_in_time", "No response arrived in time."
    HALF_STATUS_LINE = "half_status_line", "The response was cut off in its first line."
    NOT_HTTP = "not_http", "The response wasn't HTTP."
    # The log has its type. Whether the request left decides the result.
    CLIENT_FAILURE = "client_failure", "Org Admin failed while sending. See its log."

    # Datadog responded.
    BAD_REQUEST = "bad_request", "Datadog rejected the request as malformed (400)."
    UNAUTHORIZED = "unauthorized", "Datadog rejected the keys (401)."
    FORBIDDEN = (
        "forbidden",
        "Datadog denied permission (403): wrong site, revoked keys or missing permission.",
    )
    NOT_FOUND = "not_found", "Datadog found no such connection (404)."
    DESTINATION_NOT_FOUND = (
        "destination_not_found",
        "Datadog found no such destination org on this site (404).",
    )
    CONFLICT = "conflict", "Datadog reports a conflict with an existing connection (409)."
    # Perhaps from a wrong host or path, or from a proxy.
    WRONG_404 = "wrong_404", "The 404 isn't in Datadog's format. It might come from a proxy."
    REQUEST_TIMEOUT = "request_timeout", "Datadog timed out waiting for the request (408)."
    RATE_LIMITED = "rate_limited", "Datadog rate limited the request (429)."
    REDIRECT = (
        "redirect",
        "The response redirects elsewhere (3xx). Org Admin never follows redirects.",
    )
    SERVER_ERROR = "server_error", "Datadog had an internal failure (5xx)."
    UNEXPECTED_STATUS = (
        "unexpected_status",
        "The response has a status that Datadog doesn't document.",
    )

    # A GET returned 200 with an unusable body.
    BODY_CUT = "body_cut", "The response was cut off before its end."
    BODY_UNDECODABLE = "body_undecodable", "The response can't be decompressed."
    BODY_TOO_LONG = "body_too_long", "The response is longer than Org Admin reads."
    # Malformed, NaN or Infinity, or a duplicate name in an object.
    MALFORMED_JSON = "malformed_json", "Datadog's response isn't valid JSON, or repeats a key."
    WRONG_TYPE = "wrong_type", "The response isn't in the format that Datadog documents."
    ERRORS_IN_RESPONSE = (
        "errors_in_response",
        "Datadog returned 200 but reports a failure in the same response.",
    )
    KEY_NOT_VALID = "key_not_valid", "Datadog reports that the API key isn't valid."

    # The list isn't complete.
    # The others are kept.
    MALFORMED_ELEMENT = "malformed_element", "One connection in the list could not be parsed."
    # `total_filtered_count` is missing.
    COUNT_MISSING = "count_missing", "The list doesn't say how many connections there are."
    # `total_count` isn't `total_filtered_count`, although nothing was filtered.
    COUNTS_DIFFER = "counts_differ", "Datadog reports 2 different connection counts."
    # Neither is kept.
    CONTRADICTORY_ELEMENTS = (
        "contradictory_elements",
        "Datadog's list has the same ID twice, with different details.",
    )
    COUNT_CHANGED = "count_changed", "The list changed during the sync."
    # Distinct IDs, compared with `total_filtered_count`.
    TOO_FEW = "too_few", "The list has fewer connections than it says."
    TOO_MANY = "too_many", "The list has more connections than it says."
    TOO_MANY_PAGES = "too_many_pages", "The list has more pages than Org Admin reads."

    # Org Admin's own: why a deletion is in its state.
    CREATOR_IS_PERSON = (
        "creator_is_person",
        "The keys belong to a person. Datadog deletes the connection when that account is "
        "deactivated.",
    )
    WRITE_NOT_GRANTED = (
        "write_not_granted",
        "The role of the keys' owner lacks org_connections_write.",
    )
    # Which step a move is at. Reported in place of a reason; older rows and events also store it.
    MOVE_DELETING = "move_deleting", "Step 1 of 2: delete the old connection."
    MOVE_CREATING = "move_creating", "Step 2 of 2: create the new connection."
    STILL_LISTED = (
        "still_listed",
        "The connection was deleted, but the last list still showed it.",
    )
    ACCESS_GONE = (
        "access_gone",
        "The old connection is deleted, and no new one was created. To restore access, request a "
        "new connection.",
    )
    ACCESS_ENDED = "access_ended", "The last day of this access has passed."
    ANOTHER_CONNECTION = (
        "another_connection",
        "The orgs have a different connection from the one that was approved.",
    )
    CONNECTION_NOT_SEEN = (
        "connection_not_seen",
        "The orgs were already connected, so no one who approved the access saw this connection.",
    )
    END_SET_BY_HAND = (
        "end_set_by_hand",
        "The agreement has an earlier end than the one that was approved.",
    )
    LISTING_FAILED = "listing_failed", "The pre-send check failed."
    LIST_TOO_SLOW = (
        "list_too_slow",
        f"The org's list is too slow: two syncs began more than "
        f"{format_limit(time_limits.LIST_WINDOW)} before their request could be sent.",
    )
    ABSENT_WHEN_READ = (
        "absent_when_read",
        "A complete sync just before sending didn't list it.",
    )
    CHANGED_WHEN_READ = (
        "changed_when_read",
        "The sync just before sending showed different details.",
    )
    AGREEMENT_CHANGED = "agreement_changed", "The agreement changed after the request."
    ANSWER_LOST = (
        "answer_lost",
        f"No response was recorded within {format_limit(time_limits.CLAIM_TIMEOUT)} of starting "
        "the attempt.",
    )
    TOO_MANY_TRIES = (
        "too_many_tries",
        f"The request could not leave this server in {len(time_limits.NOT_SENT_DELAYS) + 1} tries.",
    )
    NOT_RETRIED_IN_TIME = (
        "not_retried_in_time",
        f"The {format_limit(time_limits.SENDING_WINDOW)} after its first attempt, or after the "
        "last rate limit reset, ran out.",
    )
    TOO_LATE = (
        "too_late",
        f"The {format_limit(time_limits.SENDING_WINDOW)} after confirmation ran out.",
    )
    NOT_STARTED_IN_TIME = (
        "not_started_in_time",
        f"The {format_limit(time_limits.QUEUE_WINDOW)} after confirming the bulk deletion ran out.",
    )
    NOT_APPROVED_IN_TIME = (
        "not_approved_in_time",
        f"No one approved it within {format_limit(time_limits.APPROVAL_WINDOW)}.",
    )
    NOT_CONFIRMED_IN_TIME = (
        "not_confirmed_in_time",
        f"No one confirmed it within {format_limit(time_limits.CONFIRMING_WINDOW)}.",
    )
    PERSON_LOST_RIGHT = "person_lost_right", "A person involved no longer has permission."
    # In place of the cause, for people from whom the connection is hidden. Never stored.
    CONCEALED = "concealed", "Ask an Operator why."
    REQUESTER_DISABLED = (
        "requester_disabled",
        "The account of the person who requested it is disabled.",
    )
    APPROVALS_MISSING = "approvals_missing", "It has fewer approvals than it needs."
    CREDENTIAL_RETIRED = "credential_retired", "Its credential was retired."
    DATABASE_RESTORED = "database_restored", "The database was restored from a backup."
    CONNECTION_PROTECTED = "connection_protected", "The connection is protected."
    DECIDED_TO_KEEP = (
        "decided_to_keep",
        "An access review has since decided to keep a connection of this bulk deletion.",
    )
    ANOTHER_ORG = "another_org", "The keys belong to another org."
    KEY_RING_UNUSABLE = (
        "key_ring_unusable",
        "The key ring that decrypts stored keys is missing or wrong.",
    )
    KEYS_NOT_OPENED = (
        "keys_not_opened",
        "The stored keys can't be decrypted. Rotate the credential to new keys.",
    )
    DELETION_CONFIRMED = "deletion_confirmed", "The deletion of this connection was confirmed."
    # Before 1.2.0 was released.
    DELETION_REQUESTED = (
        "deletion_requested",
        "The deletion of this connection was requested.",
    )
    ACCESS_REQUEST_CONFIRMED = (
        "access_request_confirmed",
        "An access request for these orgs was confirmed.",
    )
    CANNOT_BE_ASKED = (
        "cannot_be_asked",
        "Its site or the proxy is no longer configured on this server.",
    )
    LISTINGS_AGREE = "listings_agree", "Two complete syncs, at least a minute apart, agree."
    LATER_LISTING = "later_listing", "A later complete sync showed this."


def unavailable_text(*, cause: str, why: str) -> str:
    """Why Datadog was not contacted, without the paths of key files."""
    words = cause_text(cause)
    more = why if cause == Cause.CANNOT_BE_ASKED else ""
    return f"{words} {more}".strip() + " Ask an administrator to run `./run manage doctor`."


def cause_text(cause: str) -> str:
    """The sentence for a stored cause. Empty if there is none.

    A code that this version doesn't know is shown as it is.
    """
    if cause in Cause:
        return Cause(cause).sentence
    return f"Cause: {cause}." if cause else ""


# Datadog refused the keys themselves, or what they were used for.
KEYS_REJECTED = frozenset({Cause.UNAUTHORIZED, Cause.FORBIDDEN, Cause.KEY_NOT_VALID})
# No response that Datadog itself might have sent.
_UNREACHABLE = frozenset(
    {
        *(Cause.CONNECTION_REFUSED, Cause.NAME_NOT_RESOLVED, Cause.CONNECT_TIMEOUT),
        *(Cause.HOST_UNREACHABLE, Cause.CERTIFICATE_REFUSED, Cause.TLS_FAILED),
        *(Cause.PROXY_UNREACHABLE, Cause.PROXY_REFUSED, Cause.CONNECTION_LOST),
        *(Cause.NO_ANSWER_IN_TIME, Cause.HALF_STATUS_LINE, Cause.NOT_HTTP),
    }
)


class FailureKind(StrEnum):
    """Why syncs fail, as far as it decides what a person does about it."""

    REJECTED = "rejected"  # Datadog rejects the keys
    UNREACHABLE = "unreachable"  # Datadog doesn't respond
    ERROR = "error"


def failure_kind(cause: str) -> FailureKind:
    """The kind of a sync's cause."""
    if cause in KEYS_REJECTED:
        return FailureKind.REJECTED
    return FailureKind.UNREACHABLE if cause in _UNREACHABLE else FailureKind.ERROR


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
