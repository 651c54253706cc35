"""The verification of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, TextIO

from connections.verifier import page
from connections.verifier.archive import (
    CHUNK_SIZE,
    FORMAT,
    MANIFEST_FILES,
    MAX_LINE_BYTES,
    Archive,
    open_regular,
    rows_after,
)
from connections.verifier.events import (
    ACCESS_REQUEST,
    ACCESS_REVIEW,
    AGREEMENT,
    BATCH,
    DELETION,
    HOLD,
    ORG_CONNECTION,
    Event,
    commitment_of,
    display_value,
)
from connections.verifier.findings import confirmation_finding, unapproved_text
from connections.verifier.folding import Rows, differences, digest_of_rows, fold
from connections.verifier.labels import APPROVALS_NEEDED, left_out_reason
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
from connections.verifier.rules import (
    RULES,
    Ends,
    RunningBatch,
    break_glass_by_event,
    closing_problems,
    decisions_by_row,
    done_without_approvals,
    gone_text,
    plan_problems,
    rounds_of,
    sent_at_end,
    was_deleted,
)
from connections.verifier.sample import Sample
from connections.verifier.strict_json import decode_base64, decode_hex, get, load_json, parse_time

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
        self.texts: dict[str, str] = {}
        self.commitments: dict[str, str] = {}
        self.events = 0
        # What needs attention without being an error: missing approvals, and the rest.
        self.unapproved: list[str] = []
        self.others: list[str] = []
        # How many records there are, by kind.
        self.records: dict[str, int] = {}
        # The deletions and the access requests: how many, by outcome; how many required approval
        # and did something, and had enough approvals; and the one before.
        self.counts: dict[str, dict[str, int]] = {DELETION: {}, ACCESS_REQUEST: {}}
        self._requiring_approval = {DELETION: 0, ACCESS_REQUEST: 0}
        self._with_approval = {DELETION: 0, ACCESS_REQUEST: 0}
        self._before: dict[str, tuple[datetime, str]] = {}
        # What the bundle was made for, by kind: the ID of an access review or a bulk deletion.
        self.whole: dict[str, str] = {}
        self.whole_section = ""
        self.review: dict[str, Any] | None = None
        self._later_findings: list[str] = []
        # The deletions of a bundle made for one of these: by connection; by row of the plan; and
        # the number of each event that sent one, with its approval round and the deletion's ID.
        self._by_connection: dict[tuple[Any, Any], list[dict[str, Any]]] = {}
        self._by_row: dict[Any, dict[str, Any]] = {}
        self._sent: list[tuple[int, int, str]] = []
        self._ends = Ends()
        # The bulk deletions whose plans the bundle does not contain.
        self.without_plan: set[str] = set()

    @property
    def warnings(self) -> list[str]:
        """Everything that needs attention, missing approvals first."""
        return self.unapproved + self.others

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
        self._check_records()

    def _check_manifest(self) -> None:
        data = self.archive.read("manifest.json")
        self.manifest = manifest = load_json(data, "manifest.json")
        bundle_format = get(manifest, "format", str, "manifest.json")
        if bundle_format != FORMAT:
            raise UncheckedError(
                "This verifier reads “{}”, but the bundle is “{}”, made by Org Admin {}. Use the "
                "verifier of that release.",
                FORMAT,
                bundle_format,
                manifest.get("release"),
            )
        files = [
            {
                "name": name,
                "sha256": self.archive.files[name][2],
                "size": self.archive.files[name][1],
            }
            for name in MANIFEST_FILES
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
            require(number not in self.texts, "Erasable value {} is duplicated.", number)
            if row.get("value") is None:
                require(row.get("salt") is None, "Erased value {} still has its salt.", number)
                erased += 1
            else:
                salt = decode_hex(get(row, "salt", str, "values.ndjson"))
                value = get(row, "value", str, "values.ndjson")
                is_same = commitment_of(salt, kind, value) == commitment
                require(is_same, "Erasable value {} does not match its commitment.", number)
            self.texts[number], self.commitments[number] = display_value(row), commitment
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
            event = Event(load_json(text, what), self.texts, what)
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

    def _check_records(self) -> None:
        population = load_json(self.archive.read("population.json"), "population.json")
        self._check_population(population)
        self.drawn = self.sample.draw(self._deletion_ids())
        self.unapproved += self._ends.unapproved
        text = "Deletion {}: the bundle doesn't have the access request whose approvals cover it."
        self.unapproved += [fill(text, name) for name in self._ends.without_access]
        require(self._next is None, "The bundle has events of records that it does not contain.")
        for kind in (ACCESS_REVIEW, BATCH):
            is_there = kind in self.whole
            require(is_there == (kind in self.started.details), _NOT_THE_RECORDED, _NOUNS[kind])
        for kind, counted in self._populations(population).items():
            counts = (self.records.get(kind, 0), self.counts[kind])
            is_same = counts == (counted.get("selected"), counted.get("counts"))
            text = "The counts in population.json do not match the {}s."
            require(is_same, text, _NOUNS[kind])
        self.findings += [
            fill(
                "Every event of this bundle ({}) is in that audit log, word for word, with the "
                "recorded names (names and addresses: {}; shown as erased: {}).",
                self.events,
                len(self.texts),
                self.erased,
            ),
            fill(
                "The events of each record, in their order, give the stored record ({}): every "
                "recorded column of requests, approvals, attempts, responses and outcomes, with "
                "the people and times.",
                ", ".join(pluralize(n, _NOUNS[kind]) for kind, n in self.records.items()),
            ),
            *self._later_findings,
        ]
        for kind, count in self._requiring_approval.items():
            text = (
                "Of {} that required approval, {} had enough approvals by other people before "
                "every attempt{}."
            )
            attempted = pluralize(count, f"attempted {_NOUNS[kind]}")
            extension = " or extension" if kind == ACCESS_REQUEST else ""
            if count:
                self.findings.append(fill(text, attempted, self._with_approval[kind], extension))

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
        for kind, counted in self._populations(population).items():
            get(counted, "counts", dict, "population.json")
            selected = get(counted, "selected", int, "population.json")
            in_period = get(counted, "in_period", int, "population.json")
            text = "More {}s were selected than there are in the period."
            require(selected <= in_period, text, _NOUNS[kind])
        self.since = parse_time(period["since"]) if period.get("since") else None
        self.until = parse_time(get(period, "until", str, "population.json"))
        self.population = population

    def _populations(self, population: dict[str, Any]) -> dict[str, dict[str, Any]]:
        """What population.json says of each kind. A release before 1.2 had no access requests."""
        nothing = {"counts": {}, "in_period": 0, "selected": 0}
        return {DELETION: population, ACCESS_REQUEST: population.get("access_requests") or nothing}

    def _deletion_ids(self) -> Iterator[str]:
        """Check every record. Yield the IDs of the deletions."""
        lines = self.archive.lines("records.ndjson")
        line = next(lines, None)
        while line is not None:
            record = load_json(line, "A line of records.ndjson")
            name = get(record, "id", str, "A record")
            kind = get(record, "kind", str, "A record")
            if kind not in RULES:
                raise UncheckedError(
                    "The bundle has a kind of record that this verifier doesn't know, “{}”. Org "
                    "Admin {} made it: use the verifier of that release.",
                    kind,
                    self.manifest.get("release"),
                )
            rows: Rows = get(record, "rows", dict, "A record")
            many, line = rows_after(lines, rows)
            self._check_record(kind, name, rows, many)
            if kind == DELETION:
                yield name

    def _check_record(self, kind: str, name: str, rows: Rows, lines: list[dict[str, Any]]) -> None:
        """Check one record, with the lines of rows that its events have only a digest of."""
        # Otherwise a deletion could escape the comparison with the plan or the access review.
        require(not self.whole, "A record comes after the one that the bundle was made for.")
        events = self._take_events(kind, name)
        if kind in _MANY:
            rows[_MANY[kind]] = digest_of_rows([line["row"] for line in lines])
        else:
            require(not lines, "{} {} has rows that do not belong to it.", _NOUNS[kind], name)
        wrong = next(differences(rows, fold(events)), "") or next(RULES[kind](rows, events), "")
        noun = _NOUNS[kind].capitalize()
        require(not wrong, "{} {} does not match its events: {}.", noun, name, wrong)
        require(events, "{} {} has no events.", noun, name)
        self.records[kind] = self.records.get(kind, 0) + 1
        if kind in self.counts:
            self._check_request(kind, name, rows[kind], events)
        if kind == DELETION:
            self._check_deletion(name, rows[kind], events)
        elif kind == ACCESS_REQUEST:
            wrong = self._ends.problem(rows[kind])
            require(not wrong, "{} {} does not match a deletion: {}.", noun, name, wrong)
            self._with_approval[DELETION] += self._ends.count_approvals(events)
        many = [{**line["row"], "is_gone": line.get("is_gone")} for line in lines]
        if kind == BATCH:
            self._check_plan(name, rows[kind], many, events)
        elif kind == ACCESS_REVIEW:
            self._check_access_review(name, rows, many)
        if self.page_file:
            section = page.record_section(noun, name, rows, events, many)
            if kind in _MANY:
                self.whole_section = section
            else:
                self.page_file.write(section)

    def _check_request(
        self, kind: str, name: str, row: dict[str, Any], events: Sequence[Event]
    ) -> None:
        """Check what deletions and access requests have in common, and count it."""
        noun = _NOUNS[kind]
        requested_at = parse_time(get(row, "requested_at", str, f"A {noun}"))
        place = (requested_at, name)
        is_ordered = kind not in self._before or place < self._before[kind]
        require(is_ordered, "The {}s are not in order, or one is duplicated.", noun)
        self._before[kind] = place
        is_within = requested_at < self.until and (self.since is None or requested_at >= self.since)
        text = "{} {} was requested outside the period."
        require(is_within, text, noun.capitalize(), name)
        unapproved = done_without_approvals(events)
        self._requiring_approval[kind] += unapproved is not None
        self._with_approval[kind] += unapproved == []
        break_glass = break_glass_by_event(events) if unapproved else {}
        at_end = sent_at_end(events) if unapproved else set()
        for done in unapproved or []:
            text = unapproved_text(noun.capitalize(), name, done, break_glass.get(done.seq))
            if done.seq in at_end:
                self._ends.require_approvals(name, events, text)
            else:
                self.unapproved.append(text)
        outcome, counts = row.get("outcome", ""), self.counts[kind]
        counts[outcome] = counts.get(outcome, 0) + 1

    def _check_deletion(self, name: str, row: dict[str, Any], events: Sequence[Event]) -> None:
        self._ends.add(name, row)
        if ACCESS_REVIEW in self.started.details:
            key = (row.get("site"), row.get("connection_id"))
            self._by_connection.setdefault(key, []).append({**row, "id": name})
        if BATCH in self.started.details:
            row_id = row.get("batch_row_id")
            require(row_id not in self._by_row, "Deletion {} has the row of another one.", name)
            self._by_row[row_id] = {**row, "id": name}
            self._sent += [
                (event.seq, number, name)
                for event, number in zip(events, rounds_of(events))
                if event.code == "deletion.sending"
            ]
        elif row.get("batch_id"):
            self.without_plan.add(row["batch_id"])

    def _require_recorded(self, kind: str, name: str) -> None:
        """Check that the bundle was made for this access review or bulk deletion."""
        require(self.started.details.get(kind) == name, _NOT_THE_RECORDED, _NOUNS[kind])
        self.whole[kind] = name

    def _check_plan(
        self,
        name: str,
        batch: dict[str, Any],
        plan_rows: Sequence[dict[str, Any]],
        events: Sequence[Event],
    ) -> None:
        self._require_recorded(BATCH, name)
        wrong = next(plan_problems(plan_rows, self._by_row), "")
        require(not wrong, "The plan does not match its deletions: {}.", wrong)
        for deletion in self._by_row.values():
            is_of_batch = deletion.get("batch_id") == name
            require(is_of_batch, "Deletion {} is of another bulk deletion.", deletion["id"])
        running = RunningBatch(events)
        for seq, number, deletion_id in self._sent:
            text = "Deletion {} was sent while the plan was not confirmed or not running."
            require(running.allowed(seq, number), text, deletion_id)
        left_out: dict[str, int] = {}
        for row in plan_rows:
            if row.get("problem") and not row.get("removed_at"):
                left_out[row["problem"]] = left_out.get(row["problem"], 0) + 1
        for problem, count in left_out.items():
            why = left_out_reason(problem)
            self.others.append(fill("Left out of the plan: {} ({}).", pluralize(count, "row"), why))
        needed = APPROVALS_NEEDED.get(batch["policy"], 0)
        removed = len(plan_rows) - len(self._by_row) - sum(left_out.values())
        self._later_findings += [
            fill(
                "The rows of the plan are those that were requested ({} became deletions, {} left "
                "out, {} removed before the request). Each of these deletions belongs to exactly "
                "one row.",
                len(self._by_row),
                sum(left_out.values()),
                removed,
            ),
            confirmation_finding(running.confirmed, needed),
        ]

    def _check_access_review(
        self, name: str, rows: Rows, review_rows: Sequence[dict[str, Any]]
    ) -> None:
        self._require_recorded(ACCESS_REVIEW, name)
        review = self.review = rows["access_review"]
        require(review.get("state") == "closed", "The access review is not closed.")
        decisions = decisions_by_row(rows)
        newest = {row: some[-1] for row, some in decisions.items()}
        wrong = next(closing_problems(review, review_rows, newest), "")
        require(not wrong, "The access review does not match its events: {}.", wrong)
        keys = {(row["site"], row["connection_id"]) for row in review_rows}
        others = [key for key in self._by_connection if key not in keys]
        require(not others, "A deletion is of no connection of the access review.")
        for row in review_rows:
            connection = fill("{} on {}", row["connection_id"], row["site"])
            deletions = self._by_connection.get((row["site"], row["connection_id"]), [])
            if row["closed_as"] == "delete" and not was_deleted(deletions):
                result = gone_text(row, deletions) or "no deletion succeeded"
                self.others.append(fill("{} was to be deleted: {}.", connection, result))
            elif row["closed_as"] == "pending":
                text = "{} was left open without a decision that counts."
                self.others.append(fill(text, connection))
        places = {row["id"]: row for row in review_rows}
        for made in decisions.values():
            for decision in made:
                owner, row = decision.get("owner_id"), places.get(decision["row_id"], {})
                if owner and owner != decision.get("decided_by_id"):
                    text = "Someone other than its owner decided on {} on {}."
                    self.others.append(fill(text, row.get("connection_id"), row.get("site")))
        count = sum(map(len, decisions.values()))
        self._later_findings.append(
            fill(
                "The access review has the connections and syncs of its start, each decision with "
                "its person, time and reason, and the final states of its close ({}, {}).",
                pluralize(len(review_rows), "connection"),
                pluralize(count, "decision"),
            )
        )


# The row with the digest of all rows that a kind of record has too many of.
_MANY = {BATCH: "batch_rows", ACCESS_REVIEW: "access_review_rows"}
_NOUNS = {
    DELETION: "deletion",
    ACCESS_REQUEST: "access request",
    BATCH: "bulk deletion",
    ACCESS_REVIEW: "access review",
    ORG_CONNECTION: "protected connection",
    AGREEMENT: "agreement",
    HOLD: "hold",
}
_NOT_THE_RECORDED = "The {} is missing, or not the one recorded when the bundle was started."
_REWRITTEN = (
    "Your checkpoint of size {} contradicts this bundle: the audit log was rewritten after one of "
    "the two was signed."
)
