"""Setting agreements: each change of a pair's agreement is a new version of it."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from types import MappingProxyType
from typing import Any, Literal, NoReturn, TypedDict
from uuid import UUID

from django.core.exceptions import PermissionDenied
from django.db import IntegrityError
from django.http import Http404

from connections import audit
from connections.access import permissions, visibility
from connections.access.actor import Actor
from connections.agreements.agreed import find_agreements, listed_types
from connections.agreements.approved import approved_end, find_grants, schedule_ends
from connections.audit import EventCode, Sentence
from connections.core import clock
from connections.core.errors import ConflictError, DomainError, InvalidInputError
from connections.core.text import join_some_names
from connections.core.tickets import find_ticket_problem
from connections.core.typed_text import find_text_problem
from connections.lookups.objects import raise_not_visible
from connections.models import (
    Agreement,
    AuditEvent,
    Credential,
    Org,
    OrgConnectionSnapshot,
    OrgPair,
    Person,
    of_these_pairs,
)
from connections.notification_queue.outbox import NEW_OWNER

MAX_PAIRS = 1000
MAX_TYPES = 20
# Pairs that a refusal names.
MAX_NAMED = 3
# The data types that each pair's connection shares now.
LISTED: Literal["listed"] = "listed"
WHO_CAN = "set agreements of these orgs"
# What an owner without the permission can set.
_OWNERS_FIELDS = {"owner", "owner_text", "ends_on"}


class Terms(TypedDict, total=False):
    """What to set. A field that is missing stays as agreed."""

    owner: Person | None
    # A team or someone without an account. It never receives email.
    owner_text: str
    purpose: str
    ticket: str
    # The last day, in UTC; None for no end.
    ends_on: date | None
    connection_types: Sequence[str] | Literal["listed"]


# In the details of an agreement's event: the ID of the access request that set it.
SET_BY_REQUEST = "access_request"
# What an agreement says, in the order in which it is shown and exported.
FIELDS = tuple(Terms.__annotations__)


@dataclass(frozen=True, kw_only=True)
class AgreementsSet:
    """The new versions, and the pairs whose agreement already said the same."""

    new: list[Agreement]
    unchanged: list[OrgPair]


# The new version, None if the agreement already said the same, or why it can't be set.
type Outcome = Agreement | DomainError | PermissionDenied | Http404 | None


class OlderVersionError(ConflictError):
    """Someone saved newer versions in the meantime: `newest`, by pair."""

    def __init__(self, newest: Mapping[OrgPair, Agreement]) -> None:
        count = len(newest)
        which, versions, them = (
            ("this agreement", "version", "it")
            if count == 1
            else (f"{count:,} of these agreements", "versions", "them")
        )
        super().__init__(
            f"Someone changed {which} in the meantime. Nothing was saved. Compare your changes "
            f"with the newest {versions}, then save again to replace {them}."
        )
        self.newest = newest


def set_agreements(
    *,
    actor: Actor,
    pairs: Collection[OrgPair],
    terms: Terms,
    versions: Mapping[OrgPair, int] = MappingProxyType({}),
) -> AgreementsSet:
    """Set these terms for all of these pairs, or for none of them.

    A first agreement needs an owner or an owner text, and a purpose; its data types are those
    listed now unless they are given. `versions` has the number of the version that was shown for
    each pair where one was, 0 if there was no agreement.

    Raises Http404 for a pair that the actor doesn't know, PermissionDenied, InvalidInputError for
    `pair` and the fields of Terms, and OlderVersionError.
    """
    pairs = list(dict.fromkeys(pairs))
    require_pairs(pairs, actor=actor)
    newest: dict[OrgPair, Agreement] = {}
    try:
        with audit.atomic():
            newest |= find_agreements(pairs)
            _require_versions(newest, versions)
            lines = [(pair, terms) for pair in pairs]
            drafts = dict(zip(pairs, _make_drafts(lines, newest, actor=actor), strict=True))
            _raise_problems(drafts)
            new = [draft for draft in drafts.values() if isinstance(draft, Agreement)]
            _store(new, before=newest, actor=actor, details={"set_together": len(new)})
    except IntegrityError:
        # Another transaction committed the same version first, or else this is a fault.
        read = {pair: newest[pair].version if pair in newest else 0 for pair in pairs}
        _require_versions(find_agreements(pairs), read)
        raise
    return AgreementsSet(new=new, unchanged=[pair for pair in pairs if drafts[pair] is None])


def set_separately(*, actor: Actor, lines: Sequence[tuple[OrgPair, Terms]]) -> list[Outcome]:
    """Set what each line says as `set_agreements` does for one pair, whatever becomes of others.

    Lines about the same pair follow each other. Returns for each line the new version, None if it
    already said the same or nothing is agreed and the line is empty, or what `set_agreements`
    raises.
    """
    seen = visibility.visible_pairs({pair for pair, _ in lines}, actor=actor)
    of_seen = [line for line in lines if line[0] in seen]
    drafts: list[Outcome] = []
    try:
        with audit.atomic():
            newest = find_agreements(seen)
            drafts = _make_drafts(of_seen, newest, actor=actor, skips_empty=True)
            new = [draft for draft in drafts if isinstance(draft, Agreement)]
            _store(new, before=newest, actor=actor, details={"set_together": 1})
    except IntegrityError:
        # Someone set one of them in the meantime.
        seen = set()
    outcomes = iter(drafts)
    return [
        next(outcomes) if pair in seen else _set_one(pair, terms, actor=actor)
        for pair, terms in lines
    ]


def preview_separately(*, actor: Actor, lines: Sequence[tuple[OrgPair, Terms]]) -> list[Outcome]:
    """What `set_separately` would return now. Stores nothing."""
    seen = visibility.visible_pairs({pair for pair, _ in lines}, actor=actor)
    of_seen = [line for line in lines if line[0] in seen]
    newest = find_agreements(seen)
    drafts = iter(_make_drafts(of_seen, newest, actor=actor, skips_empty=True))
    return [next(drafts) if pair in seen else Http404() for pair, _ in lines]


def _set_one(pair: OrgPair, terms: Terms, *, actor: Actor) -> Outcome:
    try:
        return next(iter(set_agreements(actor=actor, pairs=[pair], terms=terms).new), None)
    except (DomainError, PermissionDenied, Http404) as error:
        return error


def _require_versions(newest: Mapping[OrgPair, Agreement], versions: Mapping[OrgPair, int]) -> None:
    """Raise OlderVersionError if an agreement in `newest` is another version than this one."""
    changed = {
        pair: agreement
        for pair, agreement in newest.items()
        if versions.get(pair, agreement.version) != agreement.version
    }
    if changed:
        raise OlderVersionError(changed)


def can_set(*, actor: Actor, pairs: Collection[OrgPair]) -> set[OrgPair]:
    """The pairs among these whose whole agreement the actor can set. At most one query."""
    if actor.person is None:
        return set(pairs) if permissions.can_set_agreements(actor) else set()
    if not permissions.can_set_agreements(actor):
        return set()
    orgs = visibility.usable_orgs(actor=actor)
    return {
        pair
        for pair in pairs
        if (pair.site, pair.source_org_id) in orgs or (pair.site, pair.sink_org_id) in orgs
    }


def require_pairs(pairs: Sequence[OrgPair], *, actor: Actor) -> None:
    """Raise Http404 for a pair that the actor doesn't know, InvalidInputError for too many."""
    if not pairs:
        raise InvalidInputError({"pair": "Select at least 1 connection."})
    if len(pairs) > MAX_PAIRS:
        raise InvalidInputError({"pair": f"Select at most {MAX_PAIRS:,} connections."})
    seen = visibility.visible_pairs(pairs, actor=actor)
    for pair in pairs:
        if pair not in seen:
            _raise_not_found(pair, actor=actor)


