"""Writes the files of an evidence bundle: records, events with proofs, names."""

import base64
import json
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched, chain
from uuid import UUID

from connections.audit import EventCode
from connections.audit.chain import canonical_text
from connections.audit.signing import SigningKey, is_signed
from connections.core import tabular
from connections.core.errors import InvalidInputError
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.deletions.history_filter import filter_text
from connections.evidence.access_reviews import (
    DeletionsByConnection,
    iterate_row_documents,
    review_document,
)
from connections.evidence.batches import iterate_plan_rows, plan_document
from connections.evidence.comparison import DifferingDeletions, compare_deletion, value_row
from connections.evidence.files import BundleError, BundleFile, MerkleTree
from connections.models import (
    AccessReview,
    AuditEvent,
    AuditHead,
    Batch,
    Checkpoint,
    Deletion,
    PersonalValue,
)
from connections.verifier.access_reviews import access_review_differences
from connections.verifier.archive import ACCESS_REVIEW_FILE, PLAN_FILE
from connections.verifier.events import ACCESS_REVIEW, BATCH, Event
from connections.verifier.messages import VerificationFailed
from connections.verifier.notes import find_signer, fingerprint_of, parse_checkpoint
from connections.verifier.plans import Plan

# Created once, because it encodes up to several hundred thousand lines.
_encode = json.JSONEncoder(ensure_ascii=False).encode
# Deletions per query.
_BATCH_SIZE = 500


@dataclass(kw_only=True)
class BundleWriter:
    """The files and counts of a bundle while it is being written."""

    files: dict[str, BundleFile]
    tree: MerkleTree
    # The displayed text of each erasable value, and its line in the bundle, by its number as text.
    shown: dict[str, str] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)
    deletions: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    # The bulk deletion that the bundle is about.
    plan: Plan | None = None
    differing: DifferingDeletions = field(default_factory=DifferingDeletions)


def write_events(*, writer: BundleWriter, rows: Iterable[tuple[int, str]]) -> list[Event]:
    """Write events (number, text) with their proofs. Return them parsed."""
    rows = list(rows)
    documents = [json.loads(text) for _, text in rows]
    _load_values(writer, {int(number) for document in documents for number in document["refs"]})
    for seq, text in rows:
        nodes = writer.tree.audit_path(index=seq - 1)
        path = [b2a_base64(node, newline=False).decode() for node in nodes]
        line = _encode({"path": path, "seq": seq, "text": text})
        writer.files["events.ndjson"].write(line + "\n")
    writer.events += len(rows)
    return [Event(document, writer.shown) for document in documents]


def _load_values(writer: BundleWriter, numbers: set[int]) -> None:
    unread = numbers - writer.values.keys()
    for value in PersonalValue.objects.filter(number__in=unread) if unread else ():
        writer.values[value.number] = canonical_text(value_row(value))
        writer.shown[str(value.number)] = value.shown


def write_deletions(*, writer: BundleWriter, deletions: Iterator[Deletion]) -> None:
    """Write these deletions and their events."""
    listed = writer.files["deletions.json"]
    listed.write("[")
    for batch in batched(deletions, _BATCH_SIZE):
        events = _events_of(writer, batch)
        for deletion in batch:
            own = write_events(writer=writer, rows=events.get(str(deletion.pk), ()))
            compared = compare_deletion(deletion=deletion, events=own)
            if writer.plan:
                compared.differences.extend(writer.plan.deletion_differences(compared.row, own))
            listed.write((",\n" if writer.deletions else "\n") + compared.text)
            _count(writer, compared.row, compared.differences)
    listed.write("\n]\n")


def write_access_review(
    *, writer: BundleWriter, review: AccessReview, deletions: DeletionsByConnection
) -> None:
    """Write a closed access review and its events. Call it before `write_deletions`."""
    events = _write_events_about(ACCESS_REVIEW, review.pk, writer=writer)
    document = review_document(review)
    listed = writer.files[ACCESS_REVIEW_FILE]
    listed.write(_start_of_rows(document))
    documents = iterate_row_documents(review, deletions=deletions)
    rows = _write_rows(documents, listed=listed)
    differences = access_review_differences(document, rows, events)
    listed.write(_END_OF_ROWS)
    if differences:
        sentence = f"Access review {document['id']}: {differences[0]}."
        writer.differing.describe(sentence, ids=[document["id"]])


def write_plan(*, writer: BundleWriter, batch: Batch) -> None:
    """Write a requested bulk deletion and its events. Call it before `write_deletions`."""
    events = _write_events_about(BATCH, batch.pk, writer=writer)
    document = plan_document(batch)
    plan = writer.plan = Plan(document, events)
    listed = writer.files[PLAN_FILE]
    listed.write(_start_of_rows(document))
    documents = iterate_plan_rows(batch)
    rows = _write_rows(documents, listed=listed)
    differences = plan.differences(rows)
    listed.write(_END_OF_ROWS)
    if differences:
        sentence = f"Bulk deletion {document['id']}: {differences[0]}."
        writer.differing.describe(sentence, ids=[document["id"]])


def _write_events_about(
    subject_type: str, subject_id: UUID, *, writer: BundleWriter
) -> list[Event]:
    rows = AuditEvent.objects.filter(
        subject_type=subject_type, subject_id=str(subject_id), seq__lte=writer.tree.size
    )
    return write_events(writer=writer, rows=rows.order_by("seq").values_list("seq", "text"))


