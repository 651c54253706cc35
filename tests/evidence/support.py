"""Bundles for tests: made once from a small history, then unpacked, changed and repacked."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.core.management import call_command

from connections.access.actor import WORKER, Actor, command_actor, person_actor
from connections.audit import checkpoints
from connections.audit.chain import canonical_text
from connections.audit.signing import (
    SigningKey,
    load_signing_key,
    sign_checkpoint,
    signature_line,
)
from connections.change_requests import approvals, lifecycle
from connections.deletions import confirmations
from connections.deletions.history import HistoryFilter
from connections.evidence import bundles
from connections.evidence.comparison import read_events
from connections.evidence.contents import format_json
from connections.evidence.files import MerkleTree
from connections.evidence.program import build_program
from connections.evidence.records import compare_record, kind_of, load_rows
from connections.inventory import syncs
from connections.models import ApprovalPolicy, Credential, Deletion, Person
from connections.operations import due
from connections.verifier.archive import (
    pack,
)
from connections.verifier.events import DELETION, Event, display_value
from connections.verifier.folding import Rows
from connections.verifier.merkle import leaf_hash
from connections.verifier.messages import VerificationFailed
from connections.verifier.verification import Verification
from sandbox import faults
from sandbox.server import SandboxServer
from tests.flows.support import REASON, store_credential
from tests.support.deletions import request_deletion
from tests.support.sandbox import US, connection_between, org_named

ASKED = "site=sandbox-us1"
ONLY = HistoryFilter(site=("sandbox-us1",))


@dataclass(frozen=True, kw_only=True)
class Made:
    """A bundle, the facts reported when it was made, and the key that signed it."""

    data: bytes
    bundle: bundles.Bundle
    key: SigningKey
    first_fingerprint: str
    # A checkpoint that someone kept earlier, signed by the first key.
    kept: str


def make(*, filters: HistoryFilter = ONLY, **more: Any) -> Made:
    """A bundle of the current database."""
    output = io.BytesIO()
    actor = more.pop("actor", None) or command_actor()
    bundle = bundles.make_bundle(actor=actor, filters=filters, query=ASKED, output=output, **more)
    key = load_signing_key()
    return Made(
        data=output.getvalue(), bundle=bundle, key=key, first_fingerprint=key.fingerprint, kept=""
    )


def create_history(sandbox: SandboxServer, *, ada: Person, linus: Person, many: int) -> None:
    """A short history: deleted, refused, approved and deleted, unknown, requested, and more."""
    world = sandbox.world
    payments = store_credential(sandbox, "Payments US", is_read=False)
    source, sink = org_named(world, "Payments US"), world.add_org(name="Archive US", site=US)
    ids = [world.add_connection(source_org=source, sink_org=sink).id for _ in range(many + 3)]
    other = store_credential(sandbox, "Group SOC", policy=ApprovalPolicy.ONE, is_read=False)
    sync_all(payments, other)
    guarded = connection_between(world, "Group SOC", "Payments US").id
    world.set_fault(fault=faults.RETURNS_403, connection_id=ids[1])
    world.set_fault(fault=faults.EXECUTES_THEN_RESET, connection_id=ids[2])
    for each in [*ids, guarded]:
        credential = other if each == guarded else payments
        actor = person_actor(person=ada, request_id="r" * 32)
        request(credential, each, actor=actor, approver=linus)
    due.run_due(actor=WORKER, limit=many + 4)


def sync_all(*credentials: Credential) -> None:
    syncs.sync_credentials(credentials=list(credentials), actor=command_actor())


def request(
    credential: Credential,
    connection_id: str,
    *,
    actor: Actor,
    requester: Person | None = None,
    approver: Person | None = None,
) -> Deletion:
    """Request a deletion, approve it if the policy needs that, and confirm it."""
    deletion = request_deletion(
        actor=actor,
        credential=credential,
        connection_id=connection_id,
        reason=f"{REASON} – „Süd“ <b>&amp; \u202e",
        ticket="SEC-1",
        requester=requester,
    )
    if approver and deletion.needs_approval:
        second = person_actor(person=approver)
        approvals.approve(change_request=deletion, actor=second, digest=deletion.approval_digest)
        deletion.refresh_from_db()
        text = confirmations.confirmation_text(deletion, actor=actor)
        lifecycle.execute(change_request=deletion, actor=actor, confirmation=text)
    return deletion


def verified() -> tuple[int, dict[str, Any]]:
    """The exit code and the JSON output of `verify_audit`."""
    out, code = io.StringIO(), 0
    try:
        call_command("verify_audit", "--json", stdout=out)
    except SystemExit as ended:
        code = int(str(ended.code))
    document: dict[str, Any] = json.loads(out.getvalue())
    return code, document


# --- Unpacking and forging ------------------------------------------------------------------------


def files_of(data: bytes) -> dict[str, bytes]:
    """Name → content."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def format_lines(documents: Iterable[Any]) -> bytes:
    """These documents, one a line."""
    return "".join(f"{canonical_text(document)}\n" for document in documents).encode()


