"""Deciding on connections of an access review. A decision is added, never changed."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date
from types import MappingProxyType
from typing import cast

from django.core.exceptions import PermissionDenied

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import CurrentConnections, about_connections, load_current
from connections.access_reviews.owners import assigned_to_owners, deciding_owner
from connections.agreements.agreed import NotAgreed, find_agreements, reasons_of
from connections.agreements.setting import Terms, set_agreements
from connections.audit import EventCode
from connections.batches import stopping
from connections.batches.drafts import parse_key
from connections.core import clock
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.text import pluralize
from connections.core.typed_text import find_text_problem
from connections.lookups.refusals import record_refusal
from connections.models import (
    AccessReview,
    AccessReviewDecision,
    AccessReviewRow,
    Agreement,
    OrgPair,
    Person,
    ReviewDecision,
)
from connections.models.text_columns import hex_key

MAX_TOGETHER = 1_000
CLOSED = "This access review is closed. It can't be changed."
_NO_DIGESTS: Mapping[str, str] = MappingProxyType({})
_NO_VERSIONS: Mapping[str, int] = MappingProxyType({})
# What a decision to keep can set of an agreement that lacks it.
TERMS = ("owner", "owner_text", "purpose", "ends_on")
_MISSING: Mapping[NotAgreed, frozenset[str]] = {
    NotAgreed.NO_AGREEMENT: frozenset(TERMS),
    NotAgreed.OWNER_LEFT: frozenset({"owner", "owner_text"}),
    NotAgreed.ENDED: frozenset({"ends_on"}),
}


def decide(
    *,
    review: AccessReview,
    actor: Actor,
    connections: Sequence[str],
    decision: str,
    reason: str,
    keep_until: date | None = None,
    digests: Mapping[str, str] = _NO_DIGESTS,
    versions: Mapping[str, int] = _NO_VERSIONS,
    terms: Terms | None = None,
) -> list[AccessReviewDecision]:
    """Decide on all of these connections, named "<site>/<connection ID>", or on none.

    `digests` says what the page showed of each connection, and `versions` which version of its
    agreement, 0 if there was none; both by the connection's name. What isn't there isn't compared.

    With `terms`, `set_agreements` sets what each agreement lacks of them. Either all decisions and
    agreements are saved, or nothing.

    Raises PermissionDenied for someone who isn't a reviewer, or when another person alone decides
    on a connection as its owner; InvalidInputError naming the fields;
    ConflictError for a closed access review, for a connection that is gone and for one that only
    hidden credentials list; OvertakenError for one that changed since the page showed it, or whose
    agreement did; and what `set_agreements` raises.
    """
    person = _require_reviewer(review, actor=actor)
    rows = find_rows(review, actor=actor, connections=connections)
    reason = reason.strip()
    _require_valid_input(decision=decision, reason=reason, keep_until=keep_until, terms=terms)
    with audit.atomic():
        lock_open_review(review)
        # The reviewers might have changed since the check above.
        _require_reviewer(review, actor=actor)
        _require_owner(review, rows=rows, person=person, actor=actor)
        agreements = find_agreements([_pair_of(row) for row in rows])
        _require_versions(rows, agreements=agreements, versions=versions)
        keys = [row.key for row in rows]
        current = load_current(
            about_connections(keys), hidden=permissions.visibility_of(actor).hidden
        )
        now = clock.now()
        # Read again, because it might have changed since the rows were read.
        owners = dict(review.rows.filter(owner__isnull=False).values_list("pk", "owner"))
        saved = [
            AccessReviewDecision(
                row=row,
                decision=decision,
                reason=reason,
                keep_until=keep_until,
                owner_id=owners.get(row.pk),
                decided_at=now,
                decided_by=person,
                decided_by_name=person.display_name,
                decided_together=len(rows),
                **_covered(row, current=current, shown=digests.get(row.key.reference)),
            )
            for row in rows
        ]
        AccessReviewDecision.objects.bulk_create(saved)
        _record(review, decisions=saved, actor=actor)
        if decision == ReviewDecision.KEEP:
            ids = {row.connection_id for row in rows}
            stopping.pause_where_kept(connection_ids=ids, actor=actor)
        if terms:
            _agree(rows, agreements=agreements, terms=terms, actor=actor)
    return saved


def find_missing(reasons: Iterable[NotAgreed]) -> frozenset[str]:
    """Those of TERMS that an agreement lacks which isn't agreed for these reasons."""
    return frozenset().union(*(_MISSING.get(reason, ()) for reason in reasons))


