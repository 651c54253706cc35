"""An unchanged bundle verifies with only Python, and the output says what is proven."""

import ast
import json
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from connections import verifier
from connections.audit import EventCode
from connections.evidence.program import build_program
from connections.verifier.archive import FILE_NAMES, pack
from connections.verifier.messages import VerificationFailed
from connections.verifier.strict_json import get, load_json
from connections.verifier.verification import Verification
from tests.evidence.support import Made, complaint, files_of, run_verifier

# The standard library modules of Python 3.9 that the verifier uses.
STANDARD = {
    "__future__", "argparse", "base64", "binascii", "bisect", "collections", "datetime", "enum",
    "hashlib", "heapq", "html", "json", "os", "re", "secrets", "shutil", "stat", "struct", "sys",
    "tempfile", "typing", "zlib",
}  # fmt: skip


VERIFIER = Path(verifier.__file__).parent


def pythons() -> list[str]:
    """This Python, and every other working Python from 3.9 on this machine."""
    found = {sys.executable}
    for minor in range(9, 20):
        path = shutil.which(f"python3.{minor}")
        ask = [path or "", "-c", "import sys; print(sys.executable)"]
        done = subprocess.run(ask, capture_output=True, text=True, check=False) if path else None
        if done and done.returncode == 0:
            found.add(done.stdout.strip())
    return sorted(found)


@pytest.mark.slow
def test_an_unchanged_bundle_verifies_in_an_empty_directory_and_environment(
    made: Made, tmp_path: Path
):
    for number, python in enumerate(pythons()):
        verdict = run_verifier(made.data, tmp_path / f"empty-{number}", python=python)
        assert verdict.code == 0, python
        assert "28 deletions requested from the beginning until" in verdict.text
        assert (
            "Of 1 attempted deletion that required approval, 1 had enough approvals by other "
            "people before every attempt."
        ) in verdict.text
        assert "Not proven:" in verdict.text


def test_without_a_fingerprint_the_result_says_that_the_key_was_not_checked(
    made: Made, tmp_path: Path
):
    lines = run_verifier(made.data, tmp_path / "x").text.splitlines()
    [verdict] = [line for line in lines if "VERIFIED:" in line]
    assert verdict.endswith(
        "every check passed, but THE SIGNER WAS NOT VERIFIED: you gave no fingerprint."
    )
    assert lines[-2].startswith(f"WARNING: key {made.key.fingerprint} signed this")
    assert lines[-1] == "RESULT: VERIFIED, BUT NOT ITS SIGNER (exit code 0)."


def test_the_verifier_runs_on_python_3_9_with_the_standard_library_only():
    for name, content in files_of(build_program()).items():
        tree = ast.parse(content, feature_version=(3, 9))
        imported = {
            (node.module or "") if isinstance(node, ast.ImportFrom) else alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.Import | ast.ImportFrom)
            for alias in node.names
        }
        others = {module for module in imported if not module.startswith("connections.verifier")}
        assert {module.partition(".")[0] for module in others} <= STANDARD | {"connections"}, name


def test_its_modules_are_short_enough_to_read_and_the_program_follows_from_them():
    files = files_of(build_program())
    assert max(len(content.splitlines()) for content in files.values()) <= 600
    assert pack(files) == build_program()
    modules = {path.name: path.read_bytes() for path in VERIFIER.glob("*.py")}
    assert files == {"connections/__init__.py": b"", "__main__.py": modules["__main__.py"]} | {
        f"connections/verifier/{name}": content for name, content in modules.items()
    }


def test_an_older_python_could_not_check():
    code = (
        "import runpy, sys; sys.version_info = (3, 8, 20); "
        f"runpy.run_path({str(VERIFIER / '__main__.py')!r}, run_name='__main__')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        2,
        "COULD NOT CHECK: this needs Python 3.9 or newer.\n",
    )


def test_the_verifier_in_the_bundle_is_the_reviewed_one(made: Made):
    assert files_of(made.data)["verify.pyz"] == build_program()


def test_its_readme_names_every_file_and_only_existing_events(made: Made):
    text = files_of(made.data)["README.txt"].decode()
    assert [name for name in FILE_NAMES if f"\n  {name} " not in text] == []
    codes = set(re.findall(r"\bdeletion\.[a-z_]+", text))
    assert codes <= set(EventCode)
    assert {
        EventCode.DELETION_REQUESTED,
        EventCode.DELETION_APPROVED,
        EventCode.DELETION_SENDING,
    } <= codes
    assert {EventCode.DELETION_ANSWERED, EventCode.DELETION_VERIFIED} <= codes


