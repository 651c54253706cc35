"""Why a request to Datadog failed, or why a deletion is in its state: one set of codes."""

from enum import StrEnum


class Cause(StrEnum):
    """Why, as a stable code: stored, and put into words elsewhere."""

    # The request never left.
    # The port is closed.
    CONNECTION_REFUSED = "connection_refused"
    # The name does not resolve, or did not in time.
    NAME_NOT_RESOLVED = "name_not_resolved"
    # No connection (TCP, proxy tunnel or TLS) in time.
    CONNECT_TIMEOUT = "connect_timeout"
    # No route to the host, or another failure of the network below TCP.
    HOST_UNREACHABLE = "host_unreachable"
    # The server's certificate is not one we trust for that host.
    CERTIFICATE_REFUSED = "certificate_refused"
    # The TLS handshake failed for another reason.
    TLS_FAILED = "tls_failed"
    # The configured CA bundle cannot be read.
    CA_BUNDLE_UNREADABLE = "ca_bundle_unreadable"
    # The proxy cannot be reached.
    PROXY_UNREACHABLE = "proxy_unreachable"
    # The proxy would not open the tunnel.
    PROXY_REFUSED = "proxy_refused"

    # The request may have left, no whole status line came.
    # Closed or reset by the far end.
    CONNECTION_LOST = "connection_lost"
    # The total deadline passed.
    NO_ANSWER_IN_TIME = "no_answer_in_time"
    # The status line was cut in the middle.
    HALF_STATUS_LINE = "half_status_line"
    # What came is not HTTP.
    NOT_HTTP = "not_http"
    # An error of our own, logged by its type; how far the request came decides the verdict.
    CLIENT_FAILURE = "client_failure"

    # A whole status line came.
    # 400: Datadog calls the request malformed.
    BAD_REQUEST = "bad_request"
    # 401: the keys were not accepted.
    UNAUTHORIZED = "unauthorized"
    # 403: the keys are revoked, of another site, or lack the permission.
    FORBIDDEN = "forbidden"
    # 404 in Datadog's own form.
    NOT_FOUND = "not_found"
    # 404 of another form: perhaps a wrong host, path or a proxy.
    WRONG_404 = "wrong_404"
    # 408: the server gave up on the request.
    REQUEST_TIMEOUT = "request_timeout"
    # 429: too many requests.
    RATE_LIMITED = "rate_limited"
    # 3xx: never followed.
    REDIRECT = "redirect"
    # 5xx.
    SERVER_ERROR = "server_error"
    # Any other status.
    UNEXPECTED_STATUS = "unexpected_status"

    # A 200 whose body does not serve (reading calls).
    # The body ended early.
    BODY_CUT = "body_cut"
    # The body cannot be decompressed, or is compressed in a way we did not ask for.
    BODY_UNDECODABLE = "body_undecodable"
    # The body is longer than we read.
    BODY_TOO_LONG = "body_too_long"
    # The body is not strict JSON: malformed, NaN or Infinity, or a name twice in one object.
    MALFORMED_JSON = "malformed_json"
    # JSON, of another form than Datadog documents.
    WRONG_TYPE = "wrong_type"
    # 200, and `errors` beside or in place of what was asked for.
    ERRORS_IN_RESPONSE = "errors_in_response"
    # 200, but Datadog does not call the key valid.
    KEY_NOT_VALID = "key_not_valid"

    # A listing that cannot be called complete.
    # An element could not be read; the others are kept.
    MALFORMED_ELEMENT = "malformed_element"
    # `total_filtered_count` is missing.
    COUNT_MISSING = "count_missing"
    # `total_count` is not `total_filtered_count`, although nothing was filtered.
    COUNTS_DIFFER = "counts_differ"
    # One id came with two different contents; nothing is kept of it.
    CONTRADICTORY_ELEMENTS = "contradictory_elements"
    # `total_filtered_count` differs between pages.
    COUNT_CHANGED = "count_changed"
    # Fewer distinct ids came than were counted.
    TOO_FEW = "too_few"
    # More distinct ids came than were counted.
    TOO_MANY = "too_many"
    # More pages than we read.
    TOO_MANY_PAGES = "too_many_pages"

    # Org Admin's own reasons, which no response gives.
    # It could not be read again before sending.
    LISTING_FAILED = "listing_failed"
    # A complete listing before sending lacks it.
    ABSENT_WHEN_READ = "absent_when_read"
    # The listing before sending shows something else.
    CHANGED_WHEN_READ = "changed_when_read"
    # The process that sent it recorded no answer within 60 s.
    ANSWER_LOST = "answer_lost"
    # Five times the request could not leave.
    TOO_MANY_TRIES = "too_many_tries"
    # Not sent within 15 minutes of confirming.
    TOO_LATE = "too_late"
    # 24 h after asking.
    NOT_APPROVED_IN_TIME = "not_approved_in_time"
    # 24 h after the last approval.
    NOT_CONFIRMED_IN_TIME = "not_confirmed_in_time"
    # Who confirmed or approved it may not any more.
    PERSON_LOST_RIGHT = "person_lost_right"
    # Fewer other people approved than it needs.
    APPROVALS_MISSING = "approvals_missing"
    # Its credential was retired meanwhile.
    CREDENTIAL_RETIRED = "credential_retired"
    # The connection is protected.
    CONNECTION_PROTECTED = "connection_protected"
    # The key pair answered for an org it is not pinned to.
    ANOTHER_ORG = "another_org"
    # No stored key pair can be decrypted.
    KEY_RING_UNUSABLE = "key_ring_unusable"
    # This key pair cannot be decrypted.
    KEYS_NOT_OPENED = "keys_not_opened"
    # Its site or the proxy is not configured rightly.
    CANNOT_BE_ASKED = "cannot_be_asked"
    # Two spaced complete listings agree.
    LISTINGS_AGREE = "listings_agree"
    # A later complete listing lacks it.
    LATER_LISTING = "later_listing"
