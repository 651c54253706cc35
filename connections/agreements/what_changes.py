"""What a request changes: the access of a pair of orgs now and afterwards, for every kind."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from uuid import UUID

from django.conf import settings

from connections.access.actor import Actor
from connections.access.permissions import visibility_of
from connections.access.visibility import visible_pairs
from connections.agreements.agreed import find_agreement_at, has_owner_left
from connections.agreements.approved import find_automatic_end
from connections.core import time_limits
from connections.core.data_types import data_text, in_order
from connections.core.text import (
    format_day,
    format_limit,
    join_facts,
    join_names,
    pluralize,
    possessive,
)
from connections.models import Agreement, ChangeRequest, OrgPair, SnapshotFields


@dataclass(frozen=True, kw_only=True)
class Access:
    """The access of a pair of orgs at one time.

    Without `types` there is no connection, and without an `owner` nothing is agreed.
    """

    types: Sequence[str] = ()
    # Those of the agreement.
    agreed_types: Sequence[str] = ()
    creator: str = ""
    # "service account" or "account disabled".
    creator_note: str = ""
    owner: str = ""
    # None if the owner has no account.
    owner_id: UUID | None = None
    # "account disabled".
    owner_note: str = ""
    purpose: str = ""
    ends_on: date | None = None
    # Whether Org Admin deletes the connection after that day.
    is_deleted_then: bool = False


def access_of(
    connection: SnapshotFields | None, agreement: Agreement | None, *, automatic_end: date | None
) -> Access:
    """The access that this connection gives under this agreement.

    `automatic_end` is the last day before Org Admin deletes the connection by itself.
    """
    access = Access()
    if agreement:
        access = Access(
            owner=agreement.owner_text or str(agreement.owner),
            owner_id=None if agreement.owner_text else agreement.owner_id,
            owner_note="account disabled" if has_owner_left(agreement) else "",
            purpose=agreement.purpose,
            agreed_types=agreement.connection_types,
            ends_on=agreement.ends_on,
            is_deleted_then=agreement.ends_on is not None and agreement.ends_on == automatic_end,
        )
    if connection is None:
        return access
    note = "service account" if connection.creator_is_service_account else ""
    return replace(
        access,
        types=tuple(connection.connection_types),
        creator=connection.creator_name,
        creator_note="account disabled" if connection.creator_is_disabled else note,
    )


def _is_visible(pair: OrgPair, *, actor: Actor) -> bool:
    """Whether the actor can see the access of this pair, which has an agreement."""
    return not visibility_of(actor).hidden or bool(visible_pairs([pair], actor=actor))


def access_at(
    connection: SnapshotFields, pair: OrgPair, agreement: Agreement | None, *, at: datetime
) -> Access:
    """The access that this connection gave its pair under this agreement at this time."""
    has_end = agreement is not None and agreement.ends_on is not None
    automatic_end = find_automatic_end(pair, today=at.date(), before=at) if has_end else None
    return access_of(connection, agreement, automatic_end=automatic_end)


def access_when_requested(change_request: ChangeRequest, *, actor: Actor) -> Access:
    """The access that its requester saw, without an agreement that the actor can't see."""
    pair = OrgPair(change_request.site, change_request.source_org_id, change_request.sink_org_id)
    at = change_request.requested_at
    agreement = None
    if _is_visible(pair, actor=actor):
        agreement = find_agreement_at(pair, version=change_request.agreement_version, at=at)
    return access_at(change_request, pair, agreement, at=at)


@dataclass(frozen=True, kw_only=True)
class Note:
    """A consequence that must not be missed. The fact is said in bold."""

    icon: str
    fact: str
    text: str = ""


@dataclass(frozen=True, kw_only=True)
class ChangedField:
    """One field now and afterwards. `is_taken` says whether something is taken away."""

    field: str
    label: str
    now: str
    after: str
    now_note: str = ""
    after_note: str = ""
    is_taken: bool = False