_END_OF_ROWS = "\n]}\n"


def _start_of_rows(document: tabular.Row) -> str:
    """The document up to its rows, which follow as the last key, one per line."""
    return format_json(document).removesuffix("\n}\n") + ',\n "rows": ['


def _write_rows(rows: Iterable[tabular.Row], *, listed: BundleFile) -> Iterator[tabular.Row]:
    """Write each row to its file, and yield it."""
    separator = "\n"
    for row in rows:
        listed.write(separator + canonical_text(row))
        separator = ",\n"
        yield row


def _events_of(
    writer: BundleWriter, deletions: Iterable[Deletion]
) -> dict[str, list[tuple[int, str]]]:
    rows = AuditEvent.objects.filter(
        subject_type="deletion",
        subject_id__in=[str(deletion.pk) for deletion in deletions],
        seq__lte=writer.tree.size,
    )
    found: dict[str, list[tuple[int, str]]] = {}
    for subject, seq, text in rows.order_by("seq").values_list("subject_id", "seq", "text"):
        found.setdefault(subject, []).append((seq, text))
    return found


def _count(writer: BundleWriter, row: tabular.Row, found: list[str]) -> None:
    outcome = row["outcome"] or ""
    writer.counts[outcome] = writer.counts.get(outcome, 0) + 1
    writer.deletions += 1
    if found:
        writer.differing.add(row["id"], found[0])


def write_population(
    *, writer: BundleWriter, filters: HistoryFilter, core: dict[str, object]
) -> None:
    """Write population.json. `core` has the filter and the fields shared with the manifest."""
    facts = {
        **core,
        "counts": writer.counts,
        "filter_in_words": filter_text(filters),
        "in_period": history.count_deletions(since=filters.since, until=filters.until),
        "selected": writer.deletions,
    }
    writer.files["population.json"].write(format_json(facts))


def write_values(*, writer: BundleWriter) -> None:
    """Write values.ndjson, ordered by number."""
    lines = chain.from_iterable((writer.values[n], "\n") for n in sorted(writer.values))
    writer.files["values.ndjson"].write("".join(lines))


def format_json(document: dict[str, object]) -> str:
    """The document as JSON with one line per key."""
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


# How many of the newest checkpoints a bundle has, in addition to the last one of each day.
_NEWEST_CHECKPOINTS = 100


@dataclass(frozen=True, kw_only=True)
class KeyHistory:
    """Public keys, oldest first, and the numbers of the rotation events between them."""

    keys: tuple[bytes, ...]
    rotations: tuple[int, ...]


def write_keys(*, writer: BundleWriter, key: SigningKey) -> KeyHistory:
    """Write keys.json: the current key, and the earlier keys that rotations connect to it."""
    keys, rotations = [key.public_key], list[int]()
    events = AuditEvent.objects.filter(
        code=EventCode.SIGNING_KEY_ROTATED, seq__lte=writer.tree.size
    ).order_by("-seq")
    for event in events:
        if event.details["public_key"] != _encode_base64(keys[0]):
            break
        keys.insert(0, base64.b64decode(event.details["previous_public_key"]))
        rotations.insert(0, event.seq)
    rows = [
        {"fingerprint": fingerprint_of(each), "public_key": _encode_base64(each)} for each in keys
    ]
    writer.files["keys.json"].write(format_json({"keys": rows}))
    return KeyHistory(keys=tuple(keys), rotations=tuple(rotations))


def _encode_base64(public_key: bytes) -> str:
    return base64.b64encode(public_key).decode()


def write_checkpoints(
    *, writer: BundleWriter, head: AuditHead, keys: KeyHistory, notes: tuple[tuple[str, str], ...]
) -> None:
    """Write checkpoints.ndjson: earlier checkpoints, each with its consistency proof.

    `notes` are checkpoints kept elsewhere, each as its name and text. Raises InvalidInputError for
    a malformed one, and BundleError for one that contradicts this audit log.
    """
    found = _stored_checkpoints(head, keys)
    for name, text in notes:
        found |= _parse_given(name, text, writer=writer, head=head, keys=keys)
    for size, text in sorted(found.items()):
        proof = [_encode_base64(node) for node in writer.tree.consistency_proof(size=size)]
        line = _encode({"note": text, "proof": proof, "size": size})
        writer.files["checkpoints.ndjson"].write(line + "\n")


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


def _parse_given(
    name: str, text: str, *, writer: BundleWriter, head: AuditHead, keys: KeyHistory
) -> dict[int, str]:
    text = text.replace("\r\n", "\n").strip("\n") + "\n"
    try:
        note = parse_checkpoint(text.encode(), "It")
    except VerificationFailed as error:
        raise InvalidInputError({"checkpoint": f"{name} can't be read. {error}"}) from None
    signer = find_signer(note.body, note.signature, head.origin, keys.keys, is_signed)
    if note.origin != head.origin or signer is None:
        raise InvalidInputError(
            {"checkpoint": f"{name} is not of this audit log, or not signed by one of its keys."}
        )
    if note.size > head.size or writer.tree.root(size=note.size) != note.root:
        raise BundleError(
            f"This audit log doesn't begin with the one that {name} was signed for: it was "
            "rebuilt or cut off. Run `./run manage verify_audit --checkpoint FILE`."
        )
    return {note.size: text} if 0 < note.size < head.size else {}
