"""Which safeguards need to be removed again: those whose code or tests changed.

proven.json has a hash for each safeguard from the last run that proved all of them necessary. It is
committed, so that the build server removes only the safeguards that have changed since.
"""

import ast
import hashlib
import json
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from io import StringIO
from pathlib import Path

from tests.mutations.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PROVEN = Path(__file__).with_name("proven.json")
_DIGITS = 16


@dataclass(frozen=True, kw_only=True)
class _Statement:
    """A statement of a module."""

    first: int  # the number of its first line
    last: int
    code: str
    words: frozenset[str]  # what it could use, also by a name in a text: a fixture, for example
    binds: frozenset[str]
    always_runs: bool  # whatever else is used


def hash_of(mutant: Mutant, *, root: Path = ROOT) -> str:
    """A hash of the removal itself, the code that it changes and the code of its tests.

    That is a function, or another statement of the module, with everything in its file that it
    could use. If the change isn't within one statement, it is the whole file. Comments and
    docstrings count in neither, nor does the place of a function.
    """
    parts = [f"{edit.old}\0{edit.new}" for edit in mutant.edits]
    for edit in mutant.edits:
        parts.append(_code_around(edit.path, edit.old, root=root))
    for test in mutant.tests:
        path, _, name = test.partition("::")
        parts += [name, _code_of_test(path, name.partition("[")[0], root=root)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:_DIGITS]


def _code_around(path: str, old: str, *, root: Path) -> str:
    text = (root / path).read_text()
    if not path.endswith(".py"):
        return text
    start = text.find(old) + len(old) - len(old.lstrip())
    first = text.count("\n", 0, start) + 1
    last = first + old.strip().count("\n")
    return _code_from(
        text, [one for one in _statements(text) if one.first <= first and last <= one.last]
    )


def _code_of_test(path: str, name: str, *, root: Path) -> str:
    text = (root / path).read_text()
    return _code_from(text, [one for one in _statements(text) if name in one.binds])


def _code_from(text: str, start: list[_Statement]) -> str:
    """The code of the statement and of what it uses; the whole file if there isn't one."""
    if len(start) != 1:
        return _code_of(text)
    statements = _statements(text)
    used = {*start, *(one for one in statements if one.always_runs)}
    while True:
        words = frozenset[str]().union(*(one.words for one in used))
        more = {one for one in statements if one.binds & words} - used
        if not more:
            return "\n\n".join(sorted(one.code for one in used))
        used |= more


@cache
def _statements(text: str) -> tuple[_Statement, ...]:
    return tuple(_read_statements(text))


def _read_statements(text: str) -> Iterator[_Statement]:
    lines = text.splitlines()
    for node in ast.parse(text).body:
        decorators = getattr(node, "decorator_list", [])
        first = min([node.lineno, *(one.lineno for one in decorators)])
        last = node.end_lineno or first
        code = _code_of("\n".join(lines[first - 1 : last]))
        words = frozenset(re.findall(r"\w+", code))
        binds = frozenset(_names_bound_by(node))
        yield _Statement(
            first=first,
            last=last,
            code=code,
            words=words,
            binds=binds,
            always_runs=not binds or not words.isdisjoint({"pytestmark", "autouse"}),
        )


def _names_bound_by(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        yield node.name
    elif isinstance(node, ast.Import | ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name.partition(".")[0]
    elif isinstance(node, ast.Assign | ast.AnnAssign):
        for one in ast.walk(node):
            if isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
                yield one.id


@cache
def _code_of(text: str) -> str:
    """The tokens of Python code without comments and docstrings."""
    statements: list[list[str]] = [[]]
    for token in tokenize.generate_tokens(StringIO(text).readline):
        if token.type == tokenize.NEWLINE:
            statements.append([])
        elif token.type not in {tokenize.COMMENT, tokenize.NL}:
            statements[-1].append(token.string)
    return "\n".join(
        " ".join(statement) for statement in statements if not _is_docstring(statement)
    )


def _is_docstring(statement: list[str]) -> bool:
    text = "".join(statement).strip()
    return text.startswith('"""') and text.endswith('"""')


def changed_since_full_run(mutants: tuple[Mutant, ...]) -> tuple[Mutant, ...]:
    """The safeguards among these that are new or have changed since `record_full_run`."""
    proven = _read_proven()
    return tuple(mutant for mutant in mutants if proven.get(mutant.name) != hash_of(mutant))


def record_full_run(mutants: tuple[Mutant, ...]) -> None:
    """Store the hashes of these safeguards. Call it once a test has failed without each of them.

    Safeguards that need another database keep their hashes.
    """
    names = {mutant.name for mutant in MUTANTS}
    kept = {name: digest for name, digest in _read_proven().items() if name in names}
    hashes = kept | {mutant.name: hash_of(mutant) for mutant in mutants}
    PROVEN.write_text(json.dumps(hashes, indent=1, sort_keys=True) + "\n")


def _read_proven() -> dict[str, str]:
    proven: dict[str, str] = json.loads(PROVEN.read_text()) if PROVEN.exists() else {}
    return proven