@dataclass(frozen=True, kw_only=True)
class WhatChanges:
    """The block "What changes". Only `fields` that differ are in it."""

    # The difference in one sentence, made from the fields, and what follows from it.
    sentence: str
    detail: str
    notes: Sequence[Note]
    fields: Sequence[ChangedField]
    # "logs · owner Grace Lindqvist · until 17 Feb 2027": what stays as it is.
    unchanged: str
    now: Access
    # None if the connection is deleted.
    after: Access | None

    @property
    def added(self) -> list[str]:
        """The data types that it gives."""
        return _without(self.after.types if self.after else (), self.now.types)

    @property
    def removed(self) -> list[str]:
        """The data types that it takes away."""
        return _without(self.now.types, self.after.types if self.after else ())

    @property
    def is_new(self) -> bool:
        """Whether there is neither a connection nor an agreement now."""
        return not self.now.types and not self.now.owner

    @property
    def lines(self) -> tuple[str, ...]:
        """The block as text, for emails and commands."""
        return (
            f"{self.sentence} {self.detail}".strip(),
            *(f"{note.fact} {note.text}".strip() for note in self.notes),
            *(_field_line(each) for each in self.fields),
            *([f"Unchanged: {self.unchanged}"] if self.unchanged else []),
        )


def compare_access(
    *,
    source: str,
    sink: str,
    now: Access,
    after: Access | None,
    is_recreated: bool = False,
    is_over: bool = False,
    is_owner_emailed: bool = False,
    sees_everything: bool = True,
    reader: UUID | None = None,
) -> WhatChanges:
    """Compare the access of two orgs now and afterwards.

    `after` is None for a deletion. `is_recreated` says whether a deleted connection is created
    again, `is_over` whether the request is closed, and `is_owner_emailed` whether Org Admin emails
    the owner about it. `reader` is the person to whom a sentence can say "You", and
    `sees_everything` whether nothing is hidden from them.
    """
    source, sink = source or "the source org", sink or "The destination org"
    # What is known of the account is known now.
    owner_note = "" if is_over else now.owner_note
    now = replace(now, types=in_order(now.types), owner_note=owner_note)
    after = replace(after, types=in_order(after.types)) if after else None
    notes: list[Note] = []
    if after is None:
        text = "" if is_over else _owner_text(now, is_emailed=is_owner_emailed)
        notes += [_owner_note(now, text, is_over=is_over, reader=reader)]
    else:
        is_interrupted = bool(now.types) and not is_over
        if is_recreated:
            notes += _creation_notes(is_interrupted=is_interrupted) + _not_agreed_notes(now)
        notes += [*_end_notes(now, after), *_new_owner_notes(now, after, reader=reader)]
    fields = [
        each
        for each in _all_fields(now, after, reader=reader)
        if not after
        or each.now != each.after
        # Two owners can have one name.
        or (each.field == "owner" and _has_new_owner(now, after))
    ]
    names = {each.field for each in fields}
    return WhatChanges(
        sentence=_sentence(now, after, source=source, sink=sink)
        or ("The connection is created again." if is_recreated else ""),
        detail="" if is_over else _detail(now, after, sink=sink, sees_everything=sees_everything),
        notes=notes,
        fields=fields,
        unchanged=_unchanged(after, without=names) if after else "",
        now=now,
        after=after,
    )


# --- Sentences ----------------------------------------------------------------------------------


def _sentence(now: Access, after: Access | None, *, source: str, sink: str) -> str:
    """The difference: what is lost first, then what is gained, then what stays."""
    types = after.types if after else ()
    removed, added, kept = (
        _without(now.types, types),
        _without(types, now.types),
        in_order(set(now.types) & set(types)),
    )
    keeps = f" It keeps {data_text(kept)}." if kept else ""
    its = possessive(source)
    if removed:
        gains = f" and gains access to its {data_text(added)}" if added else ""
        return f"{sink} loses access to {its} {data_text(removed)}{gains}.{keeps}"
    if added:
        until = f" until {format_day(after.ends_on)}" if after and after.ends_on else ""
        verb = "gains" if kept else "gets"
        return f"{sink} {verb} access to {its} {data_text(added)}{'' if kept else until}.{keeps}"
    return _other_sentence(now, after) if after else f"{sink} loses its access to {source}."


