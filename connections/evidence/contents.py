"""Writes the files of an evidence bundle: records, events with proofs, names, checkpoints."""

import base64
import json
from binascii import b2a_base64
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import batched, chain
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef

from connections.audit import EventCode
from connections.audit.chain import canonical_text
from connections.audit.events import Columns
from connections.audit.signing import SigningKey, is_signed
from connections.core.errors import InvalidInputError
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.deletions.history_filter import filter_text
from connections.evidence.access_requests import count_access_requests
from connections.evidence.comparison import value_row
from connections.evidence.differing import DifferingRecords
from connections.evidence.files import BundleError, BundleFile, MerkleTree
from connections.evidence.records import (
    RecordKind,
    compare_record,
    iterate_many,
    kind_of,
    load_rows,
)
from connections.models import (
    AccessReviewRow,
    AuditEvent,
    AuditHead,
    Checkpoint,
    OrgConnectionSnapshot,
    PersonalValue,
    Protection,
)
from connections.verifier.events import (
    ACCESS_REQUEST,
    ACCESS_REVIEW,
    BATCH,
    DELETION,
    ORG_CONNECTION,
    Event,
)
from connections.verifier.messages import VerificationFailed
from connections.verifier.notes import find_signer, fingerprint_of, parse_checkpoint

# Created once, because it encodes up to several hundred thousand lines.
_encode = json.JSONEncoder(ensure_ascii=False).encode
# Records per query.
_BATCH_SIZE = 500
# The other rows of a record follow on lines of their own, so that no line is too long.
ROWS_PER_LINE = 1000
# How many of the newest checkpoints a bundle has, in addition to the last one of each day.
_NEWEST_CHECKPOINTS = 100


@dataclass(frozen=True, kw_only=True)
class KeyHistory:
    """Public keys, oldest first, and the numbers of the rotation events between them."""

    keys: tuple[bytes, ...]
    rotations: tuple[int, ...]