def _raise_not_found(pair: OrgPair, *, actor: Actor) -> NoReturn:
    """Raise Http404. Record the request if it is for something hidden."""
    hidden = find_agreements([pair]).get(pair)
    if hidden:
        raise_not_visible(actor=actor, subject=hidden)
    of_pair = {
        "site": pair.site,
        "source_org_id": pair.source_org_id,
        "sink_org_id": pair.sink_org_id,
    }
    snapshot = OrgConnectionSnapshot.objects.filter(**of_pair).first()
    if snapshot:
        raise_not_visible(actor=actor, subject=snapshot.key)
    raise Http404("These orgs aren't known here.")


def _find_listed_types(pairs: Sequence[OrgPair]) -> dict[OrgPair, list[str]]:
    """The data types that credentials in use list for each of these pairs now, sorted."""
    retired = Credential.objects.exclude(retired_at=None)
    current = OrgConnectionSnapshot.objects.filter(of_these_pairs(pairs), is_current=True)
    return listed_types(current.exclude(credential__in=retired))


def set_approved(
    *,
    actor: Actor,
    pair: OrgPair,
    terms: Terms,
    access_request: UUID,
    requester: Person | None,
) -> None:
    """Set what this access request gave, which its approvals cover. Call it in a transaction.

    The version is recorded as set by the requester. The actor might only have checked the outcome.
    Does nothing if the agreement already says the same.
    """
    newest = find_agreements([pair]).get(pair)
    # A request that names no data types agrees none, also where nothing was agreed.
    no_types: Terms = {} if newest else {"connection_types": []}
    draft = _draft(pair, newest, {**no_types, **terms}, listed=None, actor=actor)
    if newest is None or _differing_fields(draft, newest):
        if requester:
            draft.set_by, draft.set_by_process = requester, ""
        # Its owner has been notified of the access request.
        details = {"set_together": 1, SET_BY_REQUEST: str(access_request)}
        _store([draft], before=None, actor=actor, details=details)


