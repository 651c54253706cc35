"""The verifier detects bundles that contradict the audit log, even signed with the right key."""

import base64
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from connections.audit.chain import canonical_text
from connections.audit.signing import SigningKey
from connections.evidence.program import build_program
from connections.verifier.archive import MANIFEST_FILES
from connections.verifier.events import DELETION, display_value
from connections.verifier.report import main
from connections.verifier.rules import RULES
from tests.evidence.columns import assert_each_bundled_column_counts
from tests.evidence.support import Forger, Made, complaint, run_verifier

type Records = list[dict[str, Any]]


def settled(records: Records) -> dict[str, Any]:
    """The rows of the deletion that was approved and carried out."""
    rows: dict[str, Any] = next(
        line["rows"] for line in records if any("approval" in name for name in line["rows"])
    )
    return rows


@pytest.mark.slow
@pytest.mark.sweep
def test_each_column_of_an_approved_deletion_counts(
    made: Made, tmp_path: Path, subtests: pytest.Subtests
):
    records = Forger(made=made).records()
    [name] = [line["id"] for line in records if line["rows"] is settled(records)]
    assert_each_bundled_column_counts(made, name, tmp_path, subtests)


def lines(change: Callable[[list[str]], Any]) -> Callable[[str], str]:
    """A change of a text by changing its lines in place."""

    def changed(text: str) -> str:
        each = text.splitlines(keepends=True)
        change(each)
        return "".join(each)

    return changed


def swap(rows: list[Any]) -> None:
    rows[-1], rows[-2] = rows[-2], rows[-1]


FILES: dict[str, tuple[str, Callable[[str], str], str]] = {
    "an event left out": ("events.ndjson", lines(lambda each: each.pop()), "does not match"),
    "an event twice": (
        "events.ndjson",
        lines(lambda each: each.append(each[-1])),
        "is in the wrong place",
    ),
    "events in another order": ("events.ndjson", lines(swap), "is in the wrong place"),
    "an event's words": (
        "events.ndjson",
        lambda text: text.replace("approved the deletion", "declined the deletion"),
        "is not in the audit log of the checkpoint",
    ),
    "an event's number": (
        "events.ndjson",
        lambda text: text.replace('"seq": 5,', '"seq": 6,'),
        "is not in the audit log",
    ),
    "no rotation": ("events.ndjson", lines(lambda each: each.pop(0)), "The key rotations"),
    "no beginning": (
        "events.ndjson",
        lines(lambda each: each.pop(1)),
        "events about the audit log",
    ),
    "a name": (
        "values.ndjson",
        lambda text: text.replace('"Linus"', '"Grace"'),
        "does not match its commitment",
    ),
    "no names": ("values.ndjson", lambda _: "", "is missing"),
    "a deletion left out": (
        "records.ndjson",
        lines(lambda each: each.pop(2)),
        "no event records the row “attempt 1”",
    ),
    "deletions in another order": (
        "records.ndjson",
        lines(lambda each: each.reverse()),
        "does not match its events",
    ),
    "a deletion twice": (
        "records.ndjson",
        lines(lambda each: each.append(each[-1])),
        "does not match its events",
    ),
    "an older checkpoint": (
        "checkpoints.ndjson",
        lines(lambda each: each.__setitem__(0, each[1].replace(each[1][:40], each[0][:40]))),
        "An earlier checkpoint",
    ),
    "a proof": (
        "checkpoints.ndjson",
        lambda text: text.replace(
            '"proof": ["', '"proof": ["AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", "', 1
        ),
        "does not extend",
    ),
    "the checkpoint": (
        "checkpoint.txt",
        lambda text: "\n".join([*text.split("\n")[:1], "9", *text.split("\n")[2:]]),
        "checkpoint.txt is not signed",
    ),
    "a fingerprint": (
        "keys.json",
        lambda text: text.replace('"fingerprint": "', '"fingerprint": "0', 1),
        "A fingerprint in keys.json is not that of its key",
    ),
    "an end of the records": (
        "records.ndjson",
        lambda text: text[:-1],
        "has no line end",
    ),
}


@pytest.mark.parametrize(("name", "change", "complaint_text"), FILES.values(), ids=FILES.keys())
def test_a_file_that_contradicts_the_others_is_named(
    made: Made, tmp_path: Path, name: str, change: Callable[[str], str], complaint_text: str
):
    forger = Forger(made=made)
    forger.edit(name, change)
    assert complaint_text in complaint(forger.signed(), tmp_path)


def change_population(key: str, value: Any) -> Callable[[Forger], None]:
    def change(forger: Forger) -> None:
        forger.edit_json("population.json", lambda each: each.update({key: value}))

    return change


def shorter_period(forger: Forger) -> None:
    until = forger.records()[0]["rows"]["deletion"]["requested_at"]
    for name in ("manifest.json", "population.json"):
        forger.edit_json(name, lambda each: each["period"].update(until=until))


FACTS: dict[str, tuple[Callable[[Forger], None], str]] = {
    "number chosen": (change_population("selected", 27), "The counts in population.json"),
    "number there are": (change_population("in_period", 3), "More deletions were selected"),
    "outcomes": (change_population("counts", {"deleted": 28}), "The counts in population.json"),
    "filter": (
        change_population("filter", ""),
        "The filter or the period is not the one recorded",
    ),
    "origin": (change_population("origin", "x"), "“origin” in population.json"),
    "period": (shorter_period, "The filter or the period is not the one recorded"),
}


