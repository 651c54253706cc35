"""Time limits of requests of every kind, and when their outcomes are checked and verified."""

from datetime import timedelta

# The longest that a request, or the draft of a bulk deletion, stays open without an action by a
# person.
DRAFT_WINDOW = timedelta(hours=24)
APPROVAL_WINDOW = timedelta(hours=24)
CONFIRMING_WINDOW = timedelta(hours=24)
# How long a 429, or a request that never left this server, is retried after the confirmation.
SENDING_WINDOW = timedelta(minutes=15)
# The longest that a 429 can ask to wait, in seconds.
MAX_RESET_SECONDS = 3_600
# A confirmed row of a bulk deletion waits this long for its first attempt. After that,
# SENDING_WINDOW applies. A 429 extends it, because the org is held back until the rate limit
# resets.
QUEUE_WINDOW = timedelta(hours=24)
# No deadline is further ahead, so one that is was set by a wrong clock.
LONGEST_WINDOW = max(DRAFT_WINDOW, APPROVAL_WINDOW, CONFIRMING_WINDOW, QUEUE_WINDOW)
# After a deletion at the end of access was closed, a worker looks whether the connection is gone.
END_RETRY_AFTER = timedelta(minutes=55)
# How long after the DELETE of a move its POST can be confirmed again under the same approvals.
MOVE_WINDOW = timedelta(hours=1)
# Seconds for one DELETE, POST or PATCH in total, from just before its claim. Tests change this.
SEND_SECONDS = 30.0
# Clocks of Datadog and of the database can differ by this much.
CLOCK_MARGIN = timedelta(minutes=2)
# A claim without a response expires after this time.
CLAIM_TIMEOUT = timedelta(seconds=60)
# From the start of the list that a request relies on to its claim.
LIST_WINDOW = timedelta(seconds=10)
# Seconds from the claim to the first byte, while the machine is suspended too.
FIRST_BYTE_SECONDS = 10.0
# By then, the pre-send check has ended or its process has died.
RECHECK_WINDOW = timedelta(seconds=45)
# From then on, a list counts for an unknown outcome.
FIRST_CHECK_DELAY = timedelta(seconds=SEND_SECONDS + 5)
SECOND_CHECK_DELAY = timedelta(seconds=60)
# After this time, an outcome that is still unknown has been checked a dozen times, and a person
# should act.
UNKNOWN_FOR = timedelta(hours=1)
# Seconds between the five tries of a request that never left.
NOT_SENT_DELAYS = (5, 15, 60, 300)
# A list can still show a connection this long after its DELETE worked.
LIST_LAG = timedelta(minutes=5)
# When to verify after a 200. A connection that is still listed at CONTRADICTED_AFTER or later
# contradicts the response. The later times are for lists that failed.
VERIFICATION_AT = tuple(
    timedelta(seconds=seconds) for seconds in (60, 300, 900, 3600, 6 * 3600, 86400)
)
CONTRADICTED_AFTER = LIST_LAG
