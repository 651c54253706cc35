"""What the agreements need from a person: to accept their own, or to agree on a connection."""

from collections.abc import Iterator

from django.urls import reverse

from connections.core.text import pluralize
from connections.inventory.agreed_counts import find_agreement_needs
from connections.web.badges import Badge
from connections.web.overview.attention import Item, Situation


def agreements(situation: Situation) -> Iterator[Item]:
    """One line about the person's own, and for Operators one about what isn't agreed."""
    needs = find_agreement_needs(actor=situation.actor, agreed=lambda: situation.agreed)
    url = reverse("agreement-list", query={"needs": "you"})
    if needs.to_accept:
        yield Item(
            kind="acceptance",
            badge=Badge("Agreements", "info", "check"),
            name=f"You answer for {pluralize(needs.answered, 'connection')}: "
            f"{needs.to_accept:,} not accepted yet",
            url=url,
            action="Accept…",
            count=needs.to_accept,
        )
    if needs.to_agree:
        yield Item(
            kind="not_agreed",
            badge=Badge("Not agreed", "warn", "warning"),
            name=pluralize(needs.to_agree, "connection") + _refused_text(needs.refused),
            url=url,
            action="Set owners…",
            count=needs.to_agree,
        )


def _refused_text(count: int) -> str:
    if not count:
        return ""
    return f", {count:,} refused by {'its owner' if count == 1 else 'their owners'}"
