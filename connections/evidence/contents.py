"""What stands in an evidence bundle: deletions, their events with proofs, names, the sample."""

import base64
import json
from binascii import b2a_base64
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import batched, chain

from connections.audit.chain import canonical_text
from connections.audit.comparison import compare, value_row
from connections.audit.events import EventCode
from connections.audit.signed_notes import NoteError, SignedCheckpoint, parse
from connections.audit.signing_key import SigningKey, fingerprint_of
from connections.core import tabular
from connections.core.errors import InvalidInputError
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.deletions.history_filter import filter_text
from connections.evidence.files import BundleError, BundleFile, HashTree
from connections.models import AuditEvent, AuditHead, Checkpoint, Deletion, PersonalValue
from connections.verifier import verify

# Made once: a hundred thousand lines are written with it.
_encode = json.JSONEncoder(ensure_ascii=False).encode
# So many deletions are read with their events at a time.
_BATCH = 500
# Of so many deletions that differ from their events the first lines are told.
_TOLD = 20


@dataclass(kw_only=True)
class BundleWriter:
    """What was written so far, and counted."""

    files: dict[str, BundleFile]
    tree: HashTree
    # What each erasable value is shown as, by its number as text, and its line in the bundle.
    shown: dict[str, str] = field(default_factory=dict)
    values: dict[int, str] = field(default_factory=dict)
    deletions: int = 0
    events: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    # Of how many deletions the row differs from its events, and the first of these, in words.
    differing: int = 0
    differences: list[str] = field(default_factory=list)


def write_events(*, contents: BundleWriter, rows: Iterable[tuple[int, str]]) -> list[verify.Event]:
    """Write events (number, text) with their proofs; gives them read out."""
    rows = list(rows)
    documents = [json.loads(text) for _, text in rows]
    _read_values(contents, {int(number) for each in documents for number in each["refs"]})
    for seq, text in rows:
        nodes = contents.tree.path(index=seq - 1)
        path = [b2a_base64(node, newline=False).decode() for node in nodes]
        line = _encode({"path": path, "seq": seq, "text": text})
        contents.files["events.ndjson"].write(line + "\n")
    contents.events += len(rows)
    return [verify.Event(each, contents.shown) for each in documents]


def _read_values(contents: BundleWriter, numbers: set[int]) -> None:
    unread = numbers - contents.values.keys()
    for one in PersonalValue.objects.filter(number__in=unread) if unread else ():
        row = value_row(one)
        contents.values[one.number] = canonical_text(row)
        contents.shown[str(one.number)] = verify.shown_as(row)


def write_deletions(*, contents: BundleWriter, deletions: Iterator[Deletion]) -> Iterator[str]:
    """Write these deletions and their events; gives the ids."""
    listed = contents.files["deletions.json"]
    listed.write("[")
    for batch in batched(deletions, _BATCH):
        events = _events_of(contents, batch)
        for deletion in batch:
            own = write_events(contents=contents, rows=events.get(str(deletion.pk), ()))
            compared = compare(deletion=deletion, events=own)
            listed.write((",\n" if contents.deletions else "\n") + compared.text)
            contents.files["body"].write(verify.page_section(compared.row, own))
            _count(contents, compared.row, compared.differences)
            yield compared.row["id"]
    listed.write("\n]\n")


def _events_of(
    contents: BundleWriter, deletions: Iterable[Deletion]
) -> dict[str, list[tuple[int, str]]]:
    rows = AuditEvent.objects.filter(
        subject_type="deletion",
        subject_id__in=[str(one.pk) for one in deletions],
        seq__lte=contents.tree.size,
    )
    found: dict[str, list[tuple[int, str]]] = {}
    for subject, seq, text in rows.order_by("seq").values_list("subject_id", "seq", "text"):
        found.setdefault(subject, []).append((seq, text))
    return found


def _count(contents: BundleWriter, row: tabular.Row, found: list[str]) -> None:
    outcome = row["outcome"] or ""
    contents.counts[outcome] = contents.counts.get(outcome, 0) + 1
    contents.deletions += 1
    contents.differing += bool(found)
    if found and len(contents.differences) < _TOLD:
        contents.differences.append(f"Deletion {row['id']}: {found[0]}.")


def write_facts(*, contents: BundleWriter, only: HistoryFilter, core: dict[str, object]) -> None:
    """Write population.json. `core` holds what the manifest says too, and the filter."""
    facts = {
        **core,
        "counts": contents.counts,
        "filter_in_words": filter_text(only),
        "in_period": history.count_deletions(since=only.since, until=only.until),
        "selected": contents.deletions,
    }
    contents.files["population.json"].write(as_document(facts))


