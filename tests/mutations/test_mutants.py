"""The list of safeguards matches the code. `python -m tests.mutations` removes them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutations.hashes import hash_of
from tests.mutations.mutants import MUTANTS, Edit, Mutant, read_mutants
from tests.mutations.running import ROOT, copy_tree, misplaced, try_mutant

A_QUICK_TEST = "tests/deletions/test_transitions.py::test_a_refusal_closes_the_deletion"
ACTION = "connections/deletions/action.py"
STATES = "connections/change_requests/states.py"


LIST = """@ a.py

one file
-    x
-
+    y
-z
? t.py::test_a
? t.py::test_b

PostgreSQL: two files
-x
@ b.py
-y
+
? t.py

@ c.py

the next file
-x
? t.py
"""


def test_a_list_of_safeguards_is_read_block_by_block():
    one, two, three = read_mutants(LIST)
    assert one == Mutant(
        name="one file",
        edits=(Edit(path="a.py", old="    x\n", new="    y"), Edit(path="a.py", old="z", new="")),
        tests=("t.py::test_a", "t.py::test_b"),
    )
    assert (two.name, two.needs_postgresql) == ("two files", True)
    assert two.edits == (Edit(path="a.py", old="x", new=""), Edit(path="b.py", old="y", new=""))
    assert three.edits[0].path == "c.py"
    with pytest.raises(ValueError, match="the next file: !x"):
        read_mutants(LIST.replace("file\n-x", "file\n!x"))


def test_every_safeguard_stands_where_the_list_says():
    problems = {mutant.name: misplaced(mutant) for mutant in MUTANTS}
    assert {name: problem for name, problem in problems.items() if problem} == {}


def test_every_named_test_exists():
    assert all(mutant.tests for mutant in MUTANTS)
    missing = []
    for test in {test for mutant in MUTANTS for test in mutant.tests}:
        path, _, name = test.partition("::")
        if name and f"def {name.partition('[')[0]}(" not in (ROOT / path).read_text():
            missing.append(test)
    assert missing == []


def test_no_safeguard_is_replaced_by_an_undefined_name(tmp_path: Path):
    # Its tests would fail with a NameError, whether or not they notice that it is missing.
    for number, mutant in enumerate(MUTANTS):
        for path in {edit.path for edit in mutant.edits if edit.path.endswith(".py")}:
            copy = tmp_path / str(number) / path
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(mutated(mutant, path))
    options = ("--isolated", "--no-cache", "--select=F821", "--output-format=concise")
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", *options, str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def mutated(mutant: Mutant, path: str) -> str:
    """The text of a file without the safeguard."""
    text = (ROOT / path).read_text()
    for edit in mutant.edits:
        text = text.replace(edit.old, edit.new) if edit.path == path else text
    return text


CODE = '''
LIMIT = 3

def check(n):
    """What it is."""
    if n > LIMIT:  # Why
        raise ValueError

def other():
    return 1
'''
TESTS = """
import pytest

@pytest.fixture(autouse=True)
def quiet():
    yield

def helper():
    return 4

def test_a():
    check(helper())

def test_b():
    pass
"""


@pytest.mark.parametrize(
    ("path", "old", "new", "is_removed_again"),
    [
        ("code.py", "raise ValueError", "raise KeyError", True),
        ("code.py", "LIMIT = 3", "LIMIT = 4", True),
        ("code.py", "def check(n):", "@cache\ndef check(n):", True),
        ("code.py", "return 1", "return 2", False),
        ("code.py", "# Why", "# Because", False),
        ("code.py", "What it is.", "What it was.", False),
        ("code.py", "LIMIT = 3", "\n\ndef third(): pass\n\nLIMIT = 3", False),
        ("test_code.py", "check(helper())", "helper()", True),
        ("test_code.py", "return 4", "return 5", True),
        ("test_code.py", "yield", "yield 1", True),
        ("test_code.py", "    pass", "    return", False),
    ],
)
def test_a_safeguard_is_removed_again_when_its_code_or_its_test_changes(
    tmp_path: Path, path: str, old: str, new: str, is_removed_again: bool
):
    edit = Edit(path="code.py", old="    if n > LIMIT:", new="    if False:")
    mutant = Mutant(name="x", edits=(edit,), tests=("test_code.py::test_a[1]",))
    for name, text in {"code.py": CODE, "test_code.py": TESTS}.items():
        (tmp_path / name).write_text(text)
    before = hash_of(mutant, root=tmp_path)
    assert hash_of(replace(mutant, tests=("test_code.py",)), root=tmp_path) != before
    changed = (tmp_path / path).read_text().replace(old, new)
    (tmp_path / path).write_text(changed)
    assert (hash_of(mutant, root=tmp_path) != before) == is_removed_again


def test_a_change_of_two_functions_concerns_the_whole_file(tmp_path: Path):
    edit = Edit(path="code.py", old=CODE[CODE.index("raise") :], new="pass")
    mutant = Mutant(name="x", edits=(edit,), tests=())
    hashes = []
    for text in (CODE, f"{CODE}\nunrelated = 1\n"):
        (tmp_path / "code.py").write_text(text)
        hashes.append(hash_of(mutant, root=tmp_path))
    assert hashes[0] != hashes[1]


def test_every_safeguard_names_tests_that_exist():
    names = {test for mutant in MUTANTS for test in mutant.tests}
    missing = {name for name in names if not _defines(*name.partition("[")[0].split("::"))}
    assert missing == set()
    # Only pytest knows the cases of a test.
    options = ("-q", "-n0", "--collect-only", "-p", "no:cacheprovider")
    cases = sorted(name for name in names if "[" in name)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *cases],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _defines(path: str, test: str = "") -> bool:
    return f"def {test}(" in (ROOT / path).read_text() if test else (ROOT / path).is_file()


def test_no_two_safeguards_have_one_name():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "old", "new", "problem"),
    [
        (ACTION, "# Enough", "# Plenty", "found 0 times"),
        (ACTION, '"""Deletes an', '"""Removes an', "survived"),
        (ACTION, "return Outcome.REFUSED\n", "return Outcome.STALE\n", ""),
        (STATES, "from dataclasses import", "from nowhere import", "did not run"),
    ],
)
def test_a_mutant_is_judged_by_what_its_tests_say(
    tmp_path: Path, path: str, old: str, new: str, problem: str
):
    mutant = Mutant(name="x", edits=(Edit(path=path, old=old, new=new),), tests=(A_QUICK_TEST,))
    verdict = try_mutant(mutant, root=copy_tree(tmp_path / "copy"))
    assert verdict.problem.startswith(problem)
    assert bool(verdict.problem) == bool(problem)


@pytest.mark.slow
def test_mypy_judges_what_no_test_notices(tmp_path: Path):
    (tmp_path / "code.py").write_text("def one() -> int:\n    return 1\n")
    for new, problem in (("return 2", "survived"), ("return None", "")):
        edits = (Edit(path="code.py", old="return 1", new=new),)
        mutant = Mutant(name="x", edits=edits, tests=())
        assert try_mutant(mutant, root=tmp_path, with_mypy=True).problem == problem
