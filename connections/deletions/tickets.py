"""The optional ticket of a deletion: its pattern and its link, both by setting."""

import re

from django.conf import settings
from django.utils.http import urlencode

from connections.deletions.ticket_patterns import LONGEST_TICKET


def check_ticket(ticket: str) -> str:
    """What is wrong with a ticket, as a sentence; empty when nothing is.

    The length comes first: settings.py checked that the pattern is fast up to that length.
    """
    if len(ticket) > LONGEST_TICKET:
        return f"A ticket has at most {LONGEST_TICKET} characters."
    if ticket and settings.TICKET_PATTERN and not re.fullmatch(settings.TICKET_PATTERN, ticket):
        return f"A ticket here looks like {settings.TICKET_PATTERN}."
    return ""


def ticket_url(ticket: str) -> str:
    """Where a ticket can be read; empty when no address is configured.

    ORGADMIN_TICKET_URL holds `{ticket}`, which is replaced by the quoted ticket.
    """
    if not ticket or "{ticket}" not in settings.TICKET_URL:
        return ""
    quoted = urlencode({"": ticket})[1:].replace("+", "%20")
    return str(settings.TICKET_URL).replace("{ticket}", quoted)
