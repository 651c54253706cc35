"""How long a deletion can take, and when it is checked and verified."""

from datetime import timedelta

from connections.changes.losses import LIST_LAG
from connections.datadog.responses import MAX_RESET_SECONDS
from connections.models import State

# The longest that a deletion stays open without an action by a person.
APPROVAL_WINDOW = timedelta(hours=24)
CONFIRMING_WINDOW = timedelta(hours=24)
SENDING_WINDOW = timedelta(minutes=15)
# A confirmed row of a bulk deletion waits this long for its first attempt. After that,
# SENDING_WINDOW applies. A 429 extends it, because the org is held back until the rate limit
# resets.
QUEUE_WINDOW = timedelta(hours=24)
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
# A claim without a response expires after this time.
CLAIM_TIMEOUT = timedelta(seconds=60)
# From the start of a sync that checked several deletions to the claim of the last one.
SHARED_CHECK_WINDOW = timedelta(seconds=10)
# By then, the pre-send check has ended or its process has died.
RECHECK_WINDOW = timedelta(seconds=45)
# From then on, a list counts for an unknown deletion: the deadline of the DELETE plus a margin.
FIRST_CHECK_DELAY = timedelta(seconds=35)
SECOND_CHECK_DELAY = timedelta(seconds=60)
# Seconds between the five tries of a request that never left.
NOT_SENT_DELAYS = (5, 15, 60, 300)
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
