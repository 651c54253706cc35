"""Drafts of bulk deletions: a plan that freezes what matched, and changes to it before the request.

A plan holds each connection as its credential's newest snapshot showed it. Connections that appear
later are not in it. A row that can't be deleted stays in the plan with its problem and doesn't
prevent other rows from being deleted.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db.models import Q

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor, person_actor
from connections.access.policies import credentials_of_orgs
from connections.batches.facts import ConnectionFacts, load_facts
from connections.core import clock
from connections.core.causes import Cause
from connections.core.errors import ConflictError, InvalidInputError, OvertakenError
from connections.core.text import pluralize
from connections.core.time_limits import DRAFT_WINDOW
from connections.datadog.payloads import canonical_connection_id
from connections.deletions.status import GROUP_OF, OutcomeGroup
from connections.inventory.inventory import build_inventory
from connections.inventory.matching import InventoryFilter, KnownOrg, ListedConnection
from connections.models import (
    SENDABLE,
    SNAPSHOT_FIELD_NAMES,
    AccessReview,
    ApprovalPolicy,
    Batch,
    BatchOrigin,
    BatchRow,
    BatchState,
    Credential,
    Deletion,
    OrgConnectionKey,
    OrgConnectionSnapshot,
    Person,
    RowProblem,
    batch_digest_of,
)

MAX_ROWS = 1_000
EXPIRED = (
    f"This draft expired after {pluralize(DRAFT_WINDOW // timedelta(hours=1), 'hour')}. "
    "Nothing was sent."
)
CHECK_AGAIN = "Check the plan as it is now."
OUT_OF_DATE = f"The plan has changed since you opened this page. Nothing was sent. {CHECK_AGAIN}"


@dataclass(frozen=True, kw_only=True)
class PlannedConnection:
    """One connection as the person named it, and the credential to prefer, if they named one."""

    # "<site>/<connection ID>".
    text: str
    credential_id: UUID | None = None
    # Whether only this credential can send it.
    is_credential_fixed: bool = False


@dataclass(frozen=True, kw_only=True)
class PlanSource:
    """Where a plan comes from and the connections it names."""

    origin: BatchOrigin
    connections: Sequence[PlannedConnection]
    filter_text: str = ""
    org: KnownOrg | None = None
    access_review: AccessReview | None = None


# --- Making a draft ---------------------------------------------------------------------------


def create_draft_from_selection(*, actor: Actor, connections: Sequence[str]) -> Batch:
    """A draft of connections named "<site>/<connection ID>". Raises what `create_draft` raises."""
    named = [PlannedConnection(text=text) for text in connections]
    source = PlanSource(origin=BatchOrigin.SELECTION, connections=named)
    return create_draft(source=source, actor=actor)


def create_draft_from_filter(*, actor: Actor, filters: InventoryFilter, filter_text: str) -> Batch:
    """A draft of all connections that match a filter of the inventory now.

    `filter_text` is the filter as the inventory's query string. Raises what `create_draft` raises.
    """
    permissions.require(permissions.can_delete(actor), "delete connections")
    matches = build_inventory(actor=actor, filters=filters).matches
    source = PlanSource(
        origin=BatchOrigin.FILTER, connections=_planned(matches), filter_text=filter_text
    )
    return create_draft(source=source, actor=actor)


def create_draft_from_org(*, actor: Actor, org: KnownOrg) -> Batch:
    """A draft of all connections of one org, given by site and ID, to remove the org.

    Raises what `create_draft` raises.
    """
    permissions.require(permissions.can_delete(actor), "delete connections")
    matches = build_inventory(actor=actor, filters=InventoryFilter(org=(org.key,))).matches
    source = PlanSource(origin=BatchOrigin.ORG, connections=_planned(matches), org=org)
    return create_draft(source=source, actor=actor)


def _planned(matches: Sequence[ListedConnection]) -> list[PlannedConnection]:
    require_row_count(len(matches))
    return [PlannedConnection(text=f"{each.site}/{each.connection_id}") for each in matches]


def require_row_count(count: int) -> None:
    """Raise InvalidInputError unless a bulk deletion can have this many rows."""
    if not count:
        raise InvalidInputError({"connection": "Choose at least 1 connection."})
    if count > MAX_ROWS:
        raise InvalidInputError(
            {
                "connection": f"A bulk deletion can have at most {MAX_ROWS:,} connections, and "
                f"this one would have {count:,}. Choose fewer."
            }
        )


def create_draft_of_remaining(*, batch: Batch, actor: Actor) -> Batch:
    """A new draft of an ended bulk deletion's rows that were not sent, had changed or were refused.

    After a 403 it prefers another credential, of the other org if possible. It never includes rows
    with an unknown outcome.

    Raises what `create_draft` raises, and ConflictError when there are no such rows or it has not
    ended.
    """
    permissions.require(permissions.can_delete(actor), "delete connections")
    if not batch.has_ended:
        raise ConflictError("This bulk deletion hasn't ended yet.")
    rest = list_remaining(batch=batch)
    if not rest:
        raise ConflictError("This bulk deletion has no connections left to delete.")
    keys = [deletion.key for deletion in rest]
    facts = load_facts(keys, actor=actor, is_from_review=batch.is_from_review)
    connections = [
        PlannedConnection(
            text=deletion.key.reference,
            credential_id=_credential_for_retry(deletion, facts=facts),
        )
        for deletion in rest
    ]
    is_from_filter = batch.origin == BatchOrigin.FILTER
    source = PlanSource(
        # The filter could match other connections now.
        origin=BatchOrigin.SELECTION if is_from_filter else BatchOrigin(batch.origin),
        connections=connections,
        org=KnownOrg(batch.site, batch.org_id, batch.org_name) if batch.org_id else None,
        access_review=batch.access_review,
    )
    return create_draft(source=source, actor=actor)


_REMAINING_OUTCOMES = [
    outcome
    for outcome, group in GROUP_OF.items()
    if group in {OutcomeGroup.REFUSED, OutcomeGroup.NOTHING_SENT}
]


def list_remaining(*, batch: Batch) -> list[Deletion]:
    """The deletions of a bulk deletion that deleted nothing and can be planned again."""
    rest = batch.deletions.filter(outcome__in=_REMAINING_OUTCOMES)
    return list(rest.select_related("credential").order_by("batch_row__position"))


def _credential_for_retry(deletion: Deletion, *, facts: ConnectionFacts) -> UUID:
    """The same credential, unless Datadog refused it and another one can be used."""
    if deletion.cause != Cause.FORBIDDEN:
        return deletion.credential_id
    refused = deletion.credential
    choices = [snapshot.credential for snapshot in facts.choices(deletion.key)]
    others = [credential for credential in choices if credential != refused]
    return min(
        others, key=lambda credential: credential.org_id == refused.org_id, default=refused
    ).pk


def create_draft(*, source: PlanSource, actor: Actor) -> Batch:
    """Freeze a plan of 1 to MAX_ROWS rows, or return the same plan if the person has drafted it.

    Raises PermissionDenied, and InvalidInputError for no connections or too many.
    """
    with audit.atomic():
        batch, rows = build_draft(source=source, actor=actor, can_wait_for_sync=True)
        same = ("origin", "filter_text", "site", "org_id", "access_review", "digest", "created_by")
        for draft in Batch.objects.filter(
            state=BatchState.DRAFT, **{name: getattr(batch, name) for name in same}
        ):
            if not has_expired(draft, now=batch.created_at):
                return draft
        store_draft(batch, rows=rows)
    return batch


def build_draft(
    *,
    source: PlanSource,
    actor: Actor,
    requester: Person | None = None,
    can_wait_for_sync: bool = False,
) -> tuple[Batch, list[BatchRow]]:
    """The draft and rows that `create_draft` would store. Raises what it raises.

    `requester` is the person for whom a command makes it. With `can_wait_for_sync`, a row can be
    sent by a credential whose newest sync failed: it can be requested after a complete sync.
    """
    permissions.require(permissions.can_delete(actor), "delete connections")
    creator = requester or actor.person
    planner = person_actor(person=requester) if requester else actor
    permissions.require(permissions.can_delete(planner), "delete connections")
    require_row_count(len(source.connections))
    now = clock.now()
    batch = Batch(
        origin=source.origin,
        filter_text=source.filter_text,
        access_review=source.access_review,
        created_at=now,
        created_by=creator,
        created_by_name=creator.display_name if creator else actor.name,
        expires_at=now + DRAFT_WINDOW,
    )
    if source.org:
        batch.site, batch.org_id, batch.org_name = source.org
    rows = _build_rows(
        batch, source.connections, actor=planner, can_wait_for_sync=can_wait_for_sync
    )
    set_digest(batch, rows=rows)
    return batch, rows


def store_draft(batch: Batch, *, rows: Sequence[BatchRow]) -> None:
    """Store the draft and rows that `build_draft` returned."""
    with audit.atomic():
        batch.save(force_insert=True)
        BatchRow.objects.bulk_create(rows)


def _build_rows(
    batch: Batch,
    connections: Sequence[PlannedConnection],
    *,
    actor: Actor,
    can_wait_for_sync: bool,
) -> list[BatchRow]:
    keys = [parse_key(connection.text) for connection in connections]
    facts = load_facts(
        [key for key in keys if key],
        actor=actor,
        is_from_review=batch.is_from_review,
        can_wait_for_sync=can_wait_for_sync,
    )
    seen: set[OrgConnectionKey] = set()
    rows = []
    for position, (named, key) in enumerate(zip(connections, keys, strict=True), start=1):
        row = BatchRow(batch=batch, position=position, text=_text_to_store(named.text))
        if key is None:
            row.problem = RowProblem.MALFORMED_ID
        else:
            row.site, row.connection_id = key.site, key.connection_id
            _fill_in(row, facts=facts, named=named)
            if key in seen:
                row.problem = RowProblem.DUPLICATE
            seen.add(key)
        rows.append(row)
    return rows


def _text_to_store(text: str) -> str:
    # PostgreSQL stores no NUL.
    return text.strip().replace("\0", "\N{REPLACEMENT CHARACTER}")[:200]


def parse_key(text: str) -> OrgConnectionKey | None:
    """The connection named "<site>/<connection ID>". None for any other text."""
    site, _, connection_id = text.strip().rpartition("/")
    try:
        parsed = UUID(canonical_connection_id(connection_id))
    except ValueError:
        return None
    is_valid = 0 < len(site) <= 100 and "\0" not in site
    return OrgConnectionKey(site=site, connection_id=parsed) if is_valid else None


def _fill_in(row: BatchRow, *, facts: ConnectionFacts, named: PlannedConnection) -> None:
    """Set what the plan shows of a connection and, if there is one, its problem."""
    key = _key(row)
    problem = facts.problem(key)
    row.problem = problem or ""
    if problem == RowProblem.NOT_VISIBLE:
        return
    preferred = None
    if named.credential_id and not problem:
        preferred = facts.choice(key, credential_id=named.credential_id)
        if named.is_credential_fixed and not preferred:
            row.problem = RowProblem.NO_CREDENTIAL
    _set_snapshot(row, preferred or (facts.choices(key) or facts.snapshots[key])[0])


def _set_snapshot(row: BatchRow, snapshot: OrgConnectionSnapshot) -> None:
    row.credential = snapshot.credential
    row.digest, row.snapshot_at = snapshot.digest, snapshot.last_seen_at
    for name, value in snapshot.snapshot_values().items():
        setattr(row, name, value)


def _key(row: BatchRow) -> OrgConnectionKey:
    if row.connection_id is None:
        raise ValueError("A malformed ID names no connection.")
    return OrgConnectionKey(site=row.site, connection_id=row.connection_id)


def set_digest(batch: Batch, *, rows: Iterable[BatchRow]) -> None:
    """Set the policy and the digest for these rows, without saving."""
    kept = [row for row in rows if row.removed_at is None]
    approvals = find_approvals(row for row in kept if not row.problem)
    batch.policy = ApprovalPolicy.strictest(credential.policy for credential in approvals)
    batch.digest = batch_digest_of(batch, rows=kept)


def find_approvals(rows: Iterable[BatchRow]) -> dict[Credential, set[int]]:
    """The credentials that require approval, each with the positions of the rows that need it.

    As for a single deletion, they list the row, send it or belong to one of its orgs.
    """
    positions_by_credential = defaultdict[Credential, set[int]](set)
    by_id = defaultdict[tuple[str, UUID | None], set[int]](set)
    by_org = defaultdict[tuple[str, str], set[int]](set)
    for row in rows:
        by_id[row.site, row.connection_id].add(row.position)
        by_org[row.site, row.source_org_id].add(row.position)
        by_org[row.site, row.sink_org_id].add(row.position)
        if row.credential:
            positions_by_credential[row.credential].add(row.position)
    for credential in credentials_of_orgs(by_org.keys()):
        positions_by_credential[credential] |= by_org[credential.site, credential.org_id]
    listed = OrgConnectionSnapshot.objects.filter(
        connection_id__in={connection_id for _, connection_id in by_id},
        is_current=True,
        credential__retired_at=None,
    ).exclude(credential__policy=ApprovalPolicy.NONE)
    for snapshot in listed.select_related("credential"):
        positions_by_credential[snapshot.credential] |= by_id[snapshot.site, snapshot.connection_id]
    return {
        credential: positions
        for credential, positions in positions_by_credential.items()
        if positions and credential.policy != ApprovalPolicy.NONE
    }


# --- Changing a draft -------------------------------------------------------------------------


def require_own_draft(batch: Batch, *, actor: Actor) -> None:
    """Raise unless the actor drafted it and it is still a draft that hasn't expired.

    Raises PermissionDenied and OvertakenError.
    """
    permissions.require(permissions.can_delete(actor), "delete connections")
    if actor.person and actor.person.pk != batch.created_by_id:
        raise PermissionDenied(f"Only {batch.created_by_name}, who drafted it, can change it.")
    if batch.state != BatchState.DRAFT:
        raise OvertakenError("This bulk deletion is no longer a draft.")
    if has_expired(batch, now=clock.now()):
        raise OvertakenError(f"{EXPIRED} Plan the bulk deletion again.")


def has_expired(batch: Batch, *, now: datetime) -> bool:
    """Whether the time for requesting, approving or confirming it has passed."""
    return batch.expires_at is not None and batch.expires_at <= now


def has_expired_in_query(*, now: datetime) -> Q:
    """`has_expired` as a condition of a query."""
    return Q(expires_at__lte=now)


def lock_batch(batch: Batch) -> None:
    """Lock a bulk deletion before changing it. Call it in a transaction. Refreshes the object.

    Code that locks several kinds of rows locks it before credentials and deletions.
    """
    batch.refresh_from_db(from_queryset=Batch.objects.select_for_update(no_key=True))


def remove_rows(*, batch: Batch, actor: Actor, connections: Collection[str]) -> None:
    """Remove rows from a draft, given the connections as "<site>/<connection ID>".

    Raises PermissionDenied, OvertakenError, and InvalidInputError when no row is named or none
    would be left.
    """
    _require_some(connections)
    with audit.atomic():
        lock_batch(batch)
        require_own_draft(batch, actor=actor)
        rows = rows_of(batch)
        named = {normalize(text) for text in connections}
        removed = [row for row in rows if row.reference in named or row.text in named]
        if len(removed) == len(rows):
            raise InvalidInputError(
                {"connection": "A plan needs at least 1 connection. Discard the draft instead."}
            )
        now = clock.now()
        for row in removed:
            row.removed_at = now
        BatchRow.objects.bulk_update(removed, ["removed_at"])
        save_draft(batch, rows=rows)


def _require_some(connections: Collection[str]) -> None:
    if not connections:
        raise InvalidInputError({"connection": "Select at least 1 connection."})


def normalize(text: str) -> str:
    """A connection as `BatchRow.reference` names it."""
    key = parse_key(text)
    return key.reference if key else _text_to_store(text)


def change_credential(
    *, batch: Batch, actor: Actor, connections: Collection[str], credential: Credential
) -> None:
    """Let another credential send these rows of a draft.

    Raises PermissionDenied, OvertakenError, and InvalidInputError when no row is named or the
    credential can't delete one of them. Nothing is changed then.
    """
    _require_some(connections)
    permissions.require(
        permissions.can_use(actor, credential_id=credential.pk), "delete connections with it"
    )
    with audit.atomic():
        lock_batch(batch)
        require_own_draft(batch, actor=actor)
        rows = rows_of(batch)
        named = {normalize(text) for text in connections}
        chosen = [row for row in rows if row.reference in named and not row.problem]
        facts = _load_row_facts(chosen, batch=batch, actor=actor)
        for row in chosen:
            choice = facts.choice(_key(row), credential_id=credential.pk)
            if not choice:
                raise InvalidInputError(
                    {
                        "credential": f"{credential.name} can't delete {row.reference}. Choose "
                        "another."
                    }
                )
            _set_snapshot(row, choice)
        BatchRow.objects.bulk_update(chosen, _PLANNED_FIELDS)
        save_draft(batch, rows=rows)


_PLANNED_FIELDS = ["credential", "digest", "snapshot_at", "problem", *SNAPSHOT_FIELD_NAMES]


def rows_of(batch: Batch) -> list[BatchRow]:
    """The rows that have not been removed, in order."""
    return list(batch.rows.filter(removed_at=None).select_related("credential"))


def save_draft(batch: Batch, *, rows: Sequence[BatchRow]) -> None:
    """Store the policy and the digest that these rows give a draft."""
    set_digest(batch, rows=rows)
    batch.save(update_fields=["digest", "policy"])


def _planner(batch: Batch, *, actor: Actor) -> Actor:
    """Who must be able to delete the rows: the person who drafted them, if any."""
    is_own = actor.person is not None and actor.person.pk == batch.created_by_id
    return actor if is_own or not batch.created_by else person_actor(person=batch.created_by)


def _load_row_facts(rows: Sequence[BatchRow], *, batch: Batch, actor: Actor) -> ConnectionFacts:
    return load_facts(
        [_key(row) for row in rows],
        actor=_planner(batch, actor=actor),
        is_from_review=batch.is_from_review,
    )


def list_choosable_credentials(
    *, rows: Iterable[BatchRow], facts: ConnectionFacts
) -> list[Credential]:
    """The credentials that could send at least one of these rows, by name."""
    keys = [_key(row) for row in rows if not row.problem]
    choices = {snapshot.credential for key in keys for snapshot in facts.choices(key)}
    return sorted(choices, key=lambda credential: credential.name.casefold())


def set_current_problems(
    batch: Batch, *, rows: Sequence[BatchRow], actor: Actor
) -> ConnectionFacts:
    """Set the problems that the rows of a draft have now, and its policy and digest.

    Saves nothing. A row that was left out stays left out: it wasn't given a credential to send it.
    Leaves a row as it is if the last sync of its credential failed, because that might be
    temporary, and if the plan didn't find its connection.
    """
    found = [row for row in rows if row.digest and row.problem not in _FINAL]
    facts = _load_row_facts(found, batch=batch, actor=actor)
    for row in found:
        if row.credential not in facts.unsynced:
            row.problem = _current_problem(row, facts=facts) or row.problem
    set_digest(batch, rows=rows)
    return facts


# What a later plan would not say differently.
_FINAL = {RowProblem.DUPLICATE, RowProblem.NO_CREDENTIAL}


def list_deletable_again(*, rows: Iterable[BatchRow], facts: ConnectionFacts) -> list[BatchRow]:
    """The rows that a draft leaves out and that another plan could delete now."""
    left_out = [row for row in rows if row.digest and row.problem and row.problem not in _FINAL]
    return [row for row in left_out if _current_problem(row, facts=facts) is None]


def refresh_problems(*, batch: Batch, actor: Actor) -> list[BatchRow]:
    """Store the problems that the rows have now, and return the rows that had others.

    Call it in a transaction that has locked the bulk deletion. Raises ConflictError when the last
    sync of a credential that sends a row failed.
    """
    rows, before = rows_of(batch), batch.digest
    problems = [row.problem for row in rows]
    sending = {row.credential for row in rows if row.credential and not row.problem}
    facts = set_current_problems(batch, rows=rows, actor=actor)
    unsynced = {credential.name for credential in sending if credential in facts.unsynced}
    if unsynced:
        raise ConflictError(
            f"The last sync of {', '.join(sorted(unsynced))} failed. Nothing was requested. Sync "
            "again, then request it."
        )
    changed = [row for row, problem in zip(rows, problems, strict=True) if row.problem != problem]
    BatchRow.objects.bulk_update(changed, ["problem"])
    if batch.digest != before:
        batch.save(update_fields=["digest", "policy"])
    return changed


def _current_problem(row: BatchRow, *, facts: ConnectionFacts) -> RowProblem | None:
    problem = facts.problem(_key(row))
    if problem == RowProblem.NOT_VISIBLE:
        # It was listed when the plan was made.
        return RowProblem.CHANGED
    if problem:
        return problem
    choice = facts.choice(_key(row), credential_id=row.credential_id)
    if not choice:
        return RowProblem.NO_CREDENTIAL
    return None if choice.digest == row.digest else RowProblem.CHANGED


def count_sendable(batch: Batch) -> int:
    """How many rows of a plan become deletions."""
    return batch.rows.filter(SENDABLE).count()
