"""What came before an evidence bundle: earlier keys and checkpoints, each led to the newest."""

import base64
import json
from dataclasses import dataclass

from connections.audit.events import EventCode
from connections.audit.signed_notes import NoteError, SignedCheckpoint, parse
from connections.audit.signing_key import SigningKey, fingerprint_of
from connections.core.errors import InvalidInputError
from connections.evidence.contents import BundleWriter, as_document
from connections.evidence.files import BundleError
from connections.models import AuditEvent, AuditHead, Checkpoint

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
