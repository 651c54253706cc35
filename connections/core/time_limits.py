"""How long a deletion can take: the limits that sentences name."""

from datetime import timedelta

# The longest that a deletion stays open without an action by a person.
APPROVAL_WINDOW = timedelta(hours=24)
CONFIRMING_WINDOW = timedelta(hours=24)
SENDING_WINDOW = timedelta(minutes=15)
# A confirmed row of a bulk deletion waits this long for its first attempt. After that,
# SENDING_WINDOW applies. A 429 extends it, because the org is held back until the rate limit
# resets.
QUEUE_WINDOW = timedelta(hours=24)
# A claim without a response expires after this time.
CLAIM_TIMEOUT = timedelta(seconds=60)
# Seconds between the five tries of a request that never left.
NOT_SENT_DELAYS = (5, 15, 60, 300)
# After this time, an outcome that is still unknown has been checked a dozen times, and a person
# should act.
UNKNOWN_FOR = timedelta(hours=1)
