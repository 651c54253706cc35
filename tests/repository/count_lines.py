"""Counts lines of code: without blank lines, comments, docstrings and migrations.

`python -m tests.repository.count_lines` prints how large the product and its tests are.
"""

import ast
import io
import tokenize
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
_LARGEST = 10
_SAFEGUARDS = ROOT / "tests/mutations/safeguards.txt"
_NO_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)


def count_code_lines(source: str) -> int:
    """How many lines of this Python source have code on them."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _NO_CODE:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            docstring = node.body[0]
            lines.difference_update(range(docstring.lineno, (docstring.end_lineno or 0) + 1))
    return len(lines)


def _files(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if "migrations" not in path.parts:
                yield path


def main() -> None:
    """Print the counts of the product and its tests, and the largest files of the product."""
    sources = {path: path.read_text() for path in _files("connections", "orgadmin")}
    code = sum(map(count_code_lines, sources.values()))
    tests = sum(count_code_lines(path.read_text()) for path in _files("tests"))
    tests += sum(map(bool, _SAFEGUARDS.read_text().splitlines()))
    print(f"{code:,} lines of code in {len(sources)} files of connections/ and orgadmin/")  # noqa: T201
    print(f"{tests:,} lines of tests, {tests / code:.2f} for each line of code")  # noqa: T201
    print("Largest files, all lines:")  # noqa: T201
    sizes = sorted(((len(text.splitlines()), path) for path, text in sources.items()), reverse=True)
    for size, path in sizes[:_LARGEST]:
        print(f"{size:6,} {path.relative_to(ROOT)}")  # noqa: T201


if __name__ == "__main__":
    main()
