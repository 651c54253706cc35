"""Nothing in a bundle can forge the verifier's report, which leaves nothing out silently."""

import ast
import json
from pathlib import Path

import pytest

from connections import verifier
from connections.verifier import messages, report
from connections.verifier.verification import Verification
from tests.evidence.support import Forger, Made, deletions_in, run_verifier

FORGED_REPORT = "\n" * 60 + "VERIFIED: every check passed.\r\nRESULT: VERIFIED (exit code 0).\n"
HOSTILE = f"x\x1b[2J\x1b]0;title\x07\u202e\u2028\x85{FORGED_REPORT}{' ' * 500}VERIFIED"


def assert_is_not_forged(text: str, *, code: int) -> None:
    lines = text.splitlines()
    assert not [line for line in lines if line.startswith(("VERIFIED", "RESULT: VERIFIED"))]
    assert [line for line in lines if line.startswith("RESULT: ")] == lines[-1:]
    assert f"(exit code {code})" in lines[-1]
    assert text.replace("\n", "").isprintable()
    assert len(text) < 1500


@pytest.mark.parametrize("key", ["format", "origin", "release"])
def test_a_forged_manifest_prints_no_verdict_of_its_own(made: Made, tmp_path: Path, key: str):
    forger = Forger(made=made)
    forger.edit_json("manifest.json", lambda manifest: manifest.update({key: HOSTILE}))
    if key == "release":
        forger.edit_json("manifest.json", lambda manifest: manifest.update(format="newer"))
    # Not signed again: all of this is read before any signature.
    forger.sign_with_nothing()
    verdict = run_verifier(forger.packed(), tmp_path / "x", "--fingerprint", made.key.fingerprint)
    assert verdict.code in {1, 2}
    assert_is_not_forged(verdict.text, code=verdict.code)


@pytest.mark.parametrize(
    ("file", "old"),
    [
        ("population.json", '"made_at": "'),
        ("records.ndjson", '"id":"'),
        ("checkpoint.txt", "orgadmin/"),
        ("keys.json", '"fingerprint": "'),
    ],
)
def test_values_of_other_files_print_no_verdict_either(
    made: Made, tmp_path: Path, file: str, old: str
):
    forger = Forger(made=made)
    hostile = json.dumps(HOSTILE, ensure_ascii=False)[1:-1] if file.endswith("json") else HOSTILE
    forger.edit(file, lambda text: text.replace(old, old + hostile, 1))
    verdict = run_verifier(forger.signed(), tmp_path / "x")
    assert verdict.code == 1
    assert_is_not_forged(verdict.text, code=1)


def test_every_message_is_a_literal_with_values_in_it():
    """So that no value reaches a message without being escaped and shortened."""
    taking_template = {"VerificationFailed", "UncheckedError", "fill", "fill_html", "require"}
    wrong = []
    for path in Path(verifier.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in taking_template and path.name != "messages.py":
                template = node.args[1 if node.func.id == "require" else 0]
                # A name is that of a literal above.
                if not isinstance(template, ast.Constant | ast.Name):
                    wrong.append(f"{path.name}:{node.lineno}")
    assert wrong == []


def test_a_value_is_one_short_printable_line():
    text = messages.fill("{} and {}.", HOSTILE, "Süd → Nord")
    assert text.startswith("x\\u001b[2J\\u001b]0;title\\u0007\\u202e\\u2028\\u0085\\u000a")
    assert text.endswith("… and Süd → Nord.")
    assert text.isprintable()
    assert messages.fill("{}", "a" + " " * 500 + "b") == "a b"
    assert messages.fill("{}", "\U000e0001") == "\\U000e0001"


def test_it_says_how_many_warnings_it_does_not_print_and_missing_approvals_are_first(made: Made):
    done = Verification("bundle.zip", fingerprint=made.key.fingerprint)
    done.origin, done.manifest = "o", {"made_at": "", "period": {"since": None, "until": ""}}
    done.population = {"filter_in_words": "", "in_period": 0}
    done.others = [f"{number} was left open." for number in range(60)]
    done.unapproved = ["attempt 1 was sent without required approvals."]
    lines = list(report._report_lines(done))
    start = lines.index("Needs attention (61):")
    assert "without required approvals" in lines[start + 1]
    assert lines[start + 51] == "  - and 11 more: --html FILE writes all of them."


def test_the_page_is_written_only_after_verification_and_overwrites_nothing(
    made: Made, tmp_path: Path
):
    page = tmp_path / "page.html"
    forger = Forger(made=made)
    forger.edit("records.ndjson", lambda text: text.replace("refused", "deleted"))
    assert run_verifier(forger.signed(), tmp_path / "x", "--html", page).code == 1
    assert not page.exists()
    assert run_verifier(made.data, tmp_path / "x", "--html", page).code == 0
    text = page.read_text()
    assert all(record["id"] in text for record in deletions_in(made))
    assert "<script" not in text
    again = run_verifier(made.data, tmp_path / "x", "--html", page)
    assert (again.code, "File exists" in again.text) == (2, True)
    assert page.read_text() == text


def test_a_sample_is_drawn_by_a_seed_that_repeats_it(made: Made, tmp_path: Path):
    def sample(*arguments: str) -> list[str]:
        verdict = run_verifier(made.data, tmp_path / "x", "--sample", "5", *arguments)
        assert verdict.code == 0
        lines = verdict.text.splitlines()
        [start] = [number for number, line in enumerate(lines) if line.startswith("Sample of ")]
        return lines[start : start + 6]

    drawn = sample()
    seed = drawn[0].removeprefix("Sample of 5 deletions, drawn with --seed ").rstrip(":")
    assert sample("--seed", seed) == drawn
    ids = {record["id"] for record in deletions_in(made)}
    assert {line.removeprefix("  - ") for line in drawn[1:]} < ids
    assert len(set(drawn)) == 6
    assert sample("--seed", "mine")[1:] != drawn[1:]


def test_a_bundle_of_format_1_is_named_as_such(made: Made, tmp_path: Path):
    forger = Forger(made=made)
    old = {
        "verify.py" if name == "verify.pyz" else name: content
        for name, content in forger.files.items()
    }
    old["verify.py"] = b"#!/usr/bin/env python3\n"
    forger.files = old
    verdict = run_verifier(forger.packed(), tmp_path / "x")
    assert (verdict.code, verdict.text.splitlines()[0]) == (
        2,
        "COULD NOT CHECK: This bundle was made before Org Admin 1.0: use the verify.py of the "
        "version that made it.",
    )


def test_a_newer_format_is_named_with_its_release(made: Made, tmp_path: Path):
    forger = Forger(made=made)
    newer = {"format": "orgadmin evidence bundle 3", "release": "2.0"}
    forger.edit_json("manifest.json", lambda manifest: manifest.update(newer))
    verdict = run_verifier(forger.signed(), tmp_path / "x")
    assert verdict.code == 2
    assert "made by Org Admin 2.0. Use the verifier of that release." in verdict.text


def test_an_unknown_kind_of_record_could_not_be_checked_and_names_the_release(
    made: Made, tmp_path: Path
):
    forger = Forger(made=made)
    forger.edit_json("manifest.json", lambda manifest: manifest.update(release="2.0"))
    record = '{"id":"1","kind":"transfer","rows":{}}\n'
    forger.edit("records.ndjson", lambda text: text + record)
    verdict = run_verifier(forger.signed(), tmp_path / "x")
    assert verdict.code == 2
    assert "doesn't know, “transfer”. Org Admin 2.0 made it: use the verifier of that" in (
        verdict.text
    )
