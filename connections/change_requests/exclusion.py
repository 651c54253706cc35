"""Of a deletion and an access request of the same pair, the one confirmed first ends the other.

Whatever requests or confirms one of them first locks the source org, and then looks for the other.
"""

from collections.abc import Collection, Sequence

from django.db import connection

from connections import audit
from connections.access import visibility
from connections.access.actor import Actor
from connections.change_requests import states
from connections.change_requests.states import Settle
from connections.core.causes import Cause, cause_text
from connections.core.errors import BlockedError
from connections.models import (
    AccessRequest,
    ChangeRequest,
    CommonOutcome,
    Deletion,
    Org,
    OrgPair,
    Step,
    of_these_pairs,
)

# What people learn of a request that is hidden from them.
IN_PROGRESS = "Something about these orgs is in progress."
WAIT = "Nothing was sent. Wait until it is closed."


def pairs_of(change_requests: Sequence[ChangeRequest]) -> list[OrgPair]:
    """The pairs of these requests. One whose orgs are unknown has none."""
    return [
        OrgPair(each.site, each.source_org_id, each.sink_org_id)
        for each in change_requests
        if each.source_org_id and each.sink_org_id
    ]


def lock_source_orgs(pairs: Collection[OrgPair]) -> None:
    """Lock what requesting or confirming anything about these pairs locks first.

    Call it after locking credentials, and before locking requests. SQLite has only one writer.
    """
    if not connection.features.has_select_for_update:
        return
    # In a fixed order, so that two processes don't wait for each other.
    rows = Org.objects.filter(
        site__in={pair.site for pair in pairs}, org_id__in={pair.source_org_id for pair in pairs}
    ).order_by("pk")
    list(rows.select_for_update(no_key=True).values_list("pk"))


def find_open[R: ChangeRequest](kind: type[R], pair: OrgPair) -> R | None:
    """An open request of this kind for the pair, if there is one."""
    rows = kind._default_manager.filter(settled_at=None, **pair._asdict())
    return rows.order_by("pk").first()


def can_see(change_request: ChangeRequest, *, actor: Actor) -> bool:
    """Whether the actor can see this request."""
    if isinstance(change_request, Deletion):
        return visibility.is_visible(change_request, actor=actor)
    visible = visibility.visible_access_requests(actor=actor)
    return visible.filter(pk=change_request.pk).exists()


def lock_excluded(change_requests: Sequence[ChangeRequest], *, actor: Actor) -> list[ChangeRequest]:
    """Lock and return the open requests that these, of one kind, end if they are confirmed first.

    Call it in the transaction that requests or confirms them, or claims a bulk deletion's rows.
    Raises BlockedError if something of their orgs was sent or, for access, a deletion confirmed.
    """
    pairs = pairs_of(change_requests)
    if not pairs:
        return []
    lock_source_orgs(pairs)
    is_deleting = isinstance(change_requests[0], Deletion)
    kind: type[ChangeRequest] = AccessRequest if is_deleting else Deletion
    rows = kind._default_manager.filter(of_these_pairs(pairs), settled_at=None).order_by("pk")
    # Locked so that none can be claimed now. A claim is the only thing that increases the epoch.
    others = list(rows.select_for_update(no_key=True))
    for other in others:
        # A bulk deletion's row that is confirmed ends the access request when it is claimed.
        if other.epoch or (other.confirmed_at and not is_deleting):
            cause = Cause.ACCESS_REQUEST_CONFIRMED if is_deleting else Cause.DELETION_CONFIRMED
            raise BlockedError(wait_for(other, actor=actor), cause=cause)
    return others


def settle_excluded(
    others: Sequence[ChangeRequest], *, by: Sequence[ChangeRequest], actor: Actor
) -> None:
    """Settle as stale what `lock_excluded` returned and these, which were confirmed, exclude."""
    pairs = set(pairs_of(by))
    cause = Cause.ACCESS_REQUEST_CONFIRMED
    if by and isinstance(by[0], Deletion):
        cause = Cause.DELETION_CONFIRMED
    states.apply_to_all(
        [other for other in others if pairs.issuperset(pairs_of([other]))],
        transition=Settle(outcome=CommonOutcome.STALE, cause=cause),
        actor=actor,
        events_of=lambda other: [
            audit.EventDraft(
                code=other.event_code(Step.SETTLED),
                sentence=audit.Sentence(
                    "The {title} {connection} is closed. {why} Nothing was sent.",
                    title=other.title,
                    connection=other.description,
                    why=cause_text(cause),
                ),
            )
        ],
    )


def stale_text(cause: str) -> str:
    """Why a request that ended as stale did, without a full stop."""
    if cause in {
        Cause.DELETION_CONFIRMED,
        Cause.DELETION_REQUESTED,
        Cause.ACCESS_REQUEST_CONFIRMED,
        Cause.AGREEMENT_CHANGED,
    }:
        return cause_text(cause).removesuffix(".")
    return "The connection changed after the request"


def wait_for(other: ChangeRequest, *, actor: Actor) -> str:
    """Why nothing can be requested or confirmed beside this open request, and what to do."""
    what = IN_PROGRESS
    if can_see(other, actor=actor):
        what = f"The {other.title} {other.pair} is open."
    return f"{what} {WAIT}"