def _other_sentence(now: Access, after: Access) -> str:
    """The difference if the data types stay."""
    if now.creator != after.creator:
        names = "".join(
            f" {word} {name}"
            for word, name in (("from", now.creator), ("to", after.creator))
            if name
        )
        return f"The creator changes{names}."
    if now.ends_on != after.ends_on:
        if after.ends_on is None:
            return "Access no longer ends."
        instead = f" instead of {format_day(now.ends_on)}" if now.ends_on else ""
        return f"Access ends on {format_day(after.ends_on)}{instead}."
    return ""


def _detail(now: Access, after: Access | None, *, sink: str, sees_everything: bool) -> str:
    if after is None:
        return "Dashboards and notebooks using them might break. No data is deleted."
    if not now.types and not now.owner:
        if not sees_everything:
            return "You see no connection and no agreement of these orgs."
        return "These orgs aren't connected, and nothing is agreed."
    if now.types and now.creator != after.creator and set(now.types) == set(after.types):
        return f"{sink} keeps its access to {data_text(after.types)}."
    return ""


# --- Notes --------------------------------------------------------------------------------------


def _owner_note(now: Access, text: str, *, is_over: bool, reader: UUID | None) -> Note:
    """Who needs what is deleted. `text` is for others than the owner."""
    verb = "answered" if is_over else "answers"
    if not now.owner:
        return Note(icon="person", fact=f"No one {verb} for this access.")
    if now.owner_id is not None and now.owner_id == reader:
        verb = verb.removesuffix("s")
        return Note(icon="person", fact=f"You {verb} for this access.")
    return Note(icon="person", fact=f"{now.owner} {verb} for this access.", text=text)


def _owner_text(now: Access, *, is_emailed: bool) -> str:
    """Whether the owner learns that it is deleted."""
    if now.owner_note:
        return "The owner's account is disabled."
    if not settings.HAS_MAIL:
        return "Email is off: tell the owner yourself."
    if is_emailed:
        return "The owner is notified."
    return "Org Admin doesn't email this owner: tell them yourself."


def _creation_notes(*, is_interrupted: bool) -> list[Note]:
    interruption = Note(
        icon="refresh",
        fact="Access is interrupted for seconds.",
        text="Org Admin deletes the connection and creates it again with a new ID. If that fails, "
        "access stays interrupted, everyone involved is alerted, and an Operator can confirm it "
        f"again for {format_limit(time_limits.MOVE_WINDOW)} without another approval.",
    )
    restrictions = Note(
        icon="eye",
        fact="Restriction policies aren't copied:",
        text="more people might see this data afterwards.",
    )
    return [interruption, restrictions] if is_interrupted else [restrictions]


def _not_agreed_notes(now: Access) -> list[Note]:
    """What a move leaves as it is although nobody agreed it."""
    not_agreed = _without(now.types, now.agreed_types) if now.owner else []
    if not not_agreed:
        return []
    text = "A move agrees nothing, so the connection stays wider than agreed."
    return [Note(icon="warning", fact=f"Not agreed: {join_names(not_agreed)}.", text=text)]


def _end_notes(now: Access, after: Access) -> list[Note]:
    """That access ends earlier than agreed, or that Org Admin deletes what it didn't before."""
    if not (now.owner or now.types) or after.ends_on is None:
        return []
    day = format_day(after.ends_on)
    is_first = after.is_deleted_then and not now.is_deleted_then
    if now.owner and (now.ends_on is None or after.ends_on < now.ends_on):
        earlier = "No end was agreed."
        if now.ends_on:
            days = pluralize((now.ends_on - after.ends_on).days, "day")
            earlier = f"That is {days} earlier than agreed."
        then = "Org Admin then deletes the connection, which wasn't agreed before."
        text = f"{earlier} {then}" if is_first else earlier
        return [Note(icon="clock", fact=f"Access ends on {day}.", text=text)]
    if not is_first:
        return []
    return [
        Note(
            icon="clock",
            fact=f"Org Admin deletes the connection after {day}.",
            text="That wasn't agreed before.",
        )
    ]


