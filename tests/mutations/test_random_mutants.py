"""`python -m tests.mutations --random N --seed S`: what it draws and who judges it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.mutations.random_mutants import (
    WATCH_CHILD,
    Fault,
    RecordedTest,
    draw,
    faults_of,
    find_judges,
    read_recording,
)
from tests.mutations.running import ROOT

A_PACKAGE = ("connections/lookups",)


@pytest.mark.parametrize(
    ("statement", "operator", "changed"),
    [
        ("if a == b: c()", "comparison", ["if (a != b): c()"]),
        (
            "if a and (b or c): d()",
            "and/or",
            ["if (a or (b or c)): d()", "if a and ((b and c)): d()"],
        ),
        ("if not (a in b): c()", "`not` removed", ["if (a in b): c()"]),
        ("return a[1]", "integer ±1", ["return a[(0)]", "return a[2]"]),
        ("return True", "return value", ["return False"]),
        ("return a", "return value", ["return None"]),
        ("raise A from None", "raise removed", ["pass"]),
        ("a(b)", "call removed", ["pass"]),
        ("return a if b else c", "branches swapped", ["return a if (not (b)) else c"]),
        ("return a(b, c=d)", "keyword argument removed", ["return (a(b))"]),
        (
            "return a.filter(b, c=d)",
            "filter() argument removed",
            ["return (a.filter(b))", "return (a.filter(c=d))"],
        ),
        ("return f'{a:>{1}}'", "integer ±1", []),
    ],
)
def test_each_operator_changes_one_thing(
    tmp_path: Path, statement: str, operator: str, changed: list[str]
):
    source = f"class A:\n    def é(self, default=1):\n        {statement}\n"
    (tmp_path / "code.py").write_text(source)
    faults = [fault for faults in faults_of("code.py", root=tmp_path) for fault in faults]
    sources = [
        (
            source.encode()[: fault.start] + fault.new.encode() + source.encode()[fault.end :]
        ).decode()
        for fault in faults
        if fault.operator == operator
    ]
    assert sorted(sources) == [source.replace(statement, new) for new in changed]
    assert {(fault.function, fault.lines) for fault in faults} <= {("A.é", range(3, 4))}


def test_a_seed_draws_the_same_faults_again_one_for_each_function():
    faults = draw(5, seed=1, code=A_PACKAGE)
    assert faults == draw(5, seed=1, code=A_PACKAGE) != draw(5, seed=2, code=A_PACKAGE)
    assert len({(fault.path, fault.function) for fault in faults}) == 5
    everything = draw(100_000, seed=1, code=("connections/migrations", "orgadmin"))
    assert {Path(fault.path).parent.name for fault in everything} == {"orgadmin"}


def test_the_tests_with_similar_names_judge_first_and_only_those_that_run_the_line():
    fault = Fault(
        operator="", path="a/buy/c.py", function="_send", lines=range(7, 9), start=0, end=0, new=""
    )
    times = {
        "tests/x/test_x.py::test_1": 1.0,
        "tests/x/test_x.py::test_2": 2.0,
        "tests/y/test_y.py::test_1": 50.0,
        "tests/buy/test_b.py::test_1": 5.0,
        "tests/buy/test_sending.py::test_1": 6.0,
        "tests/z/test_z.py::test_1": 9.0,
    }
    recorded = [
        RecordedTest(test=test, seconds=seconds, lines=["a/buy/c.py:8"])
        for test, seconds in times.items()
    ]
    elsewhere = RecordedTest(
        test="tests/buy/test_c.py::test_1", seconds=0.1, lines=["a/buy/c.py:9"]
    )
    assert find_judges(fault, [*recorded, elsewhere]) == (
        "tests/buy/test_sending.py::test_1",
        "tests/buy/test_b.py::test_1",
        "tests/x/test_x.py::test_1",
        "tests/z/test_z.py::test_1",
    )


def test_the_recording_has_the_lines_of_tests_that_pass_and_of_their_processes(tmp_path: Path):
    halves = "def half(a):\n    if a % 2:\n        a -= 1\n    return a // 2\n"
    (tmp_path / "halves.py").write_text(halves)
    (tmp_path / "sitecustomize.py").write_text(WATCH_CHILD)
    (tmp_path / "test_halves.py").write_text(
        "import subprocess, sys\n"
        "from halves import half\n"
        "def test_even(): assert half(4) == 2\n"
        "def test_wrong(): assert half(5) == 3\n"
        "def test_child():\n"
        "    code = 'from halves import half; half(5)'\n"
        f"    subprocess.run([sys.executable, '-c', code], env={{'PYTHONPATH': {str(ROOT)!r}}})\n"
    )
    options = ("-p", "no:cacheprovider", "-p", "tests.mutations.recording")
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_halves.py"],
        cwd=tmp_path,
        env={
            "PYTHONPATH": str(ROOT),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "RECORDED_FILES": "halves.py",
            "RECORDING_DIRECTORY": ".",
        },
        capture_output=True,
        check=False,
    )
    recorded = read_recording(tmp_path)
    assert {test.test: test.lines for test in recorded} == {
        "test_halves.py::test_even": ["halves.py:2", "halves.py:4"],
        "test_halves.py::test_child": [],
    }
    fault = Fault(
        operator="", path="halves.py", function="", lines=range(3, 4), start=0, end=0, new=""
    )
    assert find_judges(fault, recorded) == tuple(
        test.test for test in sorted(recorded, key=lambda test: test.seconds)
    )