def test_the_named_key_is_followed_across_its_rotation(made: Made, tmp_path: Path):
    for fingerprint in (made.key.fingerprint, made.first_fingerprint):
        spelled = ":".join(fingerprint.upper()[n : n + 4] for n in range(0, 64, 4))
        verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", spelled)
        assert (verdict.code, "WARNING" in verdict.text) == (0, False)
        assert "\nVERIFIED: every check passed.\n" in verdict.text


def test_a_wrong_or_incomplete_fingerprint_is_refused(made: Made, tmp_path: Path):
    verdict = run_verifier(made.data, tmp_path / "x", "--fingerprint", "0" * 64)
    assert (verdict.code, "belongs to no key of this bundle" in verdict.text) == (1, True)
    half = made.key.fingerprint[:32]
    assert run_verifier(made.data, tmp_path / "x", "--fingerprint", half).code == 2


def test_a_kept_checkpoint_is_proven_consistent_with_the_new_one(made: Made, tmp_path: Path):
    kept = tmp_path / "kept.txt"
    # With line endings as a mail program might change them.
    kept.write_bytes(made.kept.replace("\n", "\r\n").encode() + b"\r\n\r\n")
    verdict = run_verifier(made.data, tmp_path / "x", "--checkpoint", str(kept))
    assert (verdict.code, "including the one you kept" in verdict.text) == (0, True)


def test_a_checkpoint_of_another_audit_log_is_refused(made: Made, tmp_path: Path):
    kept = tmp_path / "kept.txt"
    origin, size, root, *rest = made.kept.split("\n")
    for lines in (
        ["orgadmin/0000000000000000", size, root, *rest],
        [origin, size, "A" * 43 + "=", *rest],
        ["x"],
    ):
        kept.write_text("\n".join(lines))
        assert "Your checkpoint" in complaint(made.data, tmp_path, kept=str(kept))


def test_an_unreadable_bundle_is_not_reported_as_forged(made: Made, tmp_path: Path):
    assert run_verifier(made.data, tmp_path / "x", "--checkpoint", "nowhere.txt").code == 2
    assert run_verifier(made.data, tmp_path / "x", "--no-such-option").code == 2


def test_a_module_next_to_the_verifier_is_not_imported(made: Made, tmp_path: Path):
    for name in ("hashlib", "json", "re", "zlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported')\n")
    assert run_verifier(made.data, tmp_path).code == 0