def _has_new_owner(now: Access, after: Access) -> bool:
    return (now.owner, now.owner_id) != (after.owner, after.owner_id)


def _new_owner_notes(now: Access, after: Access, *, reader: UUID | None) -> list[Note]:
    if not now.owner or not _has_new_owner(now, after):
        return []
    if now.owner_id is not None and now.owner_id == reader:
        fact, text = "You no longer answer for it.", f"{after.owner} takes over from you."
    else:
        fact, text = f"{now.owner} no longer answers for it.", f"{after.owner} takes over."
    return [Note(icon="person", fact=fact, text=text)]


# --- Fields -------------------------------------------------------------------------------------


def _all_fields(now: Access, after: Access | None, *, reader: UUID | None) -> list[ChangedField]:
    """Every field. A deletion takes all that there is, and says nothing of what isn't agreed."""
    then = after or Access()
    is_deleted = after is None
    is_you = now.owner_id is not None and now.owner_id == reader
    fields = [
        ChangedField(
            field="types",
            label="Data types",
            now=", ".join(now.types),
            after=", ".join(then.types),
            is_taken=bool(_without(now.types, then.types)),
        )
    ]
    if now.owner or not is_deleted:
        is_end_taken = now.owner != "" and bool(_end_notes(now, then))
        fields += [
            ChangedField(
                field="owner",
                label="Owner",
                now=now.owner,
                after=then.owner,
                now_note="you" if is_you else now.owner_note,
                is_taken=is_deleted or now.owner != "",
            ),
            ChangedField(
                field="purpose",
                label="Purpose",
                now=now.purpose,
                after=then.purpose,
                is_taken=is_deleted,
            ),
            ChangedField(
                field="end",
                label="Ends",
                now=_end_text(now) if now.owner else "",
                after="" if is_deleted else _end_text(then),
                is_taken=is_deleted or is_end_taken,
            ),
        ]
    if not is_deleted:
        fields.append(
            ChangedField(
                field="creator",
                label="Creator",
                now=now.creator,
                after=then.creator,
                now_note=now.creator_note,
                after_note=then.creator_note,
                is_taken=bool(now.creator),
            )
        )
    return fields


def _end_text(access: Access) -> str:
    """ "17 Feb 2027, then Org Admin deletes it", or "No end"."""
    if access.ends_on is None:
        return "No end"
    day = format_day(access.ends_on)
    if access.is_deleted_then:
        return f"{day}, then Org Admin deletes it"
    return f"{day} (Org Admin won't delete it)"


def _unchanged(after: Access, *, without: set[str]) -> str:
    until = f"until {format_day(after.ends_on)}" if after.ends_on else "no end"
    note = f" ({after.creator_note})" if after.creator_note else ""
    texts = {
        "types": data_text(after.types),
        "owner": f"owner {after.owner}",
        "purpose": f"“{after.purpose}”" if after.purpose else "",
        "end": until,
        "creator": f"creator {after.creator}{note}" if after.creator else "",
    }
    return join_facts(*(text for field, text in texts.items() if field not in without))


def _field_line(each: ChangedField) -> str:
    now, after = (
        f"{text} ({note})" if note else text
        for text, note in ((each.now, each.now_note), (each.after, each.after_note))
    )
    if not now or not after:
        return f"{each.label}: {now or after}"
    return f"{each.label}: {now} → {after}"


def _without(types: Iterable[str], others: Iterable[str]) -> list[str]:
    return in_order(set(types) - set(others))
