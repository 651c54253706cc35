"""The safeguards, how each is removed, and the tests that must fail then: see safeguards.txt.

    @ connections/change_requests/recording.py

    a late answer changes no state
    -    return deletion.state != State.SENDING
    +    return False
    ? tests/deletions/test_attempts.py::test_a_late_response_changes_no_state

`@` names the file of the removals below it or, within a block, of the next lines alone. A block
has the name of its safeguard, the text to replace, what replaces it, and the tests. With
"PostgreSQL: " before its name, its tests are skipped on SQLite.
"""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Edit:
    """One replacement in one file.

    The old text must occur exactly once, so that a safeguard that was moved or reworded is noticed
    instead of counting as proven.
    """

    path: str
    old: str
    new: str


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """The product without one safeguard. At least one of `tests` fails with it."""

    name: str
    edits: tuple[Edit, ...]
    tests: tuple[str, ...]
    needs_postgresql: bool = False


def read_mutants(text: str) -> tuple[Mutant, ...]:
    """The mutants that a text in the format of safeguards.txt describes."""
    path = ""
    mutants = []
    for block in text.strip("\n").split("\n\n"):
        first, *lines = block.split("\n")
        if first.startswith("@ "):
            path = first.removeprefix("@ ")
        else:
            mutants.append(_read_block(first, lines, path=path))
    return tuple(mutants)


def _read_block(first: str, lines: list[str], *, path: str) -> Mutant:
    edits: list[tuple[str, list[str], list[str]]] = []
    tests = []
    previous = ""
    for line in lines:
        kind, text = line[0], line[1:]
        match kind:
            case "@":
                path = text.strip()
            case "?":
                tests.append(text.strip())
            case "-" if previous == "-":
                edits[-1][1].append(text)
            case "-":
                edits.append((path, [text], []))
            case "+":
                edits[-1][2].append(text)
            case _:
                raise ValueError(f"{first}: {line}")
        previous = kind
    name = first.removeprefix("PostgreSQL: ")
    return Mutant(
        name=name,
        edits=tuple(
            Edit(path=path, old="\n".join(old), new="\n".join(new)) for path, old, new in edits
        ),
        tests=tuple(tests),
        needs_postgresql=name != first,
    )


MUTANTS = read_mutants(Path(__file__).with_name("safeguards.txt").read_text())