def write_sample(
    *, contents: BundleWriter, drawn: list[tuple[str, str]], core: dict[str, object]
) -> None:
    """Write sample-25.json."""
    document = {
        **core,
        "how": (
            "The score of a deletion is SHA-256, in hex, over three lines in UTF-8, each with its "
            "line feed: “orgadmin sample 1”, the seed, the deletion's id. The "
            f"{verify.SAMPLE_SIZE} deletions of deletions.json with the lowest scores are the "
            "sample, lowest first; all of them when there are no more."
        ),
        "population": contents.deletions,
        "sample": [{"id": each, "score": score} for score, each in drawn],
    }
    contents.files["sample-25.json"].write(as_document(document))


def write_page(*, contents: BundleWriter, sample: list[str]) -> None:
    """Write deletions.html, once everything that stands above the deletions is known."""
    facts = json.loads(b"".join(contents.files["population.json"].pieces()))
    page = contents.files["deletions.html"]
    page.write(verify.page_start(facts, sample))
    page.add(contents.files["body"])
    page.write(verify.page_end())


def write_values(*, contents: BundleWriter) -> None:
    """Write values.ndjson, in the order of the numbers."""
    lines = chain.from_iterable((contents.values[n], "\n") for n in sorted(contents.values))
    contents.files["values.ndjson"].write("".join(lines))


def as_document(document: dict[str, object]) -> str:
    """A document for people and programs: JSON with a line for each key."""
    return json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True) + "\n"


# Besides the newest of each day: these, the newest of all.
_NEWEST = 100


@dataclass(frozen=True, kw_only=True)
class KeyHistory:
    """Public keys, oldest first, each led to the next by a rotation event of this number."""

    keys: tuple[bytes, ...]
    rotations: tuple[int, ...]


def write_keys(*, contents: BundleWriter, key: SigningKey) -> KeyHistory:
    """Write keys.json: the key that signs, and those before it that rotations lead from."""
    keys, rotations = [key.public_key], list[int]()
    events = AuditEvent.objects.filter(
        code=EventCode.SIGNING_KEY_ROTATED, seq__lte=contents.tree.size
    ).order_by("-seq")
    for event in events:
        if event.details["public_key"] != _as_text(keys[0]):
            break
        keys.insert(0, base64.b64decode(event.details["previous_public_key"]))
        rotations.insert(0, event.seq)
    rows = [{"fingerprint": fingerprint_of(each), "public_key": _as_text(each)} for each in keys]
    contents.files["keys.json"].write(as_document({"keys": rows}))
    return KeyHistory(keys=tuple(keys), rotations=tuple(rotations))


def _as_text(public_key: bytes) -> str:
    return base64.b64encode(public_key).decode()


def write_checkpoints(
    *, contents: BundleWriter, head: AuditHead, keys: KeyHistory, notes: tuple[tuple[str, str], ...]
) -> None:
    """Write checkpoints.ndjson: earlier ones, each with the proof that the record only grew.

    `notes` were kept elsewhere, each with a name for it. Raises InvalidInputError for one that is
    none, and BundleError for one that this record does not begin with.
    """
    found = {note.size: text for text, note in _stored(head, keys)}
    for name, text in notes:
        found |= _given(name, text, contents=contents, head=head, keys=keys)
    for size, text in sorted(found.items()):
        proof = [_as_text(node) for node in contents.tree.consistency(size=size)]
        line = {"note": text, "proof": proof, "size": size}
        contents.files["checkpoints.ndjson"].write(_one_line(line))


def _stored(head: AuditHead, keys: KeyHistory) -> list[tuple[str, SignedCheckpoint]]:
    fingerprints = [fingerprint_of(each) for each in keys.keys]
    rows = Checkpoint.objects.filter(size__lt=head.size, fingerprint__in=fingerprints)
    rows = rows.order_by("-size", "-id")
    pks = list(rows.values_list("pk", flat=True)[:_NEWEST])
    days = set()
    for pk, made_at in rows.values_list("pk", "made_at").iterator():
        if made_at.date() not in days:
            days.add(made_at.date())
            pks.append(pk)
    texts = Checkpoint.objects.filter(pk__in=pks).order_by("size").values_list("note", flat=True)
    return [(text, parse(text)) for text in texts]


def _given(
    name: str, text: str, *, contents: BundleWriter, head: AuditHead, keys: KeyHistory
) -> dict[int, str]:
    text = text.replace("\r\n", "\n").strip("\n") + "\n"
    try:
        note = parse(text)
    except NoteError as error:
        raise InvalidInputError({"checkpoint": f"{name} cannot be read. {error}"}) from None
    if note.origin != head.origin or not any(note.is_signed_by(key) for key in keys.keys):
        raise InvalidInputError(
            {"checkpoint": f"{name} is not of this record, or not signed by a key of it."}
        )
    if note.size > head.size or contents.tree.root(size=note.size) != note.root:
        raise BundleError(
            f"This record does not begin with the one that {name} was signed for: it was made "
            "anew, or cut off. Run `./run manage verify_audit --checkpoint FILE`."
        )
    return {note.size: text} if 0 < note.size < head.size else {}


def _one_line(document: dict[str, object]) -> str:
    return json.dumps(document, ensure_ascii=False, sort_keys=True) + "\n"
