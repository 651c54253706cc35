"""Draws small random faults and runs the tests that reach each: which do the tests not notice?

    python -m tests.mutations --random 100 --seed 7
    python -m tests.mutations --random 10 --seed 7 --code connections/audit --tests tests/audit

At most one fault is drawn for each function. The tests run once without any, to record which of
them run which lines. Each fault is then judged by the tests that run its line: first those whose
names have most words in common with the file's and function's, from as many files as possible, as
many as take a minute together. It counts as caught when a test fails, when the tests hang or can't
even start, and when mypy reports it.

A survivor is a missing test, unless nobody could notice the fault, or only a test of the source or
one that isn't among the judges would. With ORGADMIN_TEST_DATABASE_URL, the tests marked `database`
judge the same faults on that server: what only PostgreSQL notices is caught as well.
"""

import argparse
import ast
import copy
import json
import os
import random
import re
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.mutations.mutants import Edit, Mutant
from tests.mutations.running import ROOT, SURVIVED, compile_tree, copy_tree, run_tests, try_all
from tests.support.sweeps import ON_POSTGRESQL

CODE = ("connections", "orgadmin")
# These two compare the text of the source.
ALL_TESTS: tuple[str, ...] = ("tests", "--ignore=tests/mutations", "--ignore=tests/repository")
WATCH_CHILD = """import os
if "RECORDED_TESTS" in os.environ:
    from tests.mutations.lines import watch_as_child
    watch_as_child()
"""
if ON_POSTGRESQL:
    ALL_TESTS += ("-m", "database")
# A migration runs once. The demo's data is an example: one deletion less in it is no fault.
_NOT_DRAWN = frozenset({"migrations", "demo"})
_ENOUGH = 60.0  # seconds of tests for each fault, as measured without it
_LONGEST_RECORDING = 3600.0
_OPPOSITES: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
}

type Node = ast.expr | ast.stmt


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One small change of a file: `new` replaces the bytes from `start` to `end`."""

    operator: str
    path: str
    function: str
    lines: range  # a test that runs one of these reaches the fault
    start: int
    end: int
    new: str

    def __str__(self) -> str:
        old = (ROOT / self.path).read_bytes()[self.start : self.end].decode()
        change = f"{' '.join(old.split())}  →  {self.new}"
        return f"{self.path}:{self.lines.start} {self.function}, {self.operator}: {change}"

    def mutant(self, tests: tuple[str, ...]) -> Mutant:
        """The product with this fault, and the tests that judge it."""
        source = (ROOT / self.path).read_bytes()
        changed = source[: self.start] + self.new.encode() + source[self.end :]
        edit = Edit(path=self.path, old=source.decode(), new=changed.decode())
        return Mutant(name=str(self), edits=(edit,), tests=tests)


def draw(number: int, *, seed: int, code: tuple[str, ...] = CODE) -> list[Fault]:
    """So many faults, each in another function; the same ones for the same seed and code."""
    generator = random.Random(seed)  # noqa: S311  # nothing secret
    functions = [faults for path in _python_files(code) for faults in faults_of(path)]
    drawn = []
    for faults in generator.sample(functions, min(number, len(functions))):
        operator = generator.choice(sorted({fault.operator for fault in faults}))
        drawn.append(generator.choice([fault for fault in faults if fault.operator == operator]))
    return drawn


def _python_files(code: tuple[str, ...]) -> Iterator[str]:
    for name in code:
        for path in sorted((ROOT / name).rglob("*.py")) or [ROOT / name]:
            if _NOT_DRAWN.isdisjoint(path.parts):
                yield str(path.relative_to(ROOT))


def faults_of(path: str, *, root: Path = ROOT) -> Iterator[list[Fault]]:
    """The possible faults of each function of a file that has any."""
    source = (root / path).read_bytes()
    line_starts = [0]
    for line in source.splitlines(keepends=True):
        line_starts.append(line_starts[-1] + len(line))
    for function, body in _functions(ast.parse(source)):
        faults = [
            Fault(
                operator=operator,
                path=path,
                function=function,
                lines=range(statement.lineno, (old.end_lineno or 0) + 1),
                start=line_starts[old.lineno - 1] + old.col_offset,
                end=line_starts[(old.end_lineno or 0) - 1] + (old.end_col_offset or 0),
                new=new,
            )
            for statement, node in _nodes(body)
            for operator, old, new in _changes(node)
        ]
        if faults:
            yield faults


def _functions(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, list[ast.stmt]]]:
    """Names and bodies of functions and methods. One inside another belongs to the outer one."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + child.name, child.body
        elif isinstance(child, ast.ClassDef):
            yield from _functions(child, f"{prefix}{child.name}.")


