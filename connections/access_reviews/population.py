"""Starting an access review: it freezes the population and names the reviewers."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from uuid import UUID

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.access_reviews.current import deciding_credentials, load_current, load_snapshots
from connections.access_reviews.owners import fix_owners
from connections.audit import EventCode, personal_data
from connections.core import clock
from connections.core.errors import InvalidInputError
from connections.core.text import pluralize
from connections.core.typed_text import find_text_problem
from connections.inventory import storing
from connections.inventory.filters import parse_filter
from connections.inventory.inventory import ALL, Coverage, Inventory, build_inventory
from connections.inventory.matching import InventoryFilter
from connections.models import (
    AccessReview,
    AccessReviewReviewer,
    AccessReviewRow,
    Assignment,
    Credential,
    OrgConnectionKey,
    Person,
    Sync,
)

MAX_ROWS = 10_000
# After how many months an access review can be repeated.
REPETITIONS = {1: "every month", 3: "every 3 months", 6: "every 6 months", 12: "every year"}
MAX_NAME_LENGTH = 200
WHO_CAN = "start, close or export access reviews"
_ROWS_AT_ONCE = 500


@dataclass(frozen=True, kw_only=True)
class PopulationPreview:
    """What an access review with this scope and these reviewers would start with."""

    # With what the scope matches.
    inventory: Inventory
    # The connections that no reviewer can see.
    without_reviewer: list[OrgConnectionKey]
    coverage: dict[str, Any]


def preview_population(
    *, actor: Actor, scope: str, reviewers: Sequence[Person]
) -> PopulationPreview:
    """What `start_review` would freeze now. Without reviewers, everyone who can be one counts.

    Raises PermissionDenied, and InvalidInputError for `scope`.
    """
    permissions.require(permissions.can_manage_access_reviews(actor), WHO_CAN)
    filters, _ = _parse_scope(scope)
    inventory = build_inventory(actor=actor, filters=filters)
    return PopulationPreview(
        inventory=inventory,
        without_reviewer=_find_without_reviewer_in(inventory, reviewers=reviewers),
        coverage=coverage_document(inventory.coverage),
    )


def _find_without_reviewer_in(
    inventory: Inventory, *, reviewers: Sequence[Person]
) -> list[OrgConnectionKey]:
    """The matches that none of these people can decide on. If none are given, that no one can."""
    people = permissions.possible_reviewers()
    if reviewers:
        people = people.filter(pk__in=[person.pk for person in reviewers])
    keys = [
        OrgConnectionKey(site=listed.site, connection_id=listed.connection_id)
        for listed in inventory.matches
    ]
    return _find_without_reviewer(keys, hidden=visibility.hidden_from(people).values())


def find_without_reviewer(*, review: AccessReview) -> list[OrgConnectionKey]:
    """The connections that no reviewer can decide on now, except those that are gone."""
    hidden = visibility.hidden_from(permissions.reviewers_of(review)).values()
    if not all(hidden):
        # Someone sees everything, so the rows needn't be read.
        return []
    rows = review.rows.order_by("position").values_list("site", "connection_id")
    keys = [OrgConnectionKey(site=site, connection_id=pk) for site, pk in rows]
    return _find_without_reviewer(keys, hidden=hidden)


def _find_without_reviewer(
    keys: Sequence[OrgConnectionKey], *, hidden: Collection[frozenset[UUID]]
) -> list[OrgConnectionKey]:
    """The connections that are hidden from everyone. `hidden` has each person's credentials."""
    listed_by = deciding_credentials(keys) if all(hidden) else {}
    return [
        key
        for key in keys
        if key in listed_by and all(listed_by[key] <= credentials for credentials in hidden)
    ]


