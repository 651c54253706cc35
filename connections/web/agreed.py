"""What was agreed about a connection, as pages show it beside the connection."""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from connections.access_requests.status import people_text
from connections.agreements.agreed import reasons_of
from connections.agreements.setting import find_requests_of
from connections.agreements.texts import change_texts, end_text, is_end_urgent, owner_text
from connections.models import COMPLETED, AccessRequest, Agreement
from connections.web.badges import AGREEMENT_REASONS, Badge


@dataclass(frozen=True, kw_only=True)
class AgreedView:
    """An agreement, or that there is none, and what is wrong with it."""

    agreement: Agreement | None
    # A name or a team. "" without an agreement.
    owner: str
    # "in 12 days" or "30 Jun 2027". "" without an end.
    end: str
    is_end_urgent: bool
    # What is wrong with it, where the owner is shown; by the name of a NotAgreed.
    flags: dict[str, Badge]
    # Data types that weren't agreed.
    wider: list[str]
    # Those that were agreed, if others weren't.
    narrower: list[str]


@dataclass(frozen=True, kw_only=True)
class VersionView:
    """One version of an agreement: what it changed, who set it, and when."""

    agreement: Agreement
    changes: tuple[str, ...]
    # "by Ada", or "requested by Victor, approved by Grace".
    set_by: str
    # "Accepted by Victor", or "Refused by Victor: “I left the SOC.”", each with when.
    decisions: tuple[tuple[str, datetime], ...]


def agreed_view(agreement: Agreement | None, types: Collection[str], *, today: date) -> AgreedView:
    """The agreement about a connection that shares these data types."""
    reasons = reasons_of(agreement, types, today=today)
    ends_on = agreement.ends_on if agreement else None
    agreed_types = agreement.connection_types if agreement else types
    wider = [kind for kind in types if kind not in agreed_types]
    return AgreedView(
        agreement=agreement,
        owner=owner_text(agreement) if agreement else "",
        end=end_text(ends_on, today=today) if ends_on else "",
        is_end_urgent=ends_on is not None and is_end_urgent(ends_on, today=today),
        flags={reason.name: AGREEMENT_REASONS[reason] for reason in reasons},
        wider=wider,
        narrower=[kind for kind in types if kind in agreed_types] if wider else [],
    )


def version_views(
    versions: Sequence[Agreement], *, requests: Iterable[AccessRequest]
) -> list[VersionView]:
    """What each version of an agreement changed, and who set it. `versions` are newest first.

    `requests` are the visible access requests, which can have set some of them.
    """
    before = [*versions[1:], None]
    people = {each.pk: people_text(each) for each in requests if each.outcome in COMPLETED}
    of_requests = find_requests_of(versions) if people else {}
    set_by = {pk: people[request] for pk, request in of_requests.items() if request in people}
    return [
        VersionView(
            agreement=version,
            changes=tuple(change_texts(version, earlier)),
            decisions=tuple(_decisions(version)),
            set_by=set_by.get(version.pk) or f"by {version.set_by or version.set_by_process}",
        )
        for version, earlier in zip(versions, before, strict=False)
    ]


def _decisions(version: Agreement) -> Iterator[tuple[str, datetime]]:
    decision = version.decision
    if decision and decision.refused_at:
        yield f"Refused by {version.owner}: “{decision.reason}”", decision.refused_at
    if decision and decision.accepted_at:
        yield f"Accepted by {version.owner}", decision.accepted_at