def find_requests_of(versions: Iterable[Agreement]) -> dict[UUID, UUID]:
    """The IDs of the access requests that set versions, by the ID of the version."""
    events = AuditEvent.objects.filter(
        code=EventCode.AGREEMENT_SET, subject_id__in=[str(version.pk) for version in versions]
    )
    return {
        UUID(event.subject_id): UUID(event.details[SET_BY_REQUEST])
        for event in events
        if SET_BY_REQUEST in event.details
    }


# --- The new version ----------------------------------------------------------------------------


def _clean(terms: Terms) -> Terms:
    """The terms without surrounding white space. Raises InvalidInputError."""
    cleaned, problems = terms.copy(), {}
    if "owner_text" in terms:
        text = cleaned["owner_text"] = " ".join(terms["owner_text"].split())
        problems["owner_text"] = text and find_text_problem(
            text, missing="Enter a team or a name.", noun="team or other owner", max_length=200
        )
    if "purpose" in terms:
        text = cleaned["purpose"] = terms["purpose"].strip()
        problems["purpose"] = find_text_problem(text, missing="Enter a purpose.", noun="purpose")
    if "ticket" in terms:
        cleaned["ticket"] = terms["ticket"].strip()
        problems["ticket"] = find_ticket_problem(cleaned["ticket"])
    types = terms.get("connection_types", LISTED)
    if types != LISTED:
        cleaned["connection_types"] = sorted(set(types))
        if len(types) > MAX_TYPES or not all(map(_is_type, types)):
            problems["connection_types"] = "Choose data types from the list."
    if any(problems.values()):
        raise InvalidInputError({field: text for field, text in problems.items() if text})
    return cleaned


def _is_type(text: str) -> bool:
    return 0 < len(text) <= 100 and text.isprintable() and not any(map(str.isspace, text))