def start_review(
    *,
    actor: Actor,
    name: str,
    scope: str,
    due: date,
    reviewers: Sequence[Person],
    assignment: Assignment = Assignment.REVIEWERS,
    repeat_months: int | None = None,
    repeats: AccessReview | None = None,
    started_by: Actor | None = None,
) -> AccessReview:
    """Freeze what the scope matches now, for these reviewers or for everyone who can be one.

    `scope` is a query string of the inventory; `due` is the last day. With an `assignment` to
    owners, `reviewers` are empty. The next one `repeats` the last one in the name of its creator,
    which is the `actor`, and is `started_by` the worker.

    Raises PermissionDenied, and InvalidInputError for `name`, `scope`, `due`, `reviewers` and
    `repeat_months`.
    """
    permissions.require(permissions.can_manage_access_reviews(actor), WHO_CAN)
    filters, scope = _parse_scope(scope)
    name = " ".join(name.split())
    _require_valid_input(name=name, due=due, reviewers=reviewers)
    require_repetition(repeat_months)
    if assignment == Assignment.OWNERS and reviewers:
        raise InvalidInputError({"reviewers": "Choose either owners or people."})
    with audit.atomic():
        # So that the rows and their coverage come from the same syncs.
        storing.lock_snapshots()
        inventory = build_inventory(actor=actor, filters=filters)
        now = clock.now()
        review = AccessReview(
            name=name,
            scope=scope,
            due_at=datetime.combine(due, time(23, 59, 59), tzinfo=UTC),
            is_for_everyone=not reviewers,
            assignment=assignment,
            has_fixed_owners=assignment == Assignment.OWNERS,
            repeat_months=repeat_months,
            repeats=repeats,
            coverage=coverage_document(inventory.coverage),
            created_at=now,
            created_by=actor.person,
            created_by_name=actor.name,
        )
        rows = _build_rows(review, inventory=inventory)
        _require_row_count(len(rows))
        review.row_count = len(rows)
        review.without_reviewer = len(_find_without_reviewer_in(inventory, reviewers=reviewers))
        review.save(force_insert=True)
        # The database refuses reviewers once there are rows.
        named = AccessReviewReviewer.objects.bulk_create(
            AccessReviewReviewer(review=review, person=person, name=person.display_name)
            for person in sorted(reviewers, key=lambda person: person.pk)
        )
        AccessReviewRow.objects.bulk_create(rows, batch_size=_ROWS_AT_ONCE)
        row_owners = fix_owners(review) if review.has_fixed_owners else {}
        audit.record(
            code=EventCode.ACCESS_REVIEW_STARTED,
            actor=started_by or actor,
            subject=review,
            sentence=audit.Sentence(
                "{actor} started the access review {name} of {connections}, due on {due}.",
                name=name,
                connections=pluralize(len(rows), "connection"),
                due=due.isoformat(),
            ).followed_by(
                _without_reviewer_text(review), reviewers_sentence(named, assignment=assignment)
            ),
            details={
                "name": name,
                "scope": scope,
                "due_at": review.due_at.isoformat(),
                "started_at": now.isoformat(),
                "reviewers": sorted(str(person.pk) for person in reviewers),
                "owners": sorted(row_owners),
                "row_owners": row_owners,
                "count": len(rows),
                "without_reviewer": review.without_reviewer,
            },
            rows={
                "access_review": audit.row_of(review, actor=started_by or actor),
                "access_review_rows": audit.digest_of_rows(map(audit.row_of, rows)),
                **reviewer_rows(named),
            },
        )
    return review


def _without_reviewer_text(review: AccessReview) -> str:
    if not review.without_reviewer:
        return ""
    return f"No reviewer can decide on {review.without_reviewer:,} of them."


def reviewers_sentence(
    reviewers: Iterable[AccessReviewReviewer], *, assignment: str = Assignment.REVIEWERS
) -> audit.Sentence:
    """Who the reviewers are, by ID; the verifier compares it with the stored names."""
    names = [
        personal_data.recorded_name(reviewer.name, person=reviewer.person)
        for reviewer in sorted(reviewers, key=lambda reviewer: str(reviewer.person_id))
    ]
    if not names:
        if assignment == Assignment.OWNERS:
            return audit.Sentence(
                "Every Operator, Approver and Auditor is a reviewer of connections without an "
                "owner who can decide."
            )
        return audit.Sentence("Every Operator, Approver and Auditor is a reviewer.")
    return audit.Sentence("Reviewers: {names}.", names=names)


