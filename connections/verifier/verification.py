"""The verification of a bundle."""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

from connections.verifier import page, record_pages
from connections.verifier.access_reviews import (
    access_review_differences,
    gone_text,
    name_of,
    was_deleted,
)
from connections.verifier.archive import (
    ACCESS_REVIEW_FILE,
    CHUNK_SIZE,
    FORMAT,
    MANIFEST_FILES,
    MAX_LINE_BYTES,
    PLAN_FILE,
    Archive,
    open_regular,
)
from connections.verifier.deletions import (
    break_glass_for,
    deletion_differences,
    parse_time,
    sent_without_approvals,
)
from connections.verifier.events import (
    ACCESS_REVIEW,
    BATCH,
    DELETION,
    Event,
    commitment_of,
    display_value,
)
from connections.verifier.merkle import is_prefix, leaf_hash, root_from_path
from connections.verifier.messages import (
    UncheckedError,
    VerificationFailed,
    fill,
    pluralize,
    require,
)
from connections.verifier.notes import (
    fingerprint_of,
    parse_signature,
    read_checkpoint,
    require_rotation,
    require_signed,
)
from connections.verifier.plans import LEFT_OUT, Plan
from connections.verifier.strict_json import decode_base64, decode_hex, get, load_json

MAX_EVENTS_PER_RECORD = 50_000