def _nodes(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, Node]]:
    """Every statement and expression, each after the innermost statement that holds it."""
    waiting: list[tuple[ast.stmt, ast.AST]] = [(statement, statement) for statement in body]
    while waiting:
        statement, node = waiting.pop()
        if isinstance(node, ast.stmt):
            statement = node
        if isinstance(node, ast.stmt | ast.expr):
            yield statement, node
        if not isinstance(node, ast.JoinedStr | ast.pattern):  # text and the values of cases
            waiting += ((statement, child) for child in ast.iter_child_nodes(node))


def _changes(node: Node) -> Iterator[tuple[str, Node, str]]:
    """The faults that a node can have: the operator, what is replaced, and by which text."""
    match node:
        case ast.Return(value=ast.Constant(value=bool() as value)):
            yield "return value", node, f"return {not value}"
        case ast.Return(value=ast.expr() as value) if ast.unparse(value) != "None":
            yield "return value", node, "return None"
        case ast.Raise():
            yield "raise removed", node, "pass"
        case ast.Expr(value=ast.Call()):
            yield "call removed", node, "pass"
        case ast.If(orelse=[_, *_]) | ast.IfExp():
            yield "branches swapped", node.test, f"(not ({ast.unparse(node.test)}))"
        case ast.Call():
            yield from _shorter_calls(node)
        case ast.expr():
            yield from ((operator, node, new) for operator, new in _changed_values(node))


def _changed_values(node: ast.expr) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _OPPOSITES:
            yield "comparison", _with(node, ops=[_OPPOSITES[type(operator)]()])
        case ast.BoolOp(op=operator):
            yield "and/or", _with(node, op=ast.And() if isinstance(operator, ast.Or) else ast.Or())
        case ast.UnaryOp(op=ast.Not()):
            yield "`not` removed", f"({ast.unparse(node.operand)})"
        case ast.Constant(value=int() as value) if not isinstance(value, bool):
            yield "integer ±1", str(value + 1)
            yield "integer ±1", f"({value - 1})"


def _shorter_calls(call: ast.Call) -> Iterator[tuple[str, Node, str]]:
    is_filter = isinstance(call.func, ast.Attribute) and call.func.attr in {"filter", "exclude"}
    operator = "filter() argument removed" if is_filter else "keyword argument removed"
    for number in range(len(call.args) if is_filter else 0):
        rest = call.args[:number] + call.args[number + 1 :]
        yield operator, call, _with(call, args=rest)
    for number, keyword in enumerate(call.keywords):
        if keyword.arg is not None:
            others = call.keywords[:number] + call.keywords[number + 1 :]
            yield operator, call, _with(call, keywords=others)


def _with(node: ast.expr, **fields: object) -> str:
    changed = copy.copy(node)
    for name, value in fields.items():
        setattr(changed, name, value)
    return f"({ast.unparse(changed)})"


@dataclass(frozen=True, kw_only=True)
class RecordedTest:
    """A test that passes without any fault. `lines` are "path:number"."""

    test: str
    seconds: float
    lines: list[str]
    # What the processes run that tests of the same file start.
    lines_of_children: frozenset[str] = frozenset()


def record(
    faults: list[Fault], *, tests: tuple[str, ...], processes: int
) -> tuple[list[RecordedTest], str]:
    """Run the tests without any fault: which lines they run, and pytest's short summary."""
    with TemporaryDirectory(prefix="orgadmin-recording-") as name:
        root = copy_tree(Path(name) / "copy")
        compile_tree(root)
        (root / "sitecustomize.py").write_text(WATCH_CHILD)
        _, output = run_tests(
            tests,
            root=root,
            # Distributed as `./run test` does: one file's tests share what they set up.
            options=(
                *("-n", str(processes), "--dist", "loadfile", "--no-loadscope-reorder"),
                *("-p", "tests.mutations.recording"),
            ),
            longest=_LONGEST_RECORDING,
            RECORDED_FILES="\n".join({fault.path for fault in faults}),
            RECORDING_DIRECTORY=name,
        )
        recorded = read_recording(Path(name))
    *_, last = lines = output.rstrip().splitlines()
    failed = [line for line in lines if line.startswith(("FAILED", "ERROR"))]
    return recorded, "\n".join([*failed, last])