def lock_open_review(review: AccessReview) -> None:
    """Lock an access review before changing it. Call it in a transaction. Refreshes the object.

    Raises ConflictError when it is closed.
    """
    review.refresh_from_db(from_queryset=AccessReview.objects.select_for_update(no_key=True))
    if review.is_closed:
        raise ConflictError(CLOSED)


def _require_reviewer(review: AccessReview, *, actor: Actor) -> Person:
    permissions.require(
        permissions.can_decide(actor, review=review), "decide in this access review"
    )
    if actor.person is None:
        raise PermissionDenied("Only a person can decide in an access review.")
    return actor.person


def _require_owner(
    review: AccessReview, *, rows: Sequence[AccessReviewRow], person: Person, actor: Actor
) -> None:
    if not assigned_to_owners([review]):
        return
    chosen = review.rows.filter(pk__in=[row.pk for row in rows]).alias(decides=deciding_owner())
    others = chosen.exclude(decides__isnull=False, decides=person.pk)
    if permissions.can_be_reviewer(actor):
        others = others.exclude(decides=None)
    if others.exists():
        raise PermissionDenied(
            "In this access review, a connection is decided by its owner. You selected at least 1 "
            "whose owner is someone else. Nothing was saved."
        )


def find_rows(
    review: AccessReview, *, actor: Actor, connections: Sequence[str]
) -> list[AccessReviewRow]:
    """The rows of these connections, in their order. A hidden connection is treated as unknown."""
    named = {parse_key(text) for text in connections}
    if not named:
        raise InvalidInputError({"connection": "Select at least 1 connection."})
    if len(named) > MAX_TOGETHER:
        raise InvalidInputError(
            {"connection": f"Decide on at most {MAX_TOGETHER:,} connections at once."}
        )
    ids = {key.connection_id for key in named if key}
    every = list(review.rows.filter(connection_id__in=ids))
    visible = visibility.visible_access_review_rows(
        AccessReviewRow.objects.filter(pk__in=[row.pk for row in every]), actor=actor
    )
    visible_ids = set(visible.values_list("pk", flat=True))
    chosen = [row for row in every if row.key in named]
    for row in chosen:
        if row.pk not in visible_ids:
            record_refusal(actor=actor, subject=row.key)
    rows = [row for row in chosen if row.pk in visible_ids]
    if len(rows) < len(named):
        count = len(named) - len(rows)
        are_not = "isn't" if count == 1 else "aren't"
        missing = f"{pluralize(count, 'selected connection')} {are_not} part"
        raise InvalidInputError({"connection": f"{missing} of this access review."})
    return rows


def _require_valid_input(
    *, decision: str, reason: str, keep_until: date | None, terms: Terms | None
) -> None:
    fields: dict[str, str] = {}
    if decision not in set(ReviewDecision):
        fields["decision"] = "Choose to keep or to delete."
    elif terms and decision == ReviewDecision.DELETE:
        fields["decision"] = "Only a decision to keep can set the agreement."
    if problem := find_text_problem(reason):
        fields["reason"] = problem
    if keep_until is not None and decision == ReviewDecision.DELETE:
        fields["keep_until"] = "Only a decision to keep can have an end date."
    elif keep_until is not None and keep_until <= clock.now().date():
        fields["keep_until"] = "Choose a date in the future."
    if fields:
        raise InvalidInputError(fields)


def _covered(
    row: AccessReviewRow, *, current: CurrentConnections, shown: str | None
) -> dict[str, object]:
    """What a decision about a row covers: its connection as last listed and visible to a person."""
    key = hex_key(row.key)
    if key not in current.known:
        raise ConflictError(
            f"Connection {row.key} is no longer listed, so it needs no decision. Nothing was saved."
        )
    visible = current.find_decidable(key)
    if visible is None:
        raise ConflictError(
            f"Connection {row.key} is now listed only by credentials that you can't see. "
            "Nothing was saved."
        )
    if shown is not None and shown != visible.short_digest:
        raise OvertakenError(
            f"Connection {row.key} has changed since you opened this page. Nothing was saved. "
            "Review it again."
        )
    known = current.known[key]
    if not visible.agrees_with(known):
        raise ConflictError(
            f"Connection {row.key} just changed. Nothing was saved. Decide after the next sync."
        )
    return {"covered": known.covered, "review_digest": known.digest}


