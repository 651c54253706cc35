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
from connections.evidence.files import BundleFile, audit_log_tree, bundle_files, write_zip
from connections.models import AuditEvent, AuditHead, Checkpoint
from connections.verifier import verify
from connections.wording import pluralize

README = Path(verify.__file__).with_name("README.txt")
MAX_SEED_LENGTH = 200


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
    filters: HistoryFilter
    # The filter as its query string.
    query: str
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
    filters: HistoryFilter,
    query: str,
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
    seed = _validate_seed(seed)
    # That it cannot be read is said before anything is begun.
    load_signing_key()
    now = clock.now()
    filters = _validate_period(filters, now=now)
    asked = {"filter": query, "seed": seed, **_format_period(filters)}
    started = _record(actor, audit.EventCode.EVIDENCE_BUNDLE_STARTED, "was begun", asked)
    order = _BundleRequest(
        actor=actor,
        filters=filters,
        query=query,
        seed=seed,
        made_at=now,
        notes=tuple(notes),
        started=started.seq,
    )
    try:
        with bundle_files() as files, consistent_read():
            # The key that is in force at this moment, which a rotation meanwhile does not change.
            bundle, checkpoint = _write_bundle(
                order, key=load_signing_key(), files=files, output=output
            )
    except BaseException as error:
        cause = {"started": started.seq, "cause": type(error).__name__}
        _record(actor, audit.EventCode.EVIDENCE_BUNDLE_ABORTED, "was not made", cause)
        raise
    _record_finished(actor, order, bundle, checkpoint)
    return bundle


def _validate_seed(seed: str) -> str:
    seed = seed.strip()
    if len(seed) > MAX_SEED_LENGTH or not seed.isprintable():
        raise InvalidInputError(
            {"seed": f"A seed is one line of at most {MAX_SEED_LENGTH} letters, digits and signs."}
        )
    return seed or secrets.token_hex(16)


def _validate_period(filters: HistoryFilter, *, now: datetime) -> HistoryFilter:
    until = min(filters.until or now, now)
    if filters.since and filters.since >= until:
        raise InvalidInputError({"since": "The period ends before it begins."})
    return replace(filters, until=until)


def _write_bundle(
    order: _BundleRequest, *, key: SigningKey, files: dict[str, BundleFile], output: BinaryIO
) -> tuple[Bundle, Checkpoint]:
    head = AuditHead.objects.get()
    checkpoint = signing.build_checkpoint(head=head, key=key, at=clock.now())
    filters = order.filters
    with audit_log_tree(head=head) as tree:
        contents = BundleWriter(files=files, tree=tree)
        keys = bundle_history.write_keys(contents=contents, key=key)
        own = AuditEvent.objects.filter(seq__in=[*keys.rotations, order.started])
        rows = own.order_by("seq").values_list("seq", "text")
        bundle_contents.write_events(contents=contents, rows=rows)
        bundle_history.write_checkpoints(contents=contents, head=head, keys=keys, notes=order.notes)
        ids = bundle_contents.write_deletions(
            contents=contents, deletions=history.every_deletion(actor=order.actor, only=filters)
        )
        drawn = verify.draw(order.seed, ids)
    _write_remaining_files(order, contents, drawn=drawn, checkpoint=checkpoint, origin=head.origin)
    _sign(order, files, key=key, checkpoint=checkpoint, origin=head.origin)
    size, sha256 = write_zip(files=files, output=output)
    bundle = Bundle(
        deletions=contents.deletions,
        events=contents.events,
        since=filters.since,
        until=filters.until or order.made_at,
        seed=order.seed,
        size=size,
        sha256=sha256,
        checkpoint_size=checkpoint.size,
        fingerprint=key.fingerprint,
        differing=contents.differing,
        differences=tuple(contents.differences),
    )
    return bundle, checkpoint


def _write_remaining_files(
    order: _BundleRequest,
    contents: BundleWriter,
    *,
    drawn: list[tuple[str, str]],
    checkpoint: Checkpoint,
    origin: str,
) -> None:
    core = _common_fields(order, origin=origin)
    filtered = {"filter": order.query}
    bundle_contents.write_population(contents=contents, filters=order.filters, core=core | filtered)
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
        **_common_fields(order, origin=origin),
        "files": [
            {"name": name, "sha256": files[name].sha256, "size": files[name].size}
            for name in verify.LISTED
        ],
        "format": verify.FORMAT,
        "root": checkpoint.root,
        "seed": order.seed,
        "size": checkpoint.size,
    }
    text = bundle_contents.format_json(manifest)
    files["manifest.json"].write(text)
    line = signature_line(origin=origin, body=text.encode(), key=key)
    files["manifest.sig"].write(line)


def _common_fields(order: _BundleRequest, *, origin: str) -> dict[str, object]:
    """What several files say alike."""
    period = {**_format_period(order.filters), "timezone": "UTC"}
    return {"made_at": order.made_at.isoformat(), "origin": origin, "period": period}


def _format_period(filters: HistoryFilter) -> dict[str, str | None]:
    return {
        "since": filters.since.isoformat() if filters.since else None,
        "until": filters.until.isoformat() if filters.until else None,
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
        "filter": order.query,
        **_format_period(order.filters),
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
        signing.store_checkpoint(checkpoint=made)
        audit.record(
            code=audit.EventCode.EVIDENCE_BUNDLE_FINISHED,
            actor=actor,
            sentence=f"An evidence bundle for {personal_data.name_of(actor)} {what}.",
            details=details,
        )
