"""The parts of lists that a search finds by their name, such as the changes that widened."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from django.urls import reverse

from connections.access.actor import Actor
from connections.access_requests.listing import AccessRequestFilter, list_access_requests
from connections.agreements.agreed import NotAgreed
from connections.changes import changes
from connections.deletions import history
from connections.inventory.orgs import OrgPart, list_orgs
from connections.inventory.pairs import PairFilter, list_pairs
from connections.models import AccessOutcome, Change, Outcome
from connections.web.agreements.forms import ANY

# What the types of a connection became isn't in the name of the kind.
_OTHER_WORDS = {Change.Kind.TYPES_CHANGED: "widened narrowed"}
_ORG_PARTS = {
    OrgPart.FAILING: "Failing",
    OrgPart.READ_ONLY: "Read-only",
    OrgPart.NO_CREDENTIAL: "No credential",
    OrgPart.OLD_KEYS: "Old keys",
}


@dataclass(frozen=True, kw_only=True)
class ListPart:
    """The rows of a list that one filter finds."""

    title: str
    label: str
    list_name: str
    query: Mapping[str, str]
    # How many the actor sees. None if there are too many to count.
    count: Callable[[Actor], int | None]
    other_words: str = ""

    @property
    def name(self) -> str:
        """ "Changes: Types changed"."""
        return f"{self.title}: {self.label}"

    @property
    def url(self) -> str:
        """The list with the filter."""
        return reverse(self.list_name, query=self.query)

    def is_named(self, words: list[str]) -> bool:
        """Whether every word starts one of its words, and not only words of the list's title."""
        own = f"{self.label} {self.other_words}".casefold().split()
        every = [*own, *self.title.casefold().split()]
        return _any_starts(own, words) and all(_any_starts(every, [word]) for word in words)


def _any_starts(names: list[str], words: list[str]) -> bool:
    return any(name.startswith(word) for name in names for word in words)


def list_parts() -> Iterator[ListPart]:
    """Every part, in the order of the navigation."""
    for outcome in Outcome:
        yield ListPart(
            title="Deletions",
            label=outcome.label,
            list_name="deletion-list",
            query={"status": outcome},
            count=partial(_count_deletions, outcome),
        )
    for kind in Change.Kind:
        yield ListPart(
            title="Changes",
            label=kind.label,
            list_name="change-list",
            query={"kind": kind},
            count=partial(_count_changes, kind),
            other_words=_OTHER_WORDS.get(kind, ""),
        )
    for access_outcome in AccessOutcome:
        yield ListPart(
            title="Access requests",
            label=access_outcome.label,
            list_name="access-request-list",
            query={"status": access_outcome},
            count=partial(_count_access_requests, access_outcome),
        )
    yield _not_agreed(ANY, "Not agreed", reasons=tuple(NotAgreed))
    for reason in NotAgreed:
        yield _not_agreed(reason, reason.label, reasons=(reason,))
    for part, label in _ORG_PARTS.items():
        yield ListPart(
            title="Orgs",
            label=label,
            list_name="org-list",
            query={"show": part},
            count=partial(_count_orgs, part),
        )


def _not_agreed(value: str, label: str, *, reasons: tuple[NotAgreed, ...]) -> ListPart:
    return ListPart(
        title="Agreements",
        label=label,
        list_name="agreement-list",
        query={"reason": value},
        count=partial(_count_pairs, reasons),
    )


def _count_deletions(outcome: Outcome, actor: Actor) -> int | None:
    filters = history.HistoryFilter(status=(outcome,))
    return history.count_matches(actor=actor, filters=filters)


def _count_changes(kind: Change.Kind, actor: Actor) -> int | None:
    return changes.count_for_list(actor=actor, filters=changes.ChangeFilter(kind=(kind,)))[0]


def _count_access_requests(outcome: AccessOutcome, actor: Actor) -> int:
    filters = AccessRequestFilter(status=(outcome,))
    return list_access_requests(actor=actor, filters=filters).count()


def _count_pairs(reasons: tuple[NotAgreed, ...], actor: Actor) -> int:
    return len(list_pairs(actor=actor, filters=PairFilter(reason=reasons)).matches)


def _count_orgs(part: OrgPart, actor: Actor) -> int:
    return sum(part in org.parts for org in list_orgs(actor=actor))
