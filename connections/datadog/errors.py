"""What an answer, or the lack of one, says about the world."""

from enum import StrEnum


class Verdict(StrEnum):
    """What became of a DELETE, as far as its answer proves it. One row each."""

    # The status line said 200, whatever became of headers and body.
    DELETED = "deleted"
    # 400, 401 or 403: Datadog read the request and refused it.
    REFUSED = "refused"
    # 404 with a JSON object that holds an `errors` list: Datadog itself does not find the id.
    NOT_FOUND = "not_found"
    # 429: refused for now, nothing was deleted.
    RATE_LIMITED = "rate_limited"
    # Proof that no byte of the request left this machine.
    NOT_SENT = "not_sent"
    # Everything else: the request may have been carried out.
    AMBIGUOUS = "ambiguous"


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


class DatadogError(Exception):
    """A reading call that did not bring what was asked for.

    It holds plain values only: no exception of the HTTP library stands behind it
    (`__cause__` and `__context__` are None), so nothing leads from it to a key.
    `errors` are Datadog's own words, bounded in number and length.
    `retry_after_seconds` is set for a 429 only.
    """

    def __init__(
        self,
        *,
        cause: Cause,
        http_status: int | None = None,
        errors: tuple[str, ...] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        super().__init__(f"{cause} (HTTP {http_status})" if http_status else str(cause))
        self.cause = cause
        self.http_status = http_status
        self.errors = errors
        self.retry_after_seconds = retry_after_seconds


_CAUSE_OF_STATUS = {
    400: Cause.BAD_REQUEST,
    401: Cause.UNAUTHORIZED,
    403: Cause.FORBIDDEN,
    408: Cause.REQUEST_TIMEOUT,
    429: Cause.RATE_LIMITED,
}


def verdict_of_status(
    *, status: int | None, has_errors_list: bool, has_request_left: bool = True
) -> Verdict:
    """The one row a DELETE's answer belongs to.

    `status` is None when no whole status line came; then `has_request_left` decides.
    `has_errors_list`: the body is a JSON object that holds an `errors` list, the form in
    which Datadog itself says 404 (recorded: `{"errors":["org connection with id:…"]}`).
    """
    if status is None:
        return Verdict.AMBIGUOUS if has_request_left else Verdict.NOT_SENT
    if status == 200:
        return Verdict.DELETED
    if status in {400, 401, 403}:
        return Verdict.REFUSED
    if status == 404 and has_errors_list:
        return Verdict.NOT_FOUND
    if status == 429:
        return Verdict.RATE_LIMITED
    return Verdict.AMBIGUOUS


def cause_of_status(*, status: int, has_errors_list: bool) -> Cause | None:
    """The code for a status; None for 200."""
    if status == 200:
        return None
    if status == 404:
        return Cause.NOT_FOUND if has_errors_list else Cause.WRONG_404
    if 300 <= status < 400:
        return Cause.REDIRECT
    if 500 <= status < 600:
        return Cause.SERVER_ERROR
    return _CAUSE_OF_STATUS.get(status, Cause.UNEXPECTED_STATUS)
