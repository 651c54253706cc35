"""How long a deletion can take, and when it is checked and verified."""

from datetime import timedelta

from connections.changes.losses import LIST_LAG
from connections.core.time_limits import APPROVAL_WINDOW as APPROVAL_WINDOW
from connections.core.time_limits import CLAIM_TIMEOUT as CLAIM_TIMEOUT
from connections.core.time_limits import CONFIRMING_WINDOW as CONFIRMING_WINDOW
from connections.core.time_limits import NOT_SENT_DELAYS as NOT_SENT_DELAYS
from connections.core.time_limits import QUEUE_WINDOW as QUEUE_WINDOW
from connections.core.time_limits import SENDING_WINDOW as SENDING_WINDOW
from connections.datadog.responses import MAX_RESET_SECONDS
from connections.models import State

RETRY_WINDOW = timedelta(seconds=MAX_RESET_SECONDS) + SENDING_WINDOW
# The window that `expires_at` ends, by state.
EXPIRES_WITHIN = {
    State.REQUESTED: APPROVAL_WINDOW,
    State.APPROVED: CONFIRMING_WINDOW,
    State.WAITING: SENDING_WINDOW,
    State.STILL_PRESENT: APPROVAL_WINDOW,
}
# Seconds for one DELETE in total, from just before its claim. Tests change this.
DELETE_SECONDS = 30.0
# From the start of a sync that checked several deletions to the claim of the last one.
SHARED_CHECK_WINDOW = timedelta(seconds=10)
# By then, the pre-send check has ended or its process has died.
RECHECK_WINDOW = timedelta(seconds=45)
# From then on, a list counts for an unknown deletion: the deadline of the DELETE plus a margin.
FIRST_CHECK_DELAY = timedelta(seconds=35)
SECOND_CHECK_DELAY = timedelta(seconds=60)
# When to verify after a 200. A connection that is still listed at CONTRADICTED_AFTER or later
# contradicts the response. The later times are for lists that failed.
VERIFICATION_AT = tuple(
    timedelta(seconds=seconds) for seconds in (60, 300, 900, 3600, 6 * 3600, 86400)
)
CONTRADICTED_AFTER = LIST_LAG
# The furthest ahead that `due_at` is ever set if nothing expires, by state.
DUE_WITHIN = {
    State.SENDING: CLAIM_TIMEOUT,
    State.UNKNOWN: timedelta(hours=1),
    State.STILL_PRESENT: timedelta(hours=1),
    State.SETTLED: VERIFICATION_AT[-1],
}