def _pair_of(row: AccessReviewRow) -> OrgPair:
    return OrgPair(row.site, row.source_org_id, row.sink_org_id)


def _require_versions(
    rows: Sequence[AccessReviewRow],
    *,
    agreements: Mapping[OrgPair, Agreement],
    versions: Mapping[str, int],
) -> None:
    for row in rows:
        agreement, reference = agreements.get(_pair_of(row)), row.key.reference
        version = agreement.version if agreement else 0
        if versions.get(reference, version) != version:
            raise OvertakenError(
                f"The agreement about connection {row.key} has changed since you opened this page. "
                "Nothing was saved. Review it again."
            )


def _agree(
    rows: Sequence[AccessReviewRow],
    *,
    agreements: Mapping[OrgPair, Agreement],
    terms: Terms,
    actor: Actor,
) -> None:
    """Set what each agreement lacks. Raises InvalidInputError for a term that none of them lacks.

    A first agreement gets all terms, so that `set_agreements` says what is missing of them.
    """
    today, by_missing = clock.now().date(), defaultdict[frozenset[str], list[OrgPair]](list)
    for pair in {_pair_of(row): None for row in rows}:
        reasons = reasons_of(agreements.get(pair), (), today=today)
        by_missing[find_missing(reasons).intersection(terms)].append(pair)
    _require_missing(terms, missing=by_missing)
    for missing, pairs in by_missing.items():
        if missing:
            newest = {pair: agreements[pair].version if pair in agreements else 0 for pair in pairs}
            lacked = cast(Terms, {name: terms[name] for name in terms if name in missing})  # type: ignore[literal-required]
            set_agreements(actor=actor, pairs=pairs, terms=lacked, versions=newest)


def _require_missing(terms: Terms, *, missing: Collection[frozenset[str]]) -> None:
    every = frozenset[str]().union(*missing)
    if unused := [name for name, value in terms.items() if value and name not in every]:
        problem = (
            "The selected agreements already have this. Clear the field to keep what they say."
        )
        raise InvalidInputError(dict.fromkeys(unused, problem))


def _record(
    review: AccessReview, *, decisions: Sequence[AccessReviewDecision], actor: Actor
) -> None:
    first = decisions[0]
    until = f" until {first.keep_until.isoformat()}" if first.keep_until else ""
    audit.record(
        code=EventCode.ACCESS_REVIEW_DECIDED,
        actor=actor,
        subject=review,
        sentence=audit.Sentence(
            "{actor} decided to {decision} {connections}{until} in the access review {name}.",
            decision=first.decision,
            connections=pluralize(len(decisions), "connection"),
            until=until,
            name=review.name,
        ),
        details={
            "decision": first.decision,
            "reason": first.reason,
            "keep_until": first.keep_until.isoformat() if first.keep_until else None,
            "decided_at": first.decided_at.isoformat(),
            "decided_together": first.decided_together,
            "decisions": [
                {
                    "id": decision.pk,
                    "position": decision.row.position,
                    "site": decision.row.site,
                    "connection_id": str(decision.row.connection_id),
                    "review_digest": decision.review_digest,
                }
                for decision in decisions
            ],
        },
        rows=_rows_of(decisions),
    )


# The columns that differ between decisions made together.
_OWN_COLUMNS = {"row_id", "covered", "review_digest", "owner_id"}


def _rows_of(decisions: Sequence[AccessReviewDecision]) -> audit.Rows:
    """Decisions made together, as their event has them: what they have in common is there once."""
    rows: audit.Rows = {f"decision {decision.pk}": audit.row_of(decision) for decision in decisions}
    if len(decisions) == 1:
        return rows
    ids = " ".join(str(decision.pk) for decision in decisions)
    common = audit.row_of(decisions[0])
    own = {
        name: {key: value for key, value in (columns or {}).items() if key in _OWN_COLUMNS}
        for name, columns in rows.items()
    }
    # No column is in both, because an event's keys have no order.
    shared = {key: value for key, value in common.items() if key not in _OWN_COLUMNS}
    return {f"decision {ids}": shared, **own}
