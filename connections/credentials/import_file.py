"""Reads the CSV file of an import. Each line is read separately, so a bad line affects no other.

Errors never repeat the content of a line, because any column can contain a key.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from django.views.decorators.debug import sensitive_variables

from connections.core.datadog_keys import DatadogKeys
from connections.core.errors import InvalidInputError
from connections.core.secret import Secret
from connections.core.sites import find_site
from connections.core.tabular import split_cells
from connections.credentials.keys import NAME_IS_A_KEY, choose_keys, clean_keys, contains_a_key
from connections.credentials.lifecycle import clean_name

COLUMNS = (
    ("name", "site", "api_key", "application_key"),
    ("name", "site", "access_token"),
)
_HEADERS = " or ".join(",".join(columns) for columns in COLUMNS)
_LINE_END = re.compile(r"\r\n|\n|\r")
_LABELS = {
    "api_key": "API key: ",
    "application_key": "Application key: ",
    "access_token": "Access token: ",
    "name": "Name: ",
}


@dataclass(frozen=True, kw_only=True)
class ImportLine:
    """One line: what to store, or why it can't be stored. The header is line 1.

    `name` is "" if the org's name should be used, or if the line's own name isn't safe to show.
    """

    number: int
    name: str = ""
    site: str = ""
    keys: DatadogKeys | None = None
    problem: str = ""


def decode_file(content: bytes) -> Secret:
    """The text of an uploaded file, without its byte order mark. Raises InvalidInputError."""
    text = _decode(content)
    # The error's traceback would keep it.
    del content
    if text is None:
        raise InvalidInputError({"file": "The file isn't UTF-8 text. Export it as UTF-8 CSV."})
    return text


def parse_file(text: Secret, *, max_lines: int | None = None) -> list[ImportLine]:
    """The lines after the header, without empty ones.

    Raises InvalidInputError for a missing header, for no lines, and for more than `max_lines`.
    """
    lines, problem = _parse(text, max_lines=max_lines)
    if problem:
        raise InvalidInputError({"csv": problem})
    return lines


# These return the problem instead of raising it, so that no traceback contains a key.
def _decode(content: bytes) -> Secret | None:
    try:
        return Secret(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        return None


@sensitive_variables()
def _parse(text: Secret, *, max_lines: int | None) -> tuple[list[ImportLine], str]:
    rows = _LINE_END.split(text.reveal().removeprefix("\ufeff"))
    header = tuple(cell.strip().lower() for cell in split_cells(rows[0]) or ())
    columns = next((column for column in COLUMNS if sorted(column) == sorted(header)), None)
    if columns is None:
        return [], f"The first line must be the header: {_HEADERS}."
    filled = [(number, row) for number, row in enumerate(rows[1:], start=2) if row.strip()]
    if not filled:
        return [], "There are no lines after the header."
    if max_lines is not None and len(filled) > max_lines:
        return [], f"There are {len(filled)} lines. Import at most {max_lines} at once."
    return [_parse_line(number, row, header=header) for number, row in filled], ""


@sensitive_variables()
def _parse_line(number: int, row: str, *, header: tuple[str, ...]) -> ImportLine:
    cells = split_cells(row)
    if cells is None:
        return ImportLine(number=number, problem="This line isn't valid CSV. Check its quotes.")
    if len(cells) != len(header):
        counts = f"Expected {len(header)} columns, found {len(cells)}."
        return ImportLine(number=number, problem=f"{counts} Put a name with a comma in quotes.")
    return _check_line(number, dict(zip(header, cells, strict=True)))


@sensitive_variables()
def _check_line(number: int, cells: Mapping[str, str]) -> ImportLine:
    secrets = {
        name: Secret(cells.get(name, "")) for name in ("api_key", "application_key", "access_token")
    }
    name = cells["name"]
    if contains_a_key(name, keys=secrets.values()):
        return ImportLine(number=number, problem=NAME_IS_A_KEY)
    try:
        name = clean_name(name)
        site = find_site(cells["site"])
        if site is None:
            problem = "Unknown site. Use a name such as EU1 or a host such as datadoghq.eu."
            return ImportLine(number=number, name=name, problem=problem)
        keys = clean_keys(choose_keys(**secrets))
    except InvalidInputError as error:
        problem = " ".join(f"{_LABELS[field]}{text}" for field, text in error.fields.items())
        valid_name = "" if "name" in error.fields else name
        return ImportLine(number=number, name=valid_name, problem=problem)
    return ImportLine(number=number, name=name, site=site.site, keys=keys)