def _make_drafts(
    lines: Sequence[tuple[OrgPair, Terms]],
    newest: Mapping[OrgPair, Agreement],
    *,
    actor: Actor,
    skips_empty: bool = False,
) -> list[Outcome]:
    """The version that would follow for each line, or what `set_separately` returns instead."""
    pairs = list(dict.fromkeys(pair for pair, _ in lines))
    listed, allowed = _find_listed_types(pairs), can_set(actor=actor, pairs=pairs)
    approved_ends = find_approved_ends({pair for pair, wanted in lines if "ends_on" in wanted})
    today, latest = clock.now().date(), dict(newest)
    drafts: list[Outcome] = []
    for pair, wanted in lines:
        before = latest.get(pair)
        if skips_empty and not before and not any(wanted.values()):
            drafts.append(None)
            continue
        try:
            draft = _draft(pair, before, _clean(wanted), listed=listed.get(pair), actor=actor)
            if before and not _differing_fields(draft, before):
                drafts.append(None)
                continue
            if pair not in allowed:
                _require_what_owners_can(draft, before, actor=actor)
            _require_valid(draft, before, today=today)
            _require_approved_end(draft, before, approved=approved_ends.get(pair))
        except (InvalidInputError, PermissionDenied) as problem:
            drafts.append(problem)
        else:
            latest[pair] = draft
            drafts.append(draft)
    return drafts


def _draft(
    pair: OrgPair,
    newest: Agreement | None,
    terms: Terms,
    *,
    listed: list[str] | None,
    actor: Actor,
) -> Agreement:
    """The version that would follow. Raises InvalidInputError for `pair` and `purpose`."""
    stays: dict[str, Any] = {}
    if newest:
        stays = {name: getattr(newest, name) for name in FIELDS}
    values = stays | dict(terms)
    types = values.get("connection_types", LISTED)
    if types == LISTED:
        if not listed:
            raise InvalidInputError(
                {
                    "pair": "There is no connection between these orgs now. Choose the agreed data "
                    "types."
                }
            )
        values["connection_types"] = listed
    if "purpose" not in values:
        raise InvalidInputError({"purpose": "Enter a purpose."})
    return Agreement(
        **pair._asdict(),
        **values,
        version=newest.version + 1 if newest else 1,
        set_by=actor.person,
        set_by_process="" if actor.person else actor.name,
    )


def _differing_fields(draft: Agreement, newest: Agreement) -> set[str]:
    return {name for name in FIELDS if getattr(draft, name) != getattr(newest, name)}


def _raise_problems(drafts: Mapping[OrgPair, Outcome]) -> None:
    """Raise the first problem. PermissionDenied comes first, and names which pairs it affects."""
    problems = {pair: each for pair, each in drafts.items() if isinstance(each, Exception)}
    refused: dict[str, list[OrgPair]] = {}
    for pair, problem in problems.items():
        if isinstance(problem, PermissionDenied):
            refused.setdefault(str(problem), []).append(pair)
    if refused and len(drafts) > 1:
        raise PermissionDenied(
            " ".join(f"{problem} This affects {_which(refused[problem])}." for problem in refused)
        )
    for problem in problems.values():
        raise problem


def _which(pairs: Sequence[OrgPair]) -> str:
    names = [f"{source} → {sink}" for source, sink in org_names(pairs)]
    return join_some_names(names, limit=MAX_NAMED)


def _require_what_owners_can(draft: Agreement, newest: Agreement | None, *, actor: Actor) -> None:
    """Raise PermissionDenied unless the actor is the owner and names another or an earlier end."""
    if newest is None or newest.owner is None or newest.owner != actor.person:
        raise permissions.denied(WHO_CAN)
    differing = _differing_fields(draft, newest)
    if not differing <= _OWNERS_FIELDS:
        raise PermissionDenied(
            "As the owner, you can name another owner or an earlier end. For the rest, ask an "
            "Operator who can use a credential of either org."
        )
    if "ends_on" in differing and not _is_earlier(draft.ends_on, than=newest.ends_on):
        raise PermissionDenied(
            "As the owner, you can bring the end forward. For a later end, ask an Operator who can "
            "use a credential of either org."
        )