@dataclass(kw_only=True)
class Forger:
    """Changes files of a bundle and signs the manifest again, with any key."""

    made: Made
    files: dict[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files = files_of(self.made.data)

    def edit(self, name: str, change: Callable[[str], str]) -> None:
        """Change a file; the change must have an effect."""
        before = self.files[name].decode()
        after = change(before)
        assert after != before
        self.files[name] = after.encode()

    def edit_json(self, name: str, change: Callable[[Any], Any]) -> None:
        """Change a document in place."""
        document = json.loads(self.files[name])
        change(document)
        self.files[name] = format_json(document).encode()

    def records(self) -> list[dict[str, Any]]:
        """The lines of records.ndjson."""
        return [json.loads(line) for line in self.files["records.ndjson"].splitlines()]

    def edit_records(self, change: Callable[[list[dict[str, Any]]], Any]) -> None:
        """Change the lines of records.ndjson in place; the change must have an effect."""
        records = self.records()
        change(records)
        lines = "".join(
            json.dumps(row, ensure_ascii=False, sort_keys=True, separators=(",", ":")) + "\n"
            for row in records
        )
        assert lines.encode() != self.files["records.ndjson"]
        self.files["records.ndjson"] = lines.encode()

    def leave_out_events(self, is_left_out: Callable[[dict[str, Any]], bool]) -> None:
        """Leave out these events."""

        def change(text: str) -> str:
            lines = text.splitlines(keepends=True)
            return "".join(
                line for line in lines if not is_left_out(json.loads(json.loads(line)["text"]))
            )

        self.edit("events.ndjson", change)

    def documents(self) -> list[dict[str, Any]]:
        """The documents of the events in the order of the bundle."""
        lines = self.files["events.ndjson"].splitlines()
        return [json.loads(json.loads(line)["text"]) for line in lines]

    def make_log(self, documents: list[dict[str, Any]]) -> None:
        """Put these events into an audit log made anew, with one signed checkpoint.

        The events that the bundle doesn't have are replaced, unless these events take their places.
        """
        texts = {document["seq"]: canonical_text(document) for document in documents}
        manifest = json.loads(self.files["manifest.json"])
        tree = MerkleTree()
        for seq in range(1, max(manifest["size"], *texts) + 1):
            tree.append(leaf_hash(texts.get(seq, "").encode()))
        self.files["events.ndjson"] = format_lines(
            {
                "path": [b64encode(node).decode() for node in tree.audit_path(index=seq - 1)],
                "seq": seq,
                "text": texts[seq],
            }
            for seq in (document["seq"] for document in documents)
        )
        root, origin = tree.root(), manifest["origin"]
        new = {"size": tree.size, "root": root.hex()}
        self.edit_json("manifest.json", lambda each: each.update(new))
        note = sign_checkpoint(origin=origin, size=tree.size, root=root, key=self.made.key)
        self.files["checkpoint.txt"] = note.encode()
        self.files["checkpoints.ndjson"] = b""

    def events(self) -> list[Event]:
        """The events in the order of the bundle."""
        values = [json.loads(line) for line in self.files["values.ndjson"].splitlines()]
        shown = {str(row["number"]): display_value(row) for row in values}
        return [
            Event(json.loads(json.loads(line)["text"]), shown)
            for line in self.files["events.ndjson"].splitlines()
        ]

    def signed(self, key: SigningKey | None = None) -> bytes:
        """The bundle with a matching manifest, by default signed with the installation's key."""
        manifest = json.loads(self.files["manifest.json"])
        manifest["files"] = [
            {"name": n, "sha256": hashlib.sha256(c).hexdigest(), "size": len(c)}
            for n, c in self.files.items()
            if not n.startswith("manifest.")
        ]
        text = format_json(manifest)
        self.files["manifest.json"] = text.encode()
        origin = manifest["origin"]
        line = signature_line(origin=origin, body=text.encode(), key=key or self.made.key)
        self.files["manifest.sig"] = line.encode()
        return self.packed()

    def packed(self) -> bytes:
        """The bundle as its files are, whatever they contain."""
        return pack(self.files)

    def sign_with_nothing(self) -> None:
        """Make the manifest match the files, and leave its signature as it was."""
        signature = self.files["manifest.sig"]
        self.signed()
        self.files["manifest.sig"] = signature


# --- The verifier as an auditor runs it -----------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The exit code and output of the verifier."""

    code: int
    text: str


def run_verifier(
    data: bytes,
    directory: Path,
    *arguments: str | Path,
    python: str = sys.executable,
    program: bytes = b"",
) -> Verdict:
    """Copy the bundle and the verifier into an empty directory, and run it with no environment.

    `program` is the verifier of an older release.
    """
    directory.mkdir(exist_ok=True)
    (directory / "bundle.zip").write_bytes(data)
    (directory / "verify.pyz").write_bytes(program or build_program())
    done = subprocess.run(
        [os.path.realpath(python), "-I", "-B", "verify.pyz", "bundle.zip", *arguments],
        cwd=directory,
        env={},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"Traceback" not in done.stderr
    return Verdict(code=done.returncode, text=done.stdout.decode())


def complaint(data: bytes, directory: Path, *, fingerprint: str = "", kept: str = "") -> str:
    """The verifier's complaint, run in this process; "" when the bundle is valid."""
    path = directory / "bundle.zip"
    path.write_bytes(data)
    try:
        Verification(str(path), fingerprint=fingerprint, kept=kept).run()
    except VerificationFailed as error:
        return str(error)
    return ""


def rotate() -> None:
    """A checkpoint with the old key, and a new key."""
    checkpoints.rotate_signing_key(actor=command_actor())


def page_of(data: bytes, directory: Path) -> str:
    """The page that the verifier writes after verifying the bundle."""
    path = directory / "page.html"
    verdict = run_verifier(data, directory / "page", "--html", path)
    assert verdict.code == 0, verdict.text
    return path.read_text()


def deletions_in(made: Made) -> list[dict[str, Any]]:
    """The deletions of a bundle: each one's ID, and the columns of its rows."""
    records = [json.loads(line) for line in files_of(made.data)["records.ndjson"].splitlines()]
    return [record for record in records if record.get("kind") == DELETION]


def rows_and_events(deletion: Deletion) -> tuple[Rows, list[Event]]:
    """The rows of a deletion as a bundle has them, and its events."""
    kind = kind_of(DELETION)
    documents, shown = read_events(subject_type=DELETION, subject_ids=[str(deletion.pk)])
    events = [Event(document, shown) for document in documents[str(deletion.pk)]]
    return load_rows(kind, ids=[deletion.pk])[deletion.pk], events


def differences_of(rows: Rows, events: list[Event]) -> list[str]:
    """How these rows of a deletion differ from these events."""
    return compare_record(kind_of(DELETION), rows=rows, events=events)