@dataclass(kw_only=True)
class BundleWriter:
    """The files and counts of a bundle while it is being written."""

    files: dict[str, BundleFile]
    tree: MerkleTree
    # The displayed text of each erasable value, and its line in the bundle, by its number as text.
    texts: dict[str, str] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)
    events: int = 0
    # The deletions and access requests by outcome.
    counts: dict[str, dict[str, int]] = field(
        default_factory=lambda: {DELETION: {}, ACCESS_REQUEST: {}}
    )
    # The connections whose protections are written.
    protected: set[UUID] = field(default_factory=set)
    differing: DifferingRecords = field(default_factory=lambda: DifferingRecords(noun="record"))

    def write_events(self, rows: Iterable[tuple[int, str]]) -> list[Event]:
        """Write events (number, text) with their proofs. Return them parsed."""
        rows = list(rows)
        documents = [json.loads(text) for _, text in rows]
        self._load_values({int(number) for document in documents for number in document["refs"]})
        for seq, text in rows:
            nodes = self.tree.audit_path(index=seq - 1)
            path = [b2a_base64(node, newline=False).decode() for node in nodes]
            line = _encode({"path": path, "seq": seq, "text": text})
            self.files["events.ndjson"].write(line + "\n")
        self.events += len(rows)
        return [Event(document, self.texts) for document in documents]

    def _load_values(self, numbers: set[int]) -> None:
        unread = numbers - self.values.keys()
        for value in PersonalValue.objects.filter(number__in=unread) if unread else ():
            self.values[value.number] = canonical_text(value_row(value))
            self.texts[str(value.number)] = value.shown

    def write_records(self, kind: RecordKind, ids: Iterable[UUID]) -> None:
        """Write these records and their events."""
        for some in batched(ids, _BATCH_SIZE):
            events = self._events_of(kind, some)
            records = load_rows(kind, ids=some)
            for pk in some:
                own = self.write_events(events.get(str(pk), ()))
                rows = records.get(pk, {})
                differences = compare_record(kind, rows=rows, events=own)
                if differences:
                    sentence = f"{kind.noun.capitalize()} {pk}: {differences[0]}."
                    self.differing.describe(sentence, ids=[str(pk)])
                first, *others = map(dict, batched(rows.items(), ROWS_PER_LINE)) if rows else [{}]
                self._write_line({"id": str(pk), "kind": kind.name, "rows": first})
                for some_rows in others:
                    self._write_line({"rows": some_rows})
                if kind.name in self.counts:
                    outcome, counts = rows[kind.name].get("outcome", ""), self.counts[kind.name]
                    counts[outcome] = counts.get(outcome, 0) + 1
            if kind.name == DELETION:
                self._write_protections([records[pk]["deletion"] for pk in some if pk in records])

    def _write_protections(self, deletions: Iterable[Columns]) -> None:
        """Write the protections that these deletions' connections ever had."""
        ids = {deletion["connection_id"] for deletion in deletions}
        protected = Protection.objects.filter(connection_id__in=ids).order_by("connection_id")
        new = set(protected.values_list("connection_id", flat=True)) - self.protected
        self.protected |= new
        self.write_records(kind_of(ORG_CONNECTION), sorted(new))

    def write_access_review(self, pk: UUID) -> None:
        """Write a closed access review, its rows and its events. Call it after its deletions."""
        kind = kind_of(ACCESS_REVIEW)
        self.write_records(kind, [pk])
        listed = OrgConnectionSnapshot.objects.filter(
            site=OuterRef("site"), connection_id=OuterRef("connection_id"), is_current=True
        )
        gone = AccessReviewRow.objects.filter(~Exists(listed), review=pk)
        gone_ids = set(gone.order_by().values_list("pk", flat=True))
        for row in iterate_many(kind, record=pk):
            self._write_line({"is_gone": row["id"] in gone_ids, "row": row})

    def write_plan(self, pk: UUID) -> None:
        """Write a requested bulk deletion, its plan and its events. Call it after its deletions."""
        kind = kind_of(BATCH)
        self.write_records(kind, [pk])
        for row in iterate_many(kind, record=pk):
            self._write_line({"row": row})

    def _write_line(self, document: dict[str, Any]) -> None:
        self.files["records.ndjson"].write(f"{canonical_text(document)}\n")

    def _events_of(self, kind: RecordKind, ids: Iterable[UUID]) -> dict[str, list[tuple[int, str]]]:
        rows = AuditEvent.objects.filter(
            subject_type=kind.name,
            subject_id__in=[str(pk) for pk in ids],
            seq__lte=self.tree.size,
        )
        events: dict[str, list[tuple[int, str]]] = {}
        for subject, seq, text in rows.order_by("seq").values_list("subject_id", "seq", "text"):
            events.setdefault(subject, []).append((seq, text))
        return events

    def write_population(self, *, filters: HistoryFilter, core: dict[str, object]) -> None:
        """Write population.json. `core` has the filter and the fields shared with the manifest."""
        since, until = filters.since, filters.until
        facts = {
            **core,
            **self._counted(DELETION, history.count_deletions(since=since, until=until)),
            "access_requests": self._counted(
                ACCESS_REQUEST, count_access_requests(since=since, until=until)
            ),
            "filter_in_words": filter_text(filters),
        }
        self.files["population.json"].write(format_json(facts))

    def _counted(self, kind: str, in_period: int) -> dict[str, object]:
        counts = self.counts[kind]
        return {"counts": counts, "in_period": in_period, "selected": sum(counts.values())}

    def write_values(self) -> None:
        """Write values.ndjson, ordered by number."""
        lines = chain.from_iterable((self.values[n], "\n") for n in sorted(self.values))
        self.files["values.ndjson"].write("".join(lines))

    def write_keys(self, key: SigningKey) -> KeyHistory:
        """Write keys.json: the current key, and the earlier keys that rotations connect to it."""
        keys, rotations = [key.public_key], list[int]()
        events = AuditEvent.objects.filter(
            code=EventCode.SIGNING_KEY_ROTATED, seq__lte=self.tree.size
        ).order_by("-seq")
        for event in events:
            if event.details["public_key"] != _encode_base64(keys[0]):
                break
            keys.insert(0, base64.b64decode(event.details["previous_public_key"]))
            rotations.insert(0, event.seq)
        rows = [
            {"fingerprint": fingerprint_of(public_key), "public_key": _encode_base64(public_key)}
            for public_key in keys
        ]
        self.files["keys.json"].write(format_json({"keys": rows}))
        return KeyHistory(keys=tuple(keys), rotations=tuple(rotations))

    def write_checkpoints(
        self, *, head: AuditHead, keys: KeyHistory, notes: tuple[tuple[str, str], ...]
    ) -> None:
        """Write checkpoints.ndjson: earlier checkpoints, each with its consistency proof.

        `notes` are checkpoints kept elsewhere, each as its name and text. Raises InvalidInputError
        for a malformed one, and BundleError for one that contradicts this audit log.
        """
        texts = _stored_checkpoints(head, keys)
        for name, text in notes:
            texts |= self._parse_note(name, text, head=head, keys=keys)
        for size, text in sorted(texts.items()):
            proof = [_encode_base64(node) for node in self.tree.consistency_proof(size=size)]
            line = _encode({"note": text, "proof": proof, "size": size})
            self.files["checkpoints.ndjson"].write(line + "\n")

    def _parse_note(
        self, name: str, text: str, *, head: AuditHead, keys: KeyHistory
    ) -> dict[int, str]:
        text = text.replace("\r\n", "\n").strip("\n") + "\n"
        try:
            note = parse_checkpoint(text.encode(), "It")
        except VerificationFailed as error:
            raise InvalidInputError({"checkpoint": f"{name} can't be read. {error}"}) from None
        signer = find_signer(note.body, note.signature, head.origin, keys.keys, is_signed)
        if note.origin != head.origin or signer is None:
            message = f"{name} is not of this audit log, or not signed by one of its keys."
            raise InvalidInputError({"checkpoint": message})
        if note.size > head.size or self.tree.root(size=note.size) != note.root:
            raise BundleError(
                f"This audit log doesn't begin with the one that {name} was signed for: it was "
                "rebuilt or cut off. Run `./run manage verify_audit --checkpoint FILE`."
            )
        return {note.size: text} if 0 < note.size < head.size else {}


def format_json(document: dict[str, object]) -> str:
    """The document as JSON with one line per key."""
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


def _encode_base64(public_key: bytes) -> str:
    return base64.b64encode(public_key).decode()


def _stored_checkpoints(head: AuditHead, keys: KeyHistory) -> dict[int, str]:
    fingerprints = [fingerprint_of(key) for key in keys.keys]
    rows = Checkpoint.objects.filter(size__lt=head.size, fingerprint__in=fingerprints)
    rows = rows.order_by("-size", "-id")
    pks = list(rows.values_list("pk", flat=True)[:_NEWEST_CHECKPOINTS])
    days = set()
    for pk, made_at in rows.values_list("pk", "made_at"):
        if made_at.date() not in days:
            days.add(made_at.date())
            pks.append(pk)
    return dict(Checkpoint.objects.filter(pk__in=pks).order_by("pk").values_list("size", "note"))