def _is_earlier(ends_on: date | None, *, than: date | None) -> bool:
    return ends_on is not None and (than is None or ends_on < than)


def _require_valid(draft: Agreement, newest: Agreement | None, *, today: date) -> None:
    """Raise InvalidInputError. What isn't changed can be out of date: an owner who left."""
    changed = _differing_fields(draft, newest) if newest else _OWNERS_FIELDS
    if draft.owner is None and not draft.owner_text:
        raise InvalidInputError({"owner": "Choose an owner, or enter a team or other owner."})
    if (
        draft.owner
        and "owner" in changed
        and (problem := permissions.find_owner_problem(draft.owner))
    ):
        raise InvalidInputError({"owner": problem})
    if draft.ends_on and draft.ends_on < today and "ends_on" in changed:
        raise InvalidInputError({"ends_on": "Choose today or a later date."})


def find_approved_ends(pairs: Collection[OrgPair]) -> dict[OrgPair, date | None]:
    """The end that the newest completed access request of each of these pairs gave, if any.

    Not where the connection has been deleted at that end.
    """
    today = clock.now().date()
    return {pair: approved_end(grant, today=today) for pair, grant in find_grants(pairs).items()}


def _require_approved_end(
    draft: Agreement, newest: Agreement | None, *, approved: date | None
) -> None:
    """Raise InvalidInputError for an end later than the one that was approved.

    Otherwise, the agreement would promise access after the day on which it is deleted.
    """
    is_changed = newest is None or draft.ends_on != newest.ends_on
    if is_changed and approved and (draft.ends_on is None or draft.ends_on > approved):
        raise InvalidInputError(
            {
                "ends_on": f"Access was requested until {approved.isoformat()}, so choose that "
                "date or an earlier one. For a later end, request to extend it."
            }
        )


# --- Storing ------------------------------------------------------------------------------------


def _store(
    new: Sequence[Agreement],
    *,
    before: Mapping[OrgPair, Agreement] | None,
    actor: Actor,
    details: dict[str, Any],
) -> None:
    """Store new versions. With the versions `before`, their new owners are notified."""
    now = clock.now()
    for draft in new:
        draft.set_at = now
    # In one order, so that two transactions never wait for each other.
    new = sorted(new, key=lambda draft: (draft.pair, draft.version))
    latest = None if before is None else dict(before)
    Agreement.objects.bulk_create(new)
    schedule_ends(new)
    names = org_names([agreement.pair for agreement in new])
    for agreement, (source, sink) in zip(new, names, strict=True):
        audit.record(
            code=EventCode.AGREEMENT_SET,
            actor=actor,
            subject=agreement,
            sentence=Sentence(
                "{actor} set version {version} of the agreement for {source} → {sink}.",
                version=str(agreement.version),
                source=source,
                sink=sink,
            ),
            details=details | ({NEW_OWNER: True} if _has_new_owner(agreement, latest) else {}),
            rows={"agreement": audit.row_of(agreement)},
        )
        if latest is not None:
            latest[agreement.pair] = agreement


def _has_new_owner(agreement: Agreement, before: Mapping[OrgPair, Agreement] | None) -> bool:
    if before is None or agreement.owner_id is None:
        return False
    former = before.get(agreement.pair)
    return former is None or former.owner_id != agreement.owner_id


def org_names(pairs: Sequence[OrgPair]) -> list[tuple[str, str]]:
    """The names of the source and the destination org of each. An org's ID if it has none."""
    orgs = Org.objects.filter(site__in={pair.site for pair in pairs})
    rows = orgs.order_by().values_list("site", "org_id", "name")
    names = {(site, org_id): name for site, org_id, name in rows}
    return [
        (names.get((site, source)) or source, names.get((site, sink)) or sink)
        for site, source, sink in pairs
    ]