def test_the_bundle_itself_says_to_run_the_verifier_isolated(made: Made):
    files = files_of(made.data)
    for text in (
        files["README.txt"].decode(),
        files_of(files["verify.pyz"])["__main__.py"].decode(),
    ):
        assert "    python3 -I verify.pyz bundle.zip " in text
        assert "python3 verify.pyz" not in text


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_only_regular_files_are_read(made: Made, tmp_path: Path, kind: str):
    path, bundle, program = (tmp_path / name for name in ("other", "bundle.zip", "verify.pyz"))
    bundle.write_bytes(made.data)
    program.write_bytes(build_program())
    make = {
        "pipe": os.mkfifo,
        "device": lambda at: at.symlink_to("/dev/zero"),
        "directory": os.mkdir,
    }
    make[kind](path)
    for arguments in ([str(path)], [str(bundle), "--checkpoint", str(path)]):
        done = subprocess.run(
            [sys.executable, "-I", str(program), *arguments],
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert (done.returncode, done.stderr) == (2, "")
        assert done.stdout.startswith("COULD NOT CHECK: ")
        assert str(path) in done.stdout


def test_a_file_that_does_not_exist_is_named_with_what_to_do(tmp_path: Path):
    path, program = tmp_path / "missing.zip", tmp_path / "verify.pyz"
    program.write_bytes(build_program())
    command = [sys.executable, "-I", str(program), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (
        2,
        f"COULD NOT CHECK: {path} can't be used (No such file or directory). Check its path and "
        "its permissions.\nRESULT: COULD NOT CHECK (exit code 2). Nothing is proven.\n",
    )


# --- Flipped bits ---------------------------------------------------------------------------------


def places(data: bytes) -> Iterator[int]:
    """Every byte outside the files, every byte of manifest and signature, and some others."""
    files, inside = files_of(data), set()
    offset = 0
    for name, content in files.items():
        offset += 30 + len(name)
        if not name.startswith("manifest."):
            inside |= set(range(offset, offset + len(content)))
        offset += len(content)
    chance = random.Random(len(data))  # noqa: S311 - any will do
    yield from (place for place in range(len(data)) if place not in inside)
    yield from chance.sample(sorted(inside), 200)


@pytest.mark.slow
def test_a_single_flipped_bit_is_detected_anywhere(made: Made, tmp_path: Path):
    path, chance = tmp_path / "bundle.zip", random.Random(7)  # noqa: S311 - any will do
    missed = []
    path.write_bytes(made.data)
    with path.open("r+b", buffering=0) as file:
        for place in places(made.data):
            byte = made.data[place]
            file.seek(place)
            file.write(bytes([byte ^ 1 << chance.randrange(8)]))
            try:
                Verification(str(path)).run()
                missed.append(place)
                # An undetected flip takes a full verification; three are enough to report.
                if len(missed) == 3:
                    break
            except VerificationFailed:
                pass
            file.seek(place)
            file.write(bytes([byte]))
    assert missed == []


@pytest.mark.slow
def test_ten_random_flips_are_reported_by_the_verifier_as_a_program(made: Made, tmp_path: Path):
    for _ in range(10):
        data = bytearray(made.data)
        place = random.randrange(len(data))  # noqa: S311 - any will do
        data[place] ^= 1 << random.randrange(8)  # noqa: S311
        verdict = run_verifier(bytes(data), tmp_path / "x")
        assert (verdict.code, verdict.text[:20]) == (1, "VERIFICATION FAILED:"), place


def test_a_truncated_bundle_is_refused(made: Made, tmp_path: Path):
    for length in (0, 1, 29, 5000, len(made.data) // 2, len(made.data) - 1):
        assert complaint(made.data[:length], tmp_path), length


def test_data_before_or_after_the_archive_is_refused(made: Made, tmp_path: Path):
    assert complaint(b"MZ" + made.data, tmp_path)
    assert complaint(made.data + b"\n", tmp_path)
    # A valid ZIP comment.
    assert complaint(made.data[:-2] + b"\1\0x", tmp_path)


@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_missing_duplicate_or_renamed_file_is_refused(made: Made, tmp_path: Path, name: str):
    files = files_of(made.data)
    assert complaint(pack({n: c for n, c in files.items() if n != name}), tmp_path)
    renamed = {n if n != name else f"../{n}": c for n, c in files.items()}
    assert complaint(pack(renamed), tmp_path)
    # Twice under one name with different content: some programs would show the second.
    whole = pack({**files, f"{name}~": b"forged"})
    assert complaint(whole.replace(f"{name}~".encode(), name.encode() + b" "), tmp_path)
    assert complaint(pack({**files, "extra.txt": b""}), tmp_path)


def test_swapped_or_changed_files_are_refused(made: Made, tmp_path: Path):
    files = files_of(made.data)
    assert complaint(pack(dict(sorted(files.items()))), tmp_path)
    swapped = {**files, "keys.json": files["values.ndjson"], "values.ndjson": files["keys.json"]}
    assert "keys.json does not match the manifest" in complaint(pack(swapped), tmp_path)
    assert complaint(pack(files), tmp_path) == ""


def test_numbers_that_are_not_integers_are_refused():
    for text in ("1.5", "1e3", "NaN", "9" * 5000, '{"a":1,"a":2}', "[" * 100_000, "\ud800"):
        with pytest.raises(VerificationFailed):
            load_json(text.encode("utf-8", "surrogatepass"), "This")
    assert load_json(json.dumps({"a": [1, None, True]}).encode(), "This")


def test_a_value_of_another_type_is_refused():
    assert get({"seq": 7}, "seq", int, "This") == 7
    documents: list[object] = [{"seq": True}, {"seq": "7"}, {"seq": None}, {}, [], 7]
    for document in documents:
        with pytest.raises(VerificationFailed, match="This has no valid “seq”"):
            get(document, "seq", int, "This")
