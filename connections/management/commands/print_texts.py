"""Print every text that people read, by where they see it."""

from dataclasses import asdict
from itertools import groupby
from typing import Any

from connections.management.base import OrgAdminCommand
from connections.operations.texts import Text, collect_texts


class Command(OrgAdminCommand):
    """The page on which to read all texts in one sitting."""

    help = "Print every text of the pages, emails, audit events and commands, grouped."

    def run(self, **options: Any) -> None:
        """Print the texts, or with --json a list of them."""
        texts = collect_texts()
        self.emit([asdict(text) for text in texts], _as_page(texts))


def _as_page(texts: list[Text]) -> str:
    lines = []
    for group, of_group in groupby(texts, key=lambda text: text.group):
        lines += ["", f"# {group}"]
        for path, of_file in groupby(of_group, key=lambda text: text.path):
            lines += ["", f"## {path}", *(f"{text.line}: {text.text}" for text in of_file)]
    return "\n".join(lines)[1:]