@pytest.mark.parametrize(("change", "complaint_text"), FACTS.values(), ids=FACTS.keys())
def test_contradictory_facts_are_named(
    made: Made, tmp_path: Path, change: Callable[[Forger], None], complaint_text: str
):
    forger = Forger(made=made)
    change(forger)
    assert complaint_text in complaint(forger.signed(), tmp_path)


def test_another_installations_key_is_refused(made: Made, tmp_path: Path):
    stranger = SigningKey(private_key=Ed25519PrivateKey.generate(), previous_public_keys=())
    forger = Forger(made=made)
    assert "not signed by a trusted key" in complaint(forger.signed(stranger), tmp_path)
    key = {"fingerprint": stranger.fingerprint, "public_key": text_of(stranger)}
    forger.edit_json("keys.json", lambda each: each.update(keys=[key]))
    found = complaint(forger.signed(stranger), tmp_path, fingerprint=made.key.fingerprint)
    assert "belongs to no key of this bundle" in found
    # A genuine checkpoint in it doesn't make it pass either.
    assert "checkpoint.txt is not signed" in complaint(forger.signed(stranger), tmp_path)


def test_a_name_omitted_as_if_erased_is_valid_and_listed_as_not_proven(made: Made, tmp_path: Path):
    forger = Forger(made=made)
    values = [json.loads(line) for line in forger.files["values.ndjson"].splitlines()]
    [approver] = [value for value in values if value["value"] == "Linus"]
    approver.update(value=None, salt=None)
    lines = "".join(f"{canonical_text(value)}\n" for value in values)
    forger.files["values.ndjson"] = lines.encode()
    shown = display_value(approver)

    def leave_out(records: Records) -> None:
        for name, row in settled(records).items():
            if name.startswith("approval "):
                row["approver_name"] = shown

    forger.edit_records(leave_out)
    verdict = run_verifier(forger.signed(), tmp_path / "x")
    assert (verdict.code, "shown as erased: 1" in verdict.text) == (0, True)
    assert "  - A name shown as erased was erased. The person who made the bundle" in verdict.text


def text_of(key: SigningKey) -> str:
    return base64.b64encode(key.public_key).decode()


# --- Hostile input --------------------------------------------------------------------------------

NASTY: tuple[Any, ...] = (
    None, True, -1, 10**18, "", "\x1b[2J", "x" * 5000, [], {}, [[]], {"": None}, [None], "\ud800",
    "2026-99-99", "0001-01-01T00:00:00+14:00", "{name:999}", "{name:", ["\ud800"],
)  # fmt: skip


def spoil(value: Any, chance: random.Random) -> Any:
    """The document with one value replaced by a hostile one."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        key = chance.choice(sorted(value))
        return value | {key: spoil(value[key], chance)}
    if isinstance(value, list) and value and chance.random() < 0.9:
        place = chance.randrange(len(value))
        return [*value[:place], spoil(value[place], chance), *value[place + 1 :]]
    return chance.choice(NASTY)


def spoiled(name: str, content: bytes, chance: random.Random) -> bytes:
    if not name.endswith("json"):
        place = chance.randrange(len(content) + 1)
        return content[:place] + chance.randbytes(3) + content[place:]
    rows = content.decode().splitlines() if name.endswith("ndjson") else [content.decode()]
    place = chance.randrange(len(rows))
    if chance.random() < 0.5 and name.endswith("ndjson") and '"text"' in rows[place]:
        row = json.loads(rows[place])
        row["text"] = json.dumps(spoil(json.loads(row["text"]), chance))
        rows[place] = json.dumps(row)
    else:
        rows[place] = json.dumps(spoil(json.loads(rows[place]), chance))
    return "".join(f"{row}\n" for row in rows).encode()


def test_no_forged_content_causes_a_traceback(
    made: Made, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    chance = random.Random(99)  # noqa: S311 - any will do
    path = tmp_path / "bundle.zip"
    for _ in range(80):
        forger = Forger(made=made)
        name = chance.choice([file for file in MANIFEST_FILES if file in forger.files])
        forger.files[name] = spoiled(name, forger.files[name], chance)
        path.write_bytes(forger.signed())
        code = main([str(path)])
        complaint_text = capsys.readouterr()
        # README.txt and verify.pyz are only compared; some values mean the same.
        assert code in {0, 1, 2}, complaint_text.out
        assert complaint_text.err == ""
        assert "\x1b" not in complaint_text.out


# Bytes; more than Python itself needs.
LARGE = 128 << 20


@pytest.mark.slow
def test_its_memory_stays_bounded_whatever_the_bundle_holds(made: Made, tmp_path: Path):
    for name, byte in (("events.ndjson", b"x"), ("records.ndjson", b"\n"), ("keys.json", b"[")):
        forger = Forger(made=made)
        forger.files[name] = byte * LARGE
        path, program = tmp_path / "bundle.zip", tmp_path / "verify.pyz"
        path.write_bytes(forger.signed())
        program.write_bytes(build_program())
        limited = f"ulimit -v {LARGE // 1024}; exec {sys.executable} -I {program} {path}"
        done = subprocess.run(
            ["sh", "-c", limited], capture_output=True, check=False, env=os.environ
        )
        assert (done.returncode, done.stderr) == (1, b"")
        assert b"MemoryError" not in done.stdout


def test_differences_read_as_sentences(made: Made):
    assert made.bundle.differing == 0
    assert list(RULES[DELETION]({}, [])) == ["it has no request event"]
