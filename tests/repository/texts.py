"""Collects every text that people read from the templates and the code.

`python -m tests.repository.texts` prints them on one page, to proofread them in one sitting.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html.parser import HTMLParser
from itertools import groupby
from pathlib import Path

from django.template.base import Lexer, TokenType

ROOT = Path(__file__).parents[2]
# Replaces a value in a text.
VALUE = "…"
_SHOWN_ATTRIBUTES = {"alt", "aria-label", "content", "data-label", "placeholder", "title"}
_INLINE_TAGS = {"a", "abbr", "b", "bdi", "br", "code", "em", "kbd", "span", "strong", "time"}
_HIDDEN_TAGS = {"script", "style", "svg"}
# A sentence has at least two words. A label is one word with a capital letter.
_SENTENCE = re.compile(r"[A-Za-z'…]{2,}[,:;]? [A-Za-z…“]")
_LABEL = re.compile(r"[A-Z][a-z]+(-[a-z]+)?")
_CODE = re.compile(
    r"^(SELECT|CREATE|INSERT|UPDATE|DROP|PRAGMA|ALTER|SET|FROM|WHERE|AND) |\(\?|\\[bdsw]|^[a-z_]+="
)
# The files whose single words are labels.
_LABEL_FILES = re.compile(r"texts\.py$|badges\.py$|causes\.py$|forms\.py$|models/")
_NOT_SHOWN = re.compile(r"/(migrations|tests)/")


@dataclass(frozen=True, kw_only=True)
class Text:
    """A text, where people see it, and where it is in the code."""

    group: str
    path: str
    line: int
    text: str


def collect_texts() -> list[Text]:
    """Every text of the pages, mails, events and commands, by where people see it."""
    found = [
        *(
            text
            for path in sorted((ROOT / "templates").rglob("*.*"))
            for text in _of_template(path)
        ),
        *(
            text
            for package in ("connections", "orgadmin", "sandbox")
            for path in sorted((ROOT / package).rglob("*.py"))
            if not _NOT_SHOWN.search(path.relative_to(ROOT).as_posix())
            for text in _of_module(path)
        ),
    ]
    return sorted(found, key=lambda text: (_GROUPS.index(text.group), text.path, text.line))


_GROUPS = (
    "Pages",
    "Forms",
    "Statuses and causes",
    "Event sentences",
    "Emails and webhook",
    "Commands",
    "Server and demo",
    "Other messages",
)


def _group_of(path: str) -> str:
    patterns = {
        "Emails and webhook": r"^templates/account/email/|^connections/notifications/",
        "Pages": r"^templates/",
        "Forms": r"forms\.py$",
        "Statuses and causes": r"(texts|badges|causes)\.py$",
        "Commands": r"^connections/management/",
        "Server and demo": r"^(orgadmin|sandbox)/",
    }
    found = (group for group, pattern in patterns.items() if re.search(pattern, path))
    return next(found, "Other messages")


def _of_template(path: Path) -> Iterator[Text]:
    name = path.relative_to(ROOT).as_posix()
    parser = _PageParser()
    is_comment = False
    for token in Lexer(path.read_text()).tokenize():
        parser.template_line = token.lineno or 0
        if token.token_type == TokenType.VAR:
            parser.feed(VALUE)
        elif token.token_type == TokenType.BLOCK:
            is_comment = token.contents.startswith("comment")
            for argument in re.findall(r'"([^"]+)"', token.contents):
                parser.add(argument if "/" not in argument else "")
        elif token.token_type == TokenType.TEXT and not is_comment:
            parser.feed(token.contents)
    parser.flush()
    for line, text in parser.found:
        yield Text(group=_group_of(name), path=name, line=line, text=text)


class _PageParser(HTMLParser):
    """Collects the visible text of a template, one block of the page at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[int, str]] = []
        self.template_line = 0
        self._block = ""
        self._hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _INLINE_TAGS:
            self.flush()
        self._hidden += tag in _HIDDEN_TAGS
        for name, value in attrs:
            if name in _SHOWN_ATTRIBUTES:
                self.add(value or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in _INLINE_TAGS:
            self.flush()
        self._hidden -= tag in _HIDDEN_TAGS

    def handle_data(self, data: str) -> None:
        if not self._hidden:
            self._block += data

    def flush(self) -> None:
        """End a block of text."""
        self.add(self._block)
        self._block = ""

    def add(self, text: str) -> None:
        """Add a text that has a word."""
        text = " ".join(text.split())
        if _SENTENCE.search(text) or _LABEL.search(text):
            self.found.append((self.template_line, text))


def _of_module(path: Path) -> Iterator[Text]:
    name = path.relative_to(ROOT).as_posix()
    tree = ast.parse(path.read_text())
    skipped = {id(node) for node in _docstrings(tree)}
    sentences = set[int]()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("Sentence"):
            sentences |= {id(argument) for argument in node.args}
        if isinstance(node, ast.JoinedStr):
            skipped |= {id(part) for part in ast.walk(node)}
        text = _literal(node)
        is_event = bool(text) and id(node) in sentences
        is_label = bool(_LABEL_FILES.search(name) and _LABEL.fullmatch(text))
        if is_event or is_label or (_SENTENCE.search(text) and not _CODE.search(text)):
            group = "Event sentences" if is_event else _group_of(name)
            yield Text(group=group, path=name, line=node.lineno, text=text)  # type: ignore[attr-defined]


def _docstrings(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.value


def _literal(node: ast.AST) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return " ".join(node.value.split())
    if isinstance(node, ast.JoinedStr):
        parts = (
            str(part.value) if isinstance(part, ast.Constant) else VALUE for part in node.values
        )
        return " ".join("".join(parts).split())
    return ""


def format_page(texts: list[Text]) -> str:
    """The texts under a heading for each group and file."""
    lines = []
    for group, of_group in groupby(texts, key=lambda text: text.group):
        lines += ["", f"# {group}"]
        for path, of_file in groupby(of_group, key=lambda text: text.path):
            lines += ["", f"## {path}", *(f"{text.line}: {text.text}" for text in of_file)]
    return "\n".join(lines)[1:]


if __name__ == "__main__":
    print(format_page(collect_texts()))  # noqa: T201 - its purpose
