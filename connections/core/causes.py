"""Why a request to Datadog failed, or why a deletion is in its state, as one set of codes."""

from enum import StrEnum


class Cause(StrEnum):
    """A stable code that is stored. connections.wording has the texts."""

    # Causes of a request that never left. The port was closed.
    CONNECTION_REFUSED = "connection_refused"
    # The name does not resolve, or did not resolve in time.
    NAME_NOT_RESOLVED = "name_not_resolved"
    # No connection (TCP, proxy tunnel or TLS) in time.
    CONNECT_TIMEOUT = "connect_timeout"
    # No route to the host, or another failure of the network below TCP.
    HOST_UNREACHABLE = "host_unreachable"
    # The server's certificate is not trusted for that host.
    CERTIFICATE_REFUSED = "certificate_refused"
    # The TLS handshake failed for another reason.
    TLS_FAILED = "tls_failed"
    # The configured CA bundle cannot be read.
    CA_BUNDLE_UNREADABLE = "ca_bundle_unreadable"
    # The proxy cannot be reached.
    PROXY_UNREACHABLE = "proxy_unreachable"
    # The proxy would not open the tunnel.
    PROXY_REFUSED = "proxy_refused"

    # Causes of a request that might have left, where no complete status line came back. The server
    # closed or reset the connection.
    CONNECTION_LOST = "connection_lost"
    # The total deadline passed.
    NO_ANSWER_IN_TIME = "no_answer_in_time"
    # The status line was cut in the middle.
    HALF_STATUS_LINE = "half_status_line"
    # The response is not HTTP.
    NOT_HTTP = "not_http"
    # An error in Org Admin, logged by its type. The verdict depends on whether the request left.
    CLIENT_FAILURE = "client_failure"

    # Causes from a response's status.
    # 400: Datadog calls the request malformed.
    BAD_REQUEST = "bad_request"
    # 401: the keys were not accepted.
    UNAUTHORIZED = "unauthorized"
    # 403: the keys are revoked, belong to another site or lack the permission.
    FORBIDDEN = "forbidden"
    # A 404 in Datadog's own form.
    NOT_FOUND = "not_found"
    # A 404 in another form, perhaps from a wrong host or path or from a proxy.
    WRONG_404 = "wrong_404"
    # 408: the server gave up on the request.
    REQUEST_TIMEOUT = "request_timeout"
    # 429: too many requests.
    RATE_LIMITED = "rate_limited"
    # 3xx: redirects are never followed.
    REDIRECT = "redirect"
    # 5xx.
    SERVER_ERROR = "server_error"
    # Any other status.
    UNEXPECTED_STATUS = "unexpected_status"

    # Causes of a GET whose 200 has an unusable body.
    # The body ended early.
    BODY_CUT = "body_cut"
    # The body can't be decompressed, or has a compression that was not requested.
    BODY_UNDECODABLE = "body_undecodable"
    # The body is longer than the limit.
    BODY_TOO_LONG = "body_too_long"
    # The body is not strict JSON: malformed, NaN or Infinity, or a duplicate name in an object.
    MALFORMED_JSON = "malformed_json"
    # JSON, but not of the form that Datadog documents.
    WRONG_TYPE = "wrong_type"
    # 200 with `errors`, with or without the requested data.
    ERRORS_IN_RESPONSE = "errors_in_response"
    # 200, but Datadog does not report the key as valid.
    KEY_NOT_VALID = "key_not_valid"

    # Causes of an incomplete listing.
    # An element is malformed; the others are kept.
    MALFORMED_ELEMENT = "malformed_element"
    # `total_filtered_count` is missing.
    COUNT_MISSING = "count_missing"
    # `total_count` is not `total_filtered_count`, although nothing was filtered.
    COUNTS_DIFFER = "counts_differ"
    # One ID has two different contents. Neither is kept.
    CONTRADICTORY_ELEMENTS = "contradictory_elements"
    # `total_filtered_count` differs between pages.
    COUNT_CHANGED = "count_changed"
    # Fewer distinct IDs than `total_filtered_count`.
    TOO_FEW = "too_few"
    # More distinct IDs than `total_filtered_count`.
    TOO_MANY = "too_many"
    # More pages than the limit.
    TOO_MANY_PAGES = "too_many_pages"

    # Causes that come from Org Admin itself. The pre-send check failed.
    LISTING_FAILED = "listing_failed"
    # The complete list from the pre-send check lacks the connection.
    ABSENT_WHEN_READ = "absent_when_read"
    # The pre-send check shows that the connection changed.
    CHANGED_WHEN_READ = "changed_when_read"
    # The process that sent it recorded no response within 60 s.
    ANSWER_LOST = "answer_lost"
    # The request could not leave five times.
    TOO_MANY_TRIES = "too_many_tries"
    # A row of a bulk deletion was not sent again within 15 minutes of its first attempt, or of the
    # reset of a rate limit.
    NOT_RETRIED_IN_TIME = "not_retried_in_time"
    # Not sent within 15 minutes of confirmation.
    TOO_LATE = "too_late"
    # A row of a bulk deletion had no attempt within 24 h of confirmation.
    NOT_STARTED_IN_TIME = "not_started_in_time"
    # Not approved within 24 h of the request.
    NOT_APPROVED_IN_TIME = "not_approved_in_time"
    # Not confirmed within 24 h of the last approval.
    NOT_CONFIRMED_IN_TIME = "not_confirmed_in_time"
    # A person who confirmed or approved it lost the permission.
    PERSON_LOST_RIGHT = "person_lost_right"
    # It has fewer approvals than it needs.
    APPROVALS_MISSING = "approvals_missing"
    # Its credential was retired.
    CREDENTIAL_RETIRED = "credential_retired"
    # The connection is protected.
    CONNECTION_PROTECTED = "connection_protected"
    # An access review has since decided to keep a connection of a bulk deletion from one.
    DECIDED_TO_KEEP = "decided_to_keep"
    # The keys now belong to another org.
    ANOTHER_ORG = "another_org"
    # No stored keys can be decrypted.
    KEY_RING_UNUSABLE = "key_ring_unusable"
    # These keys cannot be decrypted.
    KEYS_NOT_OPENED = "keys_not_opened"
    # Its site or the proxy is misconfigured.
    CANNOT_BE_ASKED = "cannot_be_asked"
    # Two complete lists agree, some time apart.
    LISTINGS_AGREE = "listings_agree"
    # A later complete list lacks it.
    LATER_LISTING = "later_listing"
