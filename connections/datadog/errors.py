"""What an answer, or the lack of one, says about the world."""

from enum import StrEnum

from connections.core.causes import Cause


class AttemptResult(StrEnum):
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


def result_of_status(
    *, status: int | None, has_errors_list: bool, has_request_left: bool = True
) -> AttemptResult:
    """The one row a DELETE's answer belongs to.

    `status` is None when no whole status line came; then `has_request_left` decides.
    `has_errors_list`: the body is a JSON object that holds an `errors` list, the form in
    which Datadog itself says 404 (recorded: `{"errors":["org connection with id:…"]}`).
    """
    if status is None:
        return AttemptResult.AMBIGUOUS if has_request_left else AttemptResult.NOT_SENT
    if status == 200:
        return AttemptResult.DELETED
    if status in {400, 401, 403}:
        return AttemptResult.REFUSED
    if status == 404 and has_errors_list:
        return AttemptResult.NOT_FOUND
    if status == 429:
        return AttemptResult.RATE_LIMITED
    return AttemptResult.AMBIGUOUS


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