def reviewer_rows(reviewers: Iterable[AccessReviewReviewer]) -> audit.Rows:
    """Named reviewers as their event has them."""
    return {f"reviewer {reviewer.person_id}": audit.row_of(reviewer) for reviewer in reviewers}


def require_repetition(repeat_months: int | None) -> None:
    """Raise InvalidInputError unless it is None or one of REPETITIONS."""
    if repeat_months is not None and repeat_months not in REPETITIONS:
        raise InvalidInputError({"repeat_months": "Choose how often it repeats."})


def _parse_scope(scope: str) -> tuple[InventoryFilter, str]:
    filters, scope = parse_filter(scope)
    if filters.is_relative:
        # A relative filter would match different connections at the closing.
        raise InvalidInputError(
            {
                "scope": "An access review can't be limited by when connections were created, "
                "changed or reviewed. Remove that filter."
            }
        )
    return filters, scope


def _require_valid_input(*, name: str, due: date, reviewers: Sequence[Person]) -> None:
    fields: dict[str, str] = {}
    if problem := find_text_problem(
        name, missing="Enter a name.", noun="name", max_length=MAX_NAME_LENGTH
    ):
        fields["name"] = problem
    if due < clock.now().date():
        fields["due"] = "Choose today or a later date."
    if fields:
        raise InvalidInputError(fields)
    require_possible_reviewers(reviewers)


def require_possible_reviewers(reviewers: Sequence[Person]) -> None:
    """Raise InvalidInputError when one of these people can't be a reviewer."""
    chosen = {person.pk for person in reviewers}
    possible = permissions.possible_reviewers().filter(pk__in=chosen).values_list("pk", flat=True)
    if chosen - set(possible):
        message = "A reviewer must be an active Operator, Approver or Auditor."
        raise InvalidInputError({"reviewers": message})


def _require_row_count(count: int) -> None:
    if not count:
        raise InvalidInputError({"scope": "No connection matches. Choose other filters."})
    if count > MAX_ROWS:
        raise InvalidInputError(
            {
                "scope": f"An access review can have at most {MAX_ROWS:,} connections, and these "
                f"filters match {count:,}. Choose narrower filters."
            }
        )


def _build_rows(review: AccessReview, *, inventory: Inventory) -> list[AccessReviewRow]:
    known = load_current(ALL).known
    connections = [known[listed.key] for listed in inventory.matches]
    snapshots = load_snapshots(connections)
    return [
        AccessReviewRow(
            review=review,
            position=position,
            site=snapshot.site,
            connection_id=snapshot.connection_id,
            digest=snapshot.digest,
            snapshot_at=snapshot.last_seen_at,
            review_digest=current.digest,
            **snapshot.snapshot_values(),
        )
        for position, (current, snapshot) in enumerate(
            zip(connections, snapshots, strict=True), start=1
        )
    ]


# --- How complete the inventory was -----------------------------------------------------------


def coverage_document(coverage: Coverage) -> dict[str, Any]:
    """Each credential's org with its newest sync, and the orgs that have no credential."""
    orgs = [
        *(
            _org_document(sync.credential, coverage=coverage, newest=sync)
            for sync in (*coverage.listed, *coverage.failed)
        ),
        *(_org_document(credential, coverage=coverage) for credential in coverage.never_listed),
    ]
    return {
        "orgs": sorted(orgs, key=lambda org: (org["org_name"], org["credential"])),
        "without_credential": [
            {"site": org.site, "org_id": org.org_id, "org_name": org.name}
            for org in coverage.unknown_orgs
        ],
    }


def _org_document(
    credential: Credential, *, coverage: Coverage, newest: Sync | None = None
) -> dict[str, Any]:
    last_complete = coverage.last_complete.get(credential.pk)
    return {
        "site": credential.site,
        "org_id": credential.org_id,
        "org_name": credential.org_name,
        "credential_id": str(credential.pk),
        "credential": credential.name,
        "synced_at": newest.started_at.isoformat() if newest else None,
        "is_complete": newest is not None and newest.is_complete,
        "complete_at": last_complete.started_at.isoformat() if last_complete else None,
    }
