"""`make_evidence_bundle` writes a complete file or none, and prints its facts."""

import hashlib
import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from connections.evidence import bundles
from connections.evidence.program import build_program
from connections.models import AuditEvent, Deletion
from connections.models.released_migrations import AppliedMigration
from tests.evidence.support import complaint, run_verifier
from tests.support.append_only import triggers_off

pytestmark = pytest.mark.usefixtures("history")


def run(*arguments: str | Path) -> tuple[int, dict[str, Any]]:
    out, code = StringIO(), 0
    try:
        call_command("make_evidence_bundle", "--json", *map(str, arguments), stdout=out)
    except CommandError as error:
        code = error.returncode
    except SystemExit as ended:
        code = int(str(ended.code))
    return code, json.loads(out.getvalue())


def test_it_writes_a_valid_bundle_and_prints_its_digest(tmp_path: Path):
    path = tmp_path / "q3.zip"
    code, printed = run("--output", path, "--site", "sandbox-us1", "--from", "2026-01-01")
    assert (code, printed["deletions"], printed["file"]) == (0, 4, str(path))
    assert printed["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert printed["since"] == "2026-01-01T00:00:00Z"
    assert complaint(path.read_bytes(), tmp_path, fingerprint=printed["fingerprint"]) == ""
    assert run_verifier(path.read_bytes(), tmp_path / "x").code == 0
    started = AuditEvent.objects.get(code="evidence_bundle.started")
    assert started.details["filter"] == "since=2026-01-01&site=sandbox-us1"


def test_a_database_of_a_newer_release_is_refused(tmp_path: Path):
    """Its records that this version doesn't know would be missing without a word."""
    AppliedMigration.objects.create(name="0100_next", sha256="0" * 64, release="9.10.0")
    code, printed = run("--output", tmp_path / "q3.zip")
    assert code == 1
    assert (
        "would leave out what only 9.10.0 records. Make it with release 9.10.0."
        in (printed["error"])
    )
    assert list(tmp_path.iterdir()) == []
    assert not AuditEvent.objects.filter(code="evidence_bundle.started").exists()


def test_it_overwrites_nothing(tmp_path: Path):
    path = tmp_path / "q3.zip"
    path.write_text("mine")
    code, printed = run("--output", path)
    assert (code, "already exists" in printed["error"]) == (2, True)
    assert path.read_text() == "mine"


def test_a_failure_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(**_: Any) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(bundles, "write_zip", full)
    code, printed = run("--output", tmp_path / "q3.zip")
    assert (code, printed["error"]) == (1, "No bundle was made: no space left.")
    assert list(tmp_path.iterdir()) == []
    assert run("--output", tmp_path / "nowhere" / "q3.zip")[0] == 1


@pytest.mark.parametrize(
    ("arguments", "printed"),
    [
        (("--from", "soon"), "--from: "),
        (("--from", "2020-01-02", "--to", "2020-01-01"), "The period ends before it begins."),
        (("--status", "nonsense"), "--status: "),
        (("--checkpoint", "nowhere.txt"), "nowhere.txt can't be read"),
    ],
)
def test_invalid_arguments_are_a_usage_error(
    tmp_path: Path, arguments: tuple[str, ...], printed: str
):
    code, document = run("--output", tmp_path / "q3.zip", *arguments)
    assert (code, printed in document["error"]) == (2, True)
    assert not (tmp_path / "q3.zip").exists()


def test_an_inconsistent_bundle_exits_with_1(tmp_path: Path):
    with triggers_off():
        Deletion.objects.filter(outcome="refused").update(outcome="declined")
    code, printed = run("--output", tmp_path / "q3.zip")
    assert (code, printed["differing"], len(printed["differences"])) == (1, 1, 1)


def test_it_writes_the_verifier_and_overwrites_nothing(tmp_path: Path):
    path = tmp_path / "verify.pyz"
    code, printed = run("--verifier", path)
    assert (code, printed["file"]) == (0, str(path))
    assert printed["verifier_sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.read_bytes() == build_program()
    assert run("--verifier", path)[0] == 2
