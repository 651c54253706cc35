"""Which safeguards need to be removed again: those whose file or tests changed.

proven.json has a hash for each safeguard from the last run that proved all of them necessary. It is
committed, so that the build server removes only the safeguards that have changed since.
"""

import hashlib
import json
import tokenize
from functools import cache
from io import StringIO
from pathlib import Path

from tests.mutations.mutants import MUTANTS, Mutant

ROOT = Path(__file__).resolve().parents[2]
PROVEN = Path(__file__).with_name("proven.json")


def hash_of(mutant: Mutant, *, root: Path = ROOT) -> str:
    """SHA-256 over the removal itself, the files it edits and the files of its tests.

    Leaves out comments and docstrings, so that rewording one changes no hash.
    """
    paths = {edit.path for edit in mutant.edits} | {
        test.partition("::")[0] for test in mutant.tests
    }
    digest = hashlib.sha256(repr(mutant).encode())
    for path in sorted(paths):
        content = (root / path).read_text()
        code = _without_comments(content) if path.endswith(".py") else content
        digest.update(f"\0{code}".encode())
    return digest.hexdigest()


@cache
def _without_comments(content: str) -> str:
    """The tokens of Python code without comments and docstrings."""
    statements: list[list[str]] = [[]]
    for token in tokenize.generate_tokens(StringIO(content).readline):
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
