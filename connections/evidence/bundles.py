"""Making an evidence bundle: what an auditor takes away and checks without us.

docs/EVIDENCE.md, “The bundle”, says what is in it; connections/verifier/verify.py, which is in it
too, checks it. Everything is read at one moment, so that rows, events and checkpoint agree.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

from connections import audit
from connections.access import permissions
from connections.access.actor import Actor
from connections.audit import personal_data, signing
from connections.audit.signed_notes import signature_line
from connections.audit.signing_key import SigningKey, load_signing_key
from connections.core import clock
from connections.core.database import consistent_read
from connections.core.errors import InvalidInputError
from connections.deletions import history
from connections.deletions.history import HistoryFilter
from connections.evidence import contents as bundle_contents
from connections.evidence import contents as bundle_history
from connections.evidence.contents import BundleWriter
from connections.evidence.files import BundleFile, bundle_files, pack, tree_of_record
from connections.models import AuditEvent, AuditHead, Checkpoint
from connections.verifier import verify
from connections.wording import pluralize

README = Path(verify.__file__).with_name("README.txt")
LONGEST_SEED = 200


@dataclass(frozen=True, kw_only=True)
class Bundle:
    """What was made. `since` is None when it begins with the first; `until` is exclusive."""

    deletions: int
    events: int
    since: datetime | None
    until: datetime
    seed: str
    # Bytes.
    size: int
    sha256: str
    # The record's size and the key that signed.
    checkpoint_size: int
    fingerprint: str
    # Of how many deletions the row does not say what its events say; the first, in words.
    differing: int
    differences: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class _BundleRequest:
    """What is to be made."""

    actor: Actor
    only: HistoryFilter
    # The filter in the asker's own words.
    asked_for: str
    seed: str
    made_at: datetime
    notes: tuple[tuple[str, str], ...]
    started: int


def verifier_digest() -> str:
    """SHA-256 of the verifier that is in every bundle, in hex."""
    part = BundleFile()
    part.write_bytes(Path(verify.__file__).read_bytes())
    part.close()
    return part.sha256


def make_bundle(
    *,
    actor: Actor,
    only: HistoryFilter,
    asked_for: str,
    output: BinaryIO,
    seed: str = "",
    notes: Sequence[tuple[str, str]] = (),
) -> Bundle:
    """Write a bundle of every deletion that passes the filter to `output`, and record it.

    `asked_for` is the filter in the asker's own words, `seed` what the sample is drawn by (drawn
    here when empty), `notes` checkpoints kept elsewhere, each with a name for it, to which the
    bundle shall lead. What broke off has written something useless to `output`.

    Raises PermissionDenied, InvalidInputError, SigningKeyError and BundleError; that it was begun
    stays on the record.
    """
    permissions.require(permissions.can_audit(actor), "make an evidence bundle")
    seed = _checked_seed(seed)
    # That it cannot be read is said before anything is begun.
    load_signing_key()
    now = clock.now()
    only = _checked_period(only, now=now)
    asked = {"filter": asked_for, "seed": seed, **_period_of(only)}
    started = _record(actor, audit.EventCode.EVIDENCE_BUNDLE_STARTED, "was begun", asked)
    order = _BundleRequest(
        actor=actor,
        only=only,
        asked_for=asked_for,
        seed=seed,
        made_at=now,
        notes=tuple(notes),
        started=started.seq,
    )
    try:
        with bundle_files() as files, consistent_read():
            # The key that is in force at this moment, which a rotation meanwhile does not change.
            bundle, checkpoint = _make(order, key=load_signing_key(), files=files, output=output)
    except BaseException as error:
        cause = {"started": started.seq, "cause": type(error).__name__}
        _record(actor, audit.EventCode.EVIDENCE_BUNDLE_ABORTED, "was not made", cause)
        raise
    _record_finished(actor, order, bundle, checkpoint)
    return bundle


def _checked_seed(seed: str) -> str:
    seed = seed.strip()
    if len(seed) > LONGEST_SEED or not seed.isprintable():
        raise InvalidInputError(
            {"seed": f"A seed is one line of at most {LONGEST_SEED} letters, digits and signs."}
        )
    return seed or secrets.token_hex(16)


def _checked_period(only: HistoryFilter, *, now: datetime) -> HistoryFilter:
    until = min(only.until or now, now)
    if only.since and only.since >= until:
        raise InvalidInputError({"since": "The period ends before it begins."})
    return replace(only, until=until)


def _make(
    order: _BundleRequest, *, key: SigningKey, files: dict[str, BundleFile], output: BinaryIO
) -> tuple[Bundle, Checkpoint]:
    head = AuditHead.objects.get()
    checkpoint = signing.of_head(head=head, key=key, at=clock.now())
    only = order.only
    with tree_of_record(head=head) as tree:
        contents = BundleWriter(files=files, tree=tree)
        keys = bundle_history.write_keys(contents=contents, key=key)
        own = AuditEvent.objects.filter(seq__in=[*keys.rotations, order.started])
        rows = own.order_by("seq").values_list("seq", "text")
        bundle_contents.write_events(contents=contents, rows=rows)
        bundle_history.write_checkpoints(contents=contents, head=head, keys=keys, notes=order.notes)
        ids = bundle_contents.write_deletions(
            contents=contents, deletions=history.iterate_deletions(actor=order.actor, only=only)
        )
        drawn = verify.draw(order.seed, ids)
    _write_rest(order, contents, drawn=drawn, checkpoint=checkpoint, origin=head.origin)
    _sign(order, files, key=key, checkpoint=checkpoint, origin=head.origin)
    size, sha256 = pack(files=files, output=output)
    bundle = Bundle(
        deletions=contents.deletions,
        events=contents.events,
        since=only.since,
        until=only.until or order.made_at,
        seed=order.seed,
        size=size,
        sha256=sha256,
        checkpoint_size=checkpoint.size,
        fingerprint=key.fingerprint,
        differing=contents.differing,
        differences=tuple(contents.differences),
    )
    return bundle, checkpoint


def _write_rest(
    order: _BundleRequest,
    contents: BundleWriter,
    *,
    drawn: list[tuple[str, str]],
    checkpoint: Checkpoint,
    origin: str,
) -> None:
    core = _core(order, origin=origin)
    filtered = {"filter": order.asked_for}
    bundle_contents.write_facts(contents=contents, only=order.only, core=core | filtered)
    seeded = {"period": core["period"], "seed": order.seed}
    bundle_contents.write_sample(contents=contents, drawn=drawn, core=seeded)
    bundle_contents.write_page(contents=contents, sample=[each for _, each in drawn])
    bundle_contents.write_values(contents=contents)
    contents.files["README.txt"].write_bytes(README.read_bytes())
    contents.files["verify.py"].write_bytes(Path(verify.__file__).read_bytes())
    contents.files["checkpoint.txt"].write(checkpoint.note)


def _sign(
    order: _BundleRequest,
    files: dict[str, BundleFile],
    *,
    key: SigningKey,
    checkpoint: Checkpoint,
    origin: str,
) -> None:
    manifest = {
        **_core(order, origin=origin),
        "files": [
            {"name": name, "sha256": files[name].sha256, "size": files[name].size}
            for name in verify.LISTED
        ],
        "format": verify.FORMAT,
        "root": checkpoint.root,
        "seed": order.seed,
        "size": checkpoint.size,
    }
    text = bundle_contents.as_document(manifest)
    files["manifest.json"].write(text)
    line = signature_line(origin=origin, body=text.encode(), key=key)
    files["manifest.sig"].write(line)


def _core(order: _BundleRequest, *, origin: str) -> dict[str, object]:
    """What several files say alike."""
    period = {**_period_of(order.only), "timezone": "UTC"}
    return {"made_at": order.made_at.isoformat(), "origin": origin, "period": period}


def _period_of(only: HistoryFilter) -> dict[str, str | None]:
    return {
        "since": only.since.isoformat() if only.since else None,
        "until": only.until.isoformat() if only.until else None,
    }


def _record(actor: Actor, code: audit.EventCode, what: str, details: dict[str, Any]) -> AuditEvent:
    sentence = f"An evidence bundle for {personal_data.name_of(actor)} {what}."
    with audit.atomic() as appended:
        audit.record(code=code, actor=actor, sentence=sentence, details=details)
    return appended[0]


def _record_finished(actor: Actor, order: _BundleRequest, bundle: Bundle, made: Checkpoint) -> None:
    counts = f"{pluralize(bundle.deletions, 'deletion')}, {pluralize(bundle.events, 'event')}"
    details = {
        "started": order.started,
        "filter": order.asked_for,
        **_period_of(order.only),
        "deletions": bundle.deletions,
        "events": bundle.events,
        "differing": bundle.differing,
        "bytes": bundle.size,
        "sha256": bundle.sha256,
        "checkpoint_size": made.size,
        "checkpoint_root": made.root,
    }
    what = f"was made: {counts}, SHA-256 {bundle.sha256}"
    with audit.atomic():
        signing.store(checkpoint=made)
        audit.record(
            code=audit.EventCode.EVIDENCE_BUNDLE_FINISHED,
            actor=actor,
            sentence=f"An evidence bundle for {personal_data.name_of(actor)} {what}.",
            details=details,
        )
