"""Owners accept the newest versions of their agreements, or say that one isn't theirs."""

from collections.abc import Mapping, Sequence

from django.http import Http404

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.agreements.agreed import find_agreements
from connections.agreements.setting import org_names, require_pairs
from connections.audit import EventCode, Sentence
from connections.core import clock
from connections.core.errors import ConflictError
from connections.core.text import join_some_names
from connections.core.typed_text import clean_text
from connections.models import Agreement, OrgPair, OwnerDecision, Person

WHO_CAN = "decide for the owner of these agreements"


def accept_agreements(
    *, actor: Actor, pairs: Sequence[OrgPair], versions: Mapping[OrgPair, int]
) -> list[Agreement]:
    """Accept these versions as their owner, or none of them. Return those not accepted before.

    Raises Http404 for a pair without an agreement that the actor knows, PermissionDenied for one
    that isn't theirs, InvalidInputError for `pair`, and ConflictError for an older version.
    """
    require_pairs(pairs, actor=actor)
    with audit.atomic():
        own = _lock_own(pairs, versions, actor=actor)
        new = [each for each in own if not each.accepted_at]
        now = clock.now()
        refused = OwnerDecision.objects.filter(agreement__in=[each.pk for each in new])
        refused.update(accepted_at=now)
        OwnerDecision.objects.bulk_create(
            OwnerDecision(agreement=each, accepted_at=now) for each in new if not each.decision
        )
        columns = audit.changes_of(OwnerDecision, values={"accepted_at": now}, actor=actor)
        _record(
            new, code=EventCode.AGREEMENT_ACCEPTED, verb="accepted", columns=columns, actor=actor
        )
    return new


def refuse_agreement(*, actor: Actor, pair: OrgPair, version: int, reason: str) -> Agreement:
    """Say that this version of the agreement isn't the actor's, and return it.

    Who set it is notified, or administrators if that person left or can't see it.

    Raises what `accept_agreements` raises, InvalidInputError for `reason`, and ConflictError for a
    version that the actor has accepted or refused.
    """
    require_pairs([pair], actor=actor)
    reason = clean_text(reason, missing="Say why it isn't yours.")
    with audit.atomic():
        [own] = _lock_own([pair], {pair: version}, actor=actor)
        if own.accepted_at:
            raise ConflictError("You accepted this agreement. To hand it over, name another owner.")
        if own.decision:
            raise ConflictError(f"You already said that this isn't yours: “{own.decision.reason}”.")
        values = {"refused_at": clock.now(), "reason": reason}
        OwnerDecision.objects.create(agreement=own, **values)
        columns = audit.changes_of(OwnerDecision, values=values, actor=actor)
        _record(
            [own], code=EventCode.AGREEMENT_REFUSED, verb="refused", columns=columns, actor=actor
        )
    return own


def _lock_own(
    pairs: Sequence[OrgPair], versions: Mapping[OrgPair, int], *, actor: Actor
) -> list[Agreement]:
    """The newest version of each pair's agreement, if the actor owns and read it."""
    person = actor.person
    if person is None or not permissions.can_see(actor):
        raise permissions.denied(WHO_CAN)
    # So that two requests never store the same decision.
    Person.objects.select_for_update(no_key=True).get(pk=person.pk)
    newest = find_agreements(pairs)
    if len(newest) < len(set(pairs)):
        raise Http404("There is no agreement about these orgs.")
    permissions.require(all(each.owner == person for each in newest.values()), WHO_CAN)
    changed = [pair for pair, each in newest.items() if each.version != versions[pair]]
    if changed:
        names = join_some_names([" → ".join(each) for each in org_names(changed)], limit=3)
        raise ConflictError(
            f"Someone changed what is agreed about {names} in the meantime. Nothing was saved. "
            "Read what it says now, then decide."
        )
    return list(newest.values())


def _record(
    agreements: Sequence[Agreement],
    *,
    code: EventCode,
    verb: str,
    columns: audit.Columns,
    actor: Actor,
) -> None:
    names = org_names([each.pair for each in agreements])
    for each, (source, sink) in zip(agreements, names, strict=True):
        audit.record(
            code=code,
            actor=actor,
            subject=each,
            sentence=Sentence(
                "{actor} {verb} version {version} of the agreement for {source} → {sink}.",
                verb=verb,
                version=str(each.version),
                source=source,
                sink=sink,
            ),
            details={"reason": columns["reason"]} if "reason" in columns else {},
            rows={"owner_decision": columns},
        )