def read_recording(directory: Path) -> list[RecordedTest]:
    """What the tests and the processes that they start wrote into this directory."""
    of_children: defaultdict[str, set[str]] = defaultdict(set)
    children = directory / "children.txt"
    for row in children.read_text().splitlines() if children.exists() else ():
        file, _, line = row.partition("\t")
        of_children[file].add(line)
    frozen = {file: frozenset(lines) for file, lines in of_children.items()}
    return [
        RecordedTest(
            **fields,
            lines_of_children=frozen.get(fields["test"].partition("::")[0], frozenset()),
        )
        for path in directory.glob("*.json")
        for fields in json.loads(path.read_text())
    ]


def find_judges(fault: Fault, recorded: list[RecordedTest]) -> tuple[str, ...]:
    """The tests that judge a fault: those that run it, else those whose processes may run it."""
    places = {f"{fault.path}:{line}" for line in fault.lines}
    reaching = [test for test in recorded if not places.isdisjoint(test.lines)] or [
        test for test in recorded if not places.isdisjoint(test.lines_of_children)
    ]
    words = _words_of(f"{fault.path} {fault.function}")
    earlier_of_file: Counter[str] = Counter()
    order = []
    for test in sorted(reaching, key=lambda test: test.seconds):
        file = test.test.partition("::")[0]
        order.append((-len(words & _words_of(test.test)), earlier_of_file[file], test))
        earlier_of_file[file] += 1
    order.sort(key=lambda place: place[:2])
    seconds = 0.0
    chosen: list[str] = []
    for _, _, test in order:
        seconds += test.seconds
        if chosen and seconds > _ENOUGH:
            break
        chosen.append(test.test)
    return tuple(chosen)


def _words_of(text: str) -> set[str]:
    """The beginnings of the words: confirm.py and test_confirmation.py have one in common."""
    return {word[:4].lower() for word in re.findall(r"[A-Za-z]{3,}", text)} - {"conn"}


def main(arguments: list[str]) -> int:
    """Print a line for each fault, and those that no test noticed again at the end.

    The exit code doesn't count them, because no test could notice some faults.
    """
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--random", type=int, required=True, metavar="N", help="faults to draw")
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--code", nargs="+", default=CODE, help="draw them only from these")
    parser.add_argument("--tests", nargs="+", default=ALL_TESTS, help="judge them only by these")
    parser.add_argument("-n", type=int, default=os.cpu_count() or 2, help="processes")
    options = parser.parse_args(arguments)
    # On PostgreSQL, every run of pytest without pytest-xdist creates a database with the same name.
    processes = 1 if ON_POSTGRESQL else options.n
    started = time.monotonic()
    faults = draw(options.random, seed=options.seed, code=tuple(options.code))
    recorded, summary = record(faults, tests=tuple(options.tests), processes=options.n)
    sys.stdout.write(f"Seed {options.seed}. Without a fault: {summary}\n")
    sys.stdout.flush()
    mutants = tuple(fault.mutant(find_judges(fault, recorded)) for fault in faults)
    survivors = []
    for verdict in try_all(mutants, processes=processes, with_mypy=True):
        found = "mypy reports it" if verdict.is_caught_by_mypy else "a test failed"
        result = verdict.problem or found
        count = len(verdict.mutant.tests)
        sys.stdout.write(
            f"{result}, {verdict.seconds:.0f} s, {count} tests: {verdict.mutant.name}\n"
        )
        sys.stdout.flush()
        if verdict.problem == SURVIVED:
            survivors.append(f"{verdict.mutant.name} ({count} tests)")
    sys.stdout.write("\n".join(["", "Survivors:", *(survivors or ["none"]), ""]))
    caught = len(faults) - len(survivors)
    seconds = time.monotonic() - started
    sys.stdout.write(f"{caught} of {len(faults)} caught, {seconds:.0f} s\n")
    return 0
