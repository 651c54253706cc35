"""Ticket patterns and addresses.

RE2 matches in linear time, so no pattern is slow for any ticket. Python's `re` would backtrack:
`([A-Z]+)+-[0-9]+` takes longer than anyone waits to refuse sixty letters.
"""

import re2
from django.conf import settings
from django.utils.http import urlencode

MAX_TICKET_LENGTH = 200


def check_ticket_pattern(pattern: str) -> str:
    """The pattern. Raises ValueError, with what is wrong, unless it is a valid RE2 pattern."""
    options = re2.Options()
    # RE2 would write the error to standard error itself.
    options.log_errors = False
    try:
        re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(
            f"it isn't a valid RE2 regular expression ({error.args[0].decode()}). Lookarounds, "
            "back-references and possessive repeats aren't supported."
        ) from None
    return pattern


def find_ticket_problem(ticket: str) -> str | None:
    """What is wrong with a ticket, as a sentence. None if nothing is wrong."""
    if len(ticket) > MAX_TICKET_LENGTH:
        return f"A ticket can have at most {MAX_TICKET_LENGTH} characters."
    if ticket and settings.TICKET_PATTERN and not re2.fullmatch(settings.TICKET_PATTERN, ticket):
        return f"A ticket must match {settings.TICKET_PATTERN}."
    return None


def ticket_url(ticket: str) -> str:
    """Where a ticket can be read. Empty if no address is configured.

    ORGADMIN_TICKET_URL contains `{ticket}`, which is replaced by the quoted ticket.
    """
    if not ticket or "{ticket}" not in settings.TICKET_URL:
        return ""
    quoted = urlencode({"": ticket})[1:].replace("+", "%20")
    return str(settings.TICKET_URL).replace("{ticket}", quoted)
