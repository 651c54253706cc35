"""Runs the named tests without one safeguard, in a copy of the tree."""

import compileall
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from py_compile import PycInvalidationMode
from queue import Queue
from tempfile import TemporaryDirectory

from tests.mutations.mutants import MUTANTS, Edit, Mutant

ROOT = Path(__file__).resolve().parents[2]
FAILED = 1  # pytest's exit code for "tests ran and some failed"
LONGEST = 120.0  # seconds for the tests of one mutant
SURVIVED = "survived"


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The result of one mutant. `problem` is "" if a test failed, as it should."""

    mutant: Mutant
    problem: str
    seconds: float
    output: str = ""
    is_caught_by_mypy: bool = False


def copy_tree(to: Path) -> Path:
    """Copy the working tree without what Git ignores."""
    options = ("--cached", "--others", "--exclude-standard", "-z")
    listed = subprocess.run(
        ["git", "ls-files", *options], cwd=ROOT, stdout=subprocess.PIPE, check=True
    )
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, to / name)
    return to


def compile_tree(root: Path) -> None:
    """Store byte code, which takes longer to make than most tests of a mutant take.

    It holds for exactly this text: Python compiles a changed module again, and stores nothing.
    """
    for name in ("connections", "orgadmin", "sandbox", "tests/support"):
        compileall.compile_dir(
            root / name, quiet=2, invalidation_mode=PycInvalidationMode.CHECKED_HASH
        )


def misplaced(mutant: Mutant, *, root: Path = ROOT) -> str:
    """Which text of a mutant doesn't occur exactly once in its file; "" if all do."""
    for edit in mutant.edits:
        count = (root / edit.path).read_text().count(edit.old)
        if count != 1:
            return f"found {count} times in {edit.path}: {edit.old.strip()[:60]}"
    return ""


def run_tests(
    tests: tuple[str, ...],
    *,
    root: Path,
    options: tuple[str, ...] = ("-x",),
    longest: float = LONGEST,
    **variables: str,
) -> tuple[int, str]:
    """The exit code and output of pytest. The code is -1 if it took too long."""
    options = ("-q", "-p", "no:cacheprovider", "--no-header", "--tb=line", *options)
    # Without this, Python would store a mutant's byte code.
    env = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"} | variables
    # A process that hangs without its safeguard ends the test long before LONGEST.
    env["TEST_PATIENCE"] = "45"
    env.pop("PYTEST_XDIST_WORKER", None)
    data = root / "data-of-tests"
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pytest", *options, *tests],
            cwd=root,
            env=env | {"ORGADMIN_TEST_DATA_DIR": str(data)},
            capture_output=True,
            text=True,
            timeout=longest,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return -1, ""
    return done.returncode, done.stdout + done.stderr


def has_type_errors(mutant: Mutant, *, root: Path) -> bool:
    """Whether mypy reports the files that a mutant changes."""
    files = [edit.path for edit in mutant.edits if edit.path.endswith(".py")]
    command = [sys.executable, "-m", "mypy", *files]
    return subprocess.run(command, cwd=root, capture_output=True, check=False).returncode == 1


def try_mutant(mutant: Mutant, *, root: Path, with_mypy: bool = False) -> Verdict:
    """Remove one safeguard in a copy, run its tests, and put it back.

    With `with_mypy`, a mutant that they don't notice counts as caught when mypy reports it.
    """
    started = time.monotonic()
    problem, output = misplaced(mutant, root=root), ""
    is_caught_by_mypy = False
    if not problem:
        originals = {edit.path: (root / edit.path).read_text() for edit in mutant.edits}
        try:
            for edit in mutant.edits:
                _apply(edit, root=root)
            code, output = run_tests(mutant.tests, root=root) if mutant.tests else (0, "")
            if with_mypy and not code:
                is_caught_by_mypy = has_type_errors(mutant, root=root)
        finally:
            for path, text in originals.items():
                (root / path).write_text(text)
        problem = "" if is_caught_by_mypy else _problem_of(code)
    return Verdict(
        mutant=mutant,
        problem=problem,
        seconds=time.monotonic() - started,
        output=output,
        is_caught_by_mypy=is_caught_by_mypy,
    )


def _apply(edit: Edit, *, root: Path) -> None:
    path = root / edit.path
    path.write_text(path.read_text().replace(edit.old, edit.new))


def _problem_of(code: int) -> str:
    if code == FAILED:
        return ""
    # A test that hangs without its safeguard would hang the build server too.
    return {0: SURVIVED, -1: "took too long"}.get(code, f"did not run (pytest said {code})")


def try_all(
    mutants: tuple[Mutant, ...] = MUTANTS, *, processes: int = 2, with_mypy: bool = False
) -> Iterator[Verdict]:
    """The verdict of each mutant, as it becomes known. Each process has its own copy."""
    if not mutants:
        return
    with TemporaryDirectory(prefix="orgadmin-mutations-") as name:
        copies: Queue[Path] = Queue()
        first = copy_tree(Path(name) / "0")
        compile_tree(first)
        copies.put(first)
        for number in range(1, min(processes, len(mutants))):
            copies.put(shutil.copytree(first, Path(name) / str(number)))

        def work(mutant: Mutant) -> Verdict:
            root = copies.get()
            try:
                return try_mutant(mutant, root=root, with_mypy=with_mypy)
            finally:
                copies.put(root)

        with ThreadPoolExecutor(processes) as pool:
            yield from pool.map(work, mutants)