class Verification:
    """The verification of one bundle. `findings` lists what was verified.

    `page_file` is where the page goes. What is written there counts only if `run` raises nothing.
    """

    def __init__(
        self,
        path: str,
        *,
        fingerprint: str = "",
        kept: str = "",
        page_file: TextIO | None = None,
        sample: Sample | None = None,
    ) -> None:
        self.path, self.fingerprint, self.kept = path, fingerprint, kept
        self.page_file, self.sample = page_file, sample or Sample(size=0, seed="")
        self.findings: list[str] = []
        self.shown: dict[str, str] = {}
        self.commitments: dict[str, str] = {}
        self.events = self.sent_with_approval = self.sent_requiring_approval = 0
        # What needs attention without being an error: missing approvals, and the rest.
        self.unapproved: list[str] = []
        self.others: list[str] = []
        # The access review. `named` has the deletions in access-review.json not seen so far, by ID.
        self.review: dict[str, Any] | None = None
        self.decisions = 0
        self.named: dict[str, dict[str, Any]] = {}
        self.plan: Plan | None = None
        # The bulk deletions whose plans the bundle does not contain.
        self.without_plan: set[str] = set()

    @property
    def warnings(self) -> list[str]:
        """Everything that needs attention, missing approvals first."""
        return self.unapproved + self.others

    def _show(self, section: Callable[..., str], *arguments: Any) -> None:
        """Write a section of the page, if a page is wanted."""
        if self.page_file:
            self.page_file.write(section(*arguments))

    def run(self) -> None:
        """Check everything. Raises VerificationFailed or UncheckedError."""
        self.archive = Archive(self.path)
        self._check_manifest()
        self._check_checkpoint()
        self._read_values()
        self._lines = self._event_lines()
        self._next = next(self._lines, None)
        self._check_own_events()
        self._check_checkpoints()
        self._check_deletions()

    def _check_manifest(self) -> None:
        data = self.archive.read("manifest.json")
        self.manifest = manifest = load_json(data, "manifest.json")
        given = get(manifest, "format", str, "manifest.json")
        if given != FORMAT:
            raise UncheckedError(
                "This verifier reads “{}”, but the bundle is “{}”, made by Org Admin {}. Use the "
                "verifier of that release.",
                FORMAT,
                given,
                manifest.get("release"),
            )
        files = [
            {
                "name": name,
                "sha256": self.archive.files[name][2],
                "size": self.archive.files[name][1],
            }
            for name in MANIFEST_FILES
            if name in self.archive.files
        ]
        listed = get(manifest, "files", list, "manifest.json")
        for ours, theirs in zip(files, listed):
            require(ours == theirs, "{} does not match the manifest.", ours["name"])
        require(
            len(listed) == len(files),
            "The manifest lists different files than the bundle contains.",
        )
        self.origin = get(manifest, "origin", str, "manifest.json")
        self.size = get(manifest, "size", int, "manifest.json")
        self._read_keys()
        signature = parse_signature(self.archive.read("manifest.sig"), "The manifest")
        require_signed(data, signature, self.origin, self.keys[-1:], "The manifest")
        self.findings.append(
            fill(
                "{} files, none added, missing, duplicated or changed: each has the SHA-256 in the "
                "manifest, which key {} signed.",
                len(self.archive.files),
                fingerprint_of(self.keys[-1]),
            )
        )

    def _read_keys(self) -> None:
        rows = get(
            load_json(self.archive.read("keys.json"), "keys.json"), "keys", list, "keys.json"
        )
        self.keys: list[bytes] = []
        for row in rows:
            key = decode_base64(get(row, "public_key", str, "keys.json"), 32, "A public key")
            fingerprint = get(row, "fingerprint", str, "keys.json")
            require(
                fingerprint == fingerprint_of(key),
                "A fingerprint in keys.json is not that of its key.",
            )
            self.keys.append(key)
        require(self.keys, "keys.json contains no key.")
        known = [fingerprint_of(key) for key in self.keys]
        if self.fingerprint and self.fingerprint not in known:
            raise VerificationFailed(
                "The fingerprint you gave belongs to no key of this bundle, which key {} signed. "
                "The bundle might not be genuine, or the key was replaced and the bundle has no "
                "rotation from your key to the new one.",
                known[-1],
            )

    def _check_checkpoint(self) -> None:
        data = self.archive.read("checkpoint.txt")
        checkpoint = read_checkpoint(data, self.origin, self.keys[-1:], "checkpoint.txt")
        self.root = checkpoint.root
        require(
            (checkpoint.size, self.root.hex()) == (self.size, self.manifest.get("root")),
            "The checkpoint does not match the manifest.",
        )

    def _read_values(self) -> None:
        erased = 0
        size = self.archive.files["values.ndjson"][1]
        require(size <= 8 * MAX_LINE_BYTES, "values.ndjson is too large.")
        for line in self.archive.lines("values.ndjson"):
            row = load_json(line, "A line of values.ndjson")
            number = str(get(row, "number", int, "values.ndjson"))
            kind = get(row, "kind", str, "values.ndjson")
            get(row, "person_number", int, "values.ndjson")
            commitment = get(row, "commitment", str, "values.ndjson")
            require(number not in self.shown, "Erasable value {} is duplicated.", number)
            if row.get("value") is None:
                require(row.get("salt") is None, "Erased value {} still has its salt.", number)
                erased += 1
            else:
                salt = decode_hex(get(row, "salt", str, "values.ndjson"))
                value = get(row, "value", str, "values.ndjson")
                is_same = commitment_of(salt, kind, value) == commitment
                require(is_same, "Erasable value {} does not match its commitment.", number)
            self.shown[number], self.commitments[number] = display_value(row), commitment
        self.erased = erased

    def _event_lines(self) -> Iterator[Event]:
        """Every event of the bundle, after proving that it is in the audit log."""
        for line in self.archive.lines("events.ndjson"):
            row = load_json(line, "A line of events.ndjson")
            seq = get(row, "seq", int, "events.ndjson")
            text = get(row, "text", str, "events.ndjson").encode("utf-8", "surrogatepass")
            what = f"Event {seq}"
            path = [
                decode_base64(item, 32, f"The path of event {seq}")
                for item in get(row, "path", list, "events.ndjson")
            ]
            root = root_from_path(leaf_hash(text), seq - 1, self.size, path)
            require(root == self.root, "{} is not in the audit log of the checkpoint.", what)
            event = Event(load_json(text, what), self.shown, what)
            require(event.seq == seq, "The text of event {} has a different number.", seq)
            for number, commitment in event.refs.items():
                is_same = self.commitments.get(number) == commitment
                require(
                    is_same, "A name or address in event {} does not match its commitment.", seq
                )
            self.events += 1
            yield event

    def _take_events(self, kind: str = "", subject_id: str = "") -> list[Event]:
        """The next consecutive events about this subject. By default, those about anything else."""
        taken: list[Event] = []
        while self._next is not None and self._next.about == (kind, subject_id):
            if taken:
                is_later = self._next.seq > taken[-1].seq
                require(is_later, "Event {} is in the wrong place.", self._next.seq)
            require(len(taken) < MAX_EVENTS_PER_RECORD, "One record has too many events.")
            taken.append(self._next)
            self._next = next(self._lines, None)
        return taken

    def _check_own_events(self) -> None:
        """Check the key rotations and the event that recorded the start of this bundle."""
        events = self._take_events()
        rotations = [event for event in events if event.code == "signing_key.rotated"]
        require(
            len(rotations) == len(self.keys) - 1,
            "The key rotations in the events do not lead to the newest key.",
        )
        for old, new, event in zip(self.keys, self.keys[1:], rotations):
            require_rotation(event.details, event.seq, self.origin, old, new)
        started = [event for event in events if event.code == "evidence_bundle.started"]
        require(
            len(started) == 1 and len(events) == len(rotations) + 1,
            "The events about the audit log itself are not the expected ones.",
        )
        self.started = started[0]

    def _check_checkpoints(self) -> None:
        """Check that the log extends all earlier checkpoints, including the one that was kept."""
        kept = self._kept_checkpoint()
        is_met = kept is not None and kept == (self.size, self.root)
        count = last = 0
        for line in self.archive.lines("checkpoints.ndjson"):
            row = load_json(line, "A line of checkpoints.ndjson")
            note = get(row, "note", str, "checkpoints.ndjson").encode("utf-8", "surrogatepass")
            earlier = read_checkpoint(note, self.origin, self.keys, "An earlier checkpoint")
            size, root = earlier.size, earlier.root
            proof = get(row, "proof", list, "checkpoints.ndjson")
            nodes = [decode_base64(node, 32, "A consistency proof") for node in proof]
            require(last <= size, "The earlier checkpoints are not in order.")
            is_same = is_prefix(size, root, self.size, self.root, nodes)
            require(is_same, "The audit log does not extend the checkpoint of size {}.", size)
            if kept is not None and kept[0] == size:
                require(kept[1] == root, _REWRITTEN, size)
                is_met = True
            last, count = size, count + 1
        if kept is not None and not is_met:
            require(kept[0] != self.size, _REWRITTEN, kept[0])
            raise UncheckedError(
                "Your checkpoint has size {}, and the bundle contains no proof from there to {}. "
                "Request a bundle that includes your checkpoint (make_evidence_bundle "
                "--checkpoint FILE).",
                kept[0],
                self.size,
            )
        grew = f" and extends {pluralize(count, 'earlier checkpoint')}" if count else ""
        mine = ", including the one you kept" if kept is not None else ""
        text = "The checkpoint of {} is signed{}{}."
        self.findings.append(fill(text, pluralize(self.size, "event"), grew, mine))

    def _kept_checkpoint(self) -> tuple[int, bytes] | None:
        if not self.kept:
            return None
        with open_regular(self.kept) as handle:
            data = handle.read(CHUNK_SIZE).replace(b"\r\n", b"\n").strip(b"\n") + b"\n"
        try:
            kept = read_checkpoint(data, self.origin, self.keys, "Your checkpoint")
        except VerificationFailed as error:
            raise VerificationFailed(
                "{} It belongs to a different audit log, or the audit log was rewritten.", error
            ) from None
        return kept.size, kept.root

    def _check_deletions(self) -> None:
        population = load_json(self.archive.read("population.json"), "population.json")
        self._check_population(population)
        lines = self._lines_of(ACCESS_REVIEW_FILE, "access review")
        review = _document_without_rows(lines, ACCESS_REVIEW_FILE) if lines else None
        self._show(page.page_start, population, review)
        if review and lines:
            self._check_access_review(review, lines)
        self._check_plan()
        self.drawn = self.sample.draw(self._deletion_ids())
        self._show(page.page_end, self.warnings)
        require(
            not self.named,
            "access-review.json names deletion {}, which deletions.json does not contain.",
            next(iter(self.named), ""),
        )
        missing = next(iter(self.plan.rows), "") if self.plan else ""
        require(not missing, "plan.json names deletion {}, which is missing.", missing)
        require(self._next is None, "The bundle has events of deletions that it does not contain.")
        counts = (self.count, self.counts)
        is_same = counts == (population.get("selected"), population.get("counts"))
        require(is_same, "The counts in population.json do not match the deletions.")
        self.findings += [
            fill(
                "Every event of this bundle ({}) is in that audit log, word for word, with the "
                "recorded names (names and addresses: {}; shown as erased: {}).",
                self.events,
                len(self.shown),
                self.erased,
            ),
            fill(
                "deletions.json matches these events for {}: requester, approvers, who confirmed, "
                "attempts, responses, times and outcome.",
                pluralize(self.count, "deletion"),
            ),
        ]
        if self.sent_requiring_approval:
            self.findings.append(
                fill(
                    "Of {} that required approval, {} had enough approvals by other people before "
                    "every attempt.",
                    pluralize(self.sent_requiring_approval, "attempted deletion"),
                    self.sent_with_approval,
                )
            )

    def _check_population(self, population: dict[str, Any]) -> None:
        period = get(population, "period", dict, "population.json")
        require(period == self.manifest.get("period"), "The period does not match the manifest.")
        for key in ("origin", "made_at"):
            is_same = get(population, key, str, "population.json") == self.manifest.get(key)
            require(is_same, "“{}” in population.json does not match the manifest.", key)
        for key in ("filter", "filter_in_words"):
            get(population, key, str, "population.json")
        for key, document in (("filter", population), ("since", period), ("until", period)):
            require(
                self.started.details.get(key) == document.get(key),
                "The filter or the period is not the one recorded when the bundle was started.",
            )
        get(population, "counts", dict, "population.json")
        selected = get(population, "selected", int, "population.json")
        in_period = get(population, "in_period", int, "population.json")
        require(selected <= in_period, "More deletions were selected than there are in the period.")
        self.since, until = parse_time(period.get("since")), parse_time(period.get("until"))
        if until is None:
            raise VerificationFailed("The period has no end.")
        self.until = until
        self.population = population

    def _lines_of(self, name: str, what: str) -> Iterator[bytes] | None:
        """The lines of a file that is only in the bundle of one `what`. None for other bundles."""
        is_there = name in self.archive.files
        is_same = is_there == (_STARTED_KEY_OF[what] in self.started.details)
        require(is_same, "{} is missing, or the bundle is not of one {}.", name, what)
        return self.archive.lines(name) if is_there else None

    def _check_plan(self) -> None:
        """Check the bulk deletion against its events, if the bundle was made for one."""
        lines = self._lines_of(PLAN_FILE, "bulk deletion")
        if lines is None:
            return
        document = _document_without_rows(lines, PLAN_FILE)
        name = get(document, "id", str, PLAN_FILE)
        require(
            self.started.details.get(BATCH) == name,
            "The bulk deletion is not the one recorded when the bundle was started.",
        )
        events = self._take_events(BATCH, name)
        self.plan = Plan(document, events)
        self._show(record_pages.plan_start, document, events)
        wrong = self.plan.differences(self._plan_rows(lines))
        require(not wrong, "The bulk deletion does not match its events: {}.", *wrong[:1])
        self._show(record_pages.plan_end)
        self.findings += _plan_findings(self.plan)
        for problem, count in self.plan.left_out.items():
            why = LEFT_OUT.get(problem, problem)
            self.others.append(fill("Left out of the plan: {} ({}).", pluralize(count, "row"), why))

    def _plan_rows(self, lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
        for row in _rows(lines, PLAN_FILE, b"]}"):
            self._show(record_pages.plan_row, row)
            yield row

    def _check_access_review(self, review: dict[str, Any], lines: Iterator[bytes]) -> None:
        """Check the access review against its events. `lines` has its rows."""
        name = get(review, "id", str, ACCESS_REVIEW_FILE)
        require(
            self.started.details.get("access_review") == name,
            "The access review is not the one recorded when the bundle was started.",
        )
        self._show(record_pages.access_review_start, review)
        rows = self._access_review_rows(lines)
        wrong = access_review_differences(review, rows, self._take_events(ACCESS_REVIEW, name))
        require(not wrong, "The access review does not match its events: {}.", *wrong[:1])
        require(review.get("state") == "closed", "The access review is not closed.")
        self._show(record_pages.access_review_end, review)
        self.review = review
        self.findings.append(
            fill(
                "access-review.json matches its events: the connections and syncs at the start, "
                "each decision with its person, time and reason, and the final states ({}, {}).",
                pluralize(review["row_count"], "connection"),
                pluralize(self.decisions, "decision"),
            )
        )

    def _access_review_rows(self, lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
        for row in _rows(lines, ACCESS_REVIEW_FILE, b"]}"):
            self._show(record_pages.access_review_row, row)
            self.decisions += len(row["decisions"])
            if row["closed_as"] == "delete" and not was_deleted(row["deletions"]):
                result = gone_text(row) or "no deletion succeeded"
                self.others.append(fill("{} was to be deleted: {}.", name_of(row), result))
            elif row["closed_as"] == "pending":
                self.others.append(
                    fill("{} was left open without a decision that counts.", name_of(row))
                )
            for deletion in get(row, "deletions", list, "A row of access-review.json"):
                key = {"site": row["site"], "connection_id": row["connection_id"]}
                name = get(deletion, "id", str, "A deletion in access-review.json")
                require(name not in self.named, "access-review.json has deletion {} twice.", name)
                self.named[name] = deletion | key
            yield row

    def _deletion_ids(self) -> Iterator[str]:
        self.count = 0
        self.counts: dict[str, int] = {}
        before: tuple[datetime, str] | None = None
        lines = self.archive.lines("deletions.json")
        require(next(lines, None) == b"[", "deletions.json does not begin with “[”.")
        for row in _rows(lines, "deletions.json", b"]"):
            name = get(row, "id", str, "A deletion")
            requested_at = parse_time(get(row, "requested_at", str, "A deletion"))
            if requested_at is None or (before is not None and (requested_at, name) >= before):
                raise VerificationFailed("The deletions are not in order, or one is duplicated.")
            before = (requested_at, name)
            is_within = requested_at < self.until and (
                self.since is None or requested_at >= self.since
            )
            require(is_within, "Deletion {} was requested outside the period.", name)
            events = self._take_events(DELETION, name)
            self._show(page.page_section, row, events)
            found = deletion_differences(row, events)
            require(not found, "Deletion {} does not match its events: {}.", name, *found[:1])
            unapproved = sent_without_approvals(events)
            self.sent_requiring_approval += unapproved is not None
            self.sent_with_approval += unapproved == []
            for sending in unapproved or []:
                self.unapproved.append(_unapproved_text(name, sending, events))
            self._check_against_access_review(row)
            self._check_against_plan(row, events)
            outcome = row["outcome"] or ""
            self.count, self.counts[outcome] = self.count + 1, self.counts.get(outcome, 0) + 1
            yield name

    def _check_against_access_review(self, row: dict[str, Any]) -> None:
        """Check what access-review.json says about this deletion."""
        if self.review:
            keys = ("id", "state", "outcome", "contradicted_at", "site", "connection_id")
            is_same = self.named.pop(row["id"], None) == {key: row[key] for key in keys}
            require(is_same, "Deletion {} does not match access-review.json.", row["id"])

    def _check_against_plan(self, row: dict[str, Any], events: Sequence[Event]) -> None:
        """Check this deletion against the plan, or note that the bundle doesn't have its plan."""
        if self.plan:
            wrong = self.plan.deletion_differences(row, events)[:1]
            text = "Deletion {} does not match the bulk deletion: {}."
            require(not wrong, text, row["id"], *wrong)
        elif row["batch"]:
            self.without_plan.add(row["batch"])


class Sample:
    """A random sample: the deletions with the lowest scores, which a seed determines."""

    def __init__(self, *, size: int, seed: str) -> None:
        self.size, self.seed = size, seed

    def draw(self, ids: Iterable[str]) -> list[str]:
        """The sample, lowest score first. Reads all IDs, and keeps only the sample."""
        scored = ((self._score(deletion_id), deletion_id) for deletion_id in ids)
        # At least one, because `nsmallest` reads nothing for an empty sample.
        lowest = heapq.nsmallest(max(self.size, 1), scored)
        return [deletion_id for _, deletion_id in lowest[: self.size]]

    def _score(self, deletion_id: str) -> str:
        text = f"orgadmin sample 1\n{self.seed}\n{deletion_id}\n"
        return hashlib.sha256(text.encode()).hexdigest()


def _unapproved_text(name: str, sending: Event, events: Sequence[Event]) -> str:
    break_glass = break_glass_for(sending, events)
    used = fill(": {} used break glass", break_glass.actor) if break_glass else ""
    text = "Deletion {}: attempt {} was sent without required approvals{}."
    return fill(text, name, sending.details.get("attempt"), used)


# The key in the start event with the ID of what the bundle was made for.
_STARTED_KEY_OF = {"access review": ACCESS_REVIEW, "bulk deletion": BATCH}
_REWRITTEN = (
    "Your checkpoint of size {} contradicts this bundle: the audit log was rewritten after one of "
    "the two was signed."
)


def _plan_findings(plan: Plan) -> Iterator[str]:
    yield fill(
        "plan.json matches the events of the bulk deletion: its rows are those of the plan that "
        "was requested ({} became deletions, {} left out, {} removed before the request). Each of "
        "these deletions belongs to exactly one row.",
        len(plan.rows),
        sum(plan.left_out.values()),
        plan.removed,
    )
    if plan.confirmed is None:
        yield "The plan was not confirmed, and no attempt was made."
        return
    needed = plan.approvals_needed
    others = f"{needed} other {'person' if needed == 1 else 'people'}"
    yield fill(
        "{} confirmed the plan before every attempt{}. No attempt was made while it was paused or "
        "after it ended, except for deletions that a person confirmed again individually after an "
        "unknown outcome.",
        plan.confirmed.actor,
        f", after at least {others} had approved it" if needed else "",
    )


def _document_without_rows(lines: Iterator[bytes], name: str) -> dict[str, Any]:
    """The document in the lines of a file, without its rows, which follow one per line."""
    text = b""
    for line in lines:
        text += line + b"\n"
        require(len(text) <= MAX_LINE_BYTES, "{} is too large.", name)
        if line == b' "rows": [':
            break
    document: dict[str, Any] = load_json(text + b"]}", name)
    require(type(document) is dict, "{} is not a JSON object.", name)
    return document


def _rows(lines: Iterator[bytes], name: str, end: bytes) -> Iterator[dict[str, Any]]:
    """The rows in the lines of a file, one per line, up to the last line, which is `end`."""
    line = next(lines, None)
    while line is not None and line != end:
        after = next(lines, None)
        # Every row except the last ends with a comma.
        is_last = after == end
        require(line.endswith(b",") != is_last, "{} does not have one row per line.", name)
        row = load_json(line if is_last else line[:-1], f"A line of {name}")
        require(type(row) is dict, "A line of {} is not a row.", name)
        yield row
        line = after
    is_end = line == end and next(lines, None) is None
    require(is_end, "{} does not end with “{}”.", name, end.decode())
