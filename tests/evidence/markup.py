"""Puts markup into every leaf of a bundle, signs it with the right key, and reads the page."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connections.evidence.contents import format_json
from connections.verifier.events import commitment_of
from connections.verifier.folding import digest_of_rows
from connections.verifier.report import main
from tests.evidence.support import Forger, Made, format_lines
from tests.support.sweeps import sample

MARKUP = "</bdi></title></style><script>document.title='owned'</script><img src=x onerror=alert(1)>"
# What a page can have; attributes are those of its own templates.
_TAG = re.compile(r"<(/?[a-z!]+[0-9]?)\b[^>]*>", re.ASCII)
_OWN_TAGS = {
    *("!doctype", "html", "head", "meta", "title", "style", "body", "h1", "h2", "h3", "p", "bdi"),
    *("section", "dl", "dt", "dd", "div", "ul", "li", "table", "thead", "tbody", "tr", "th", "td"),
}


def assert_is_harmless(page: str) -> None:
    """It has no tag but its own, and the markup only as text."""
    assert {name.strip("/") for name in _TAG.findall(page)} <= _OWN_TAGS
    assert "<script" not in page
    assert "<img" not in page


def assert_no_leaf_becomes_markup(made: Made, directory: Path, subtests: pytest.Subtests) -> None:
    """One leaf of each name is text on its page, if the verifier accepts it at all.

    A test run takes a quarter of them.
    """
    forger = Forger(made=made)
    population = json.loads(forger.files["population.json"])
    documents = [*forger.records(), *forger.documents(), population]
    leaves = dict(leaf for document in documents for leaf in _leaves(document))
    # The place of an event in the log.
    del leaves["seq"]
    rendered = 0
    for key, value in sample(sorted(leaves.items()), every=4):
        with subtests.test(key=key, value=value):
            path = directory / "page.html"
            path.unlink(missing_ok=True)
            bundle = directory / "bundle.zip"
            bundle.write_bytes(_with_markup(made, key, value))
            if main([str(bundle), "--html", str(path)]) == 0:
                page = path.read_text()
                rendered += "&lt;script&gt;" in page
                assert_is_harmless(page)
    # Otherwise the forgeries themselves are wrong.
    assert rendered > 5


def with_markup_everywhere(document: Any) -> Any:
    """The document with markup in place of every leaf, and after every key."""
    if isinstance(document, dict):
        return {f"{key} {MARKUP}": with_markup_everywhere(each) for key, each in document.items()}
    if isinstance(document, list):
        return [with_markup_everywhere(each) for each in document]
    return MARKUP


def _leaves(document: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(document, dict):
        for name, each in document.items():
            yield from _leaves(each, name)
    elif isinstance(document, list):
        for each in document:
            yield from _leaves(each, key)
    elif document not in (None, ""):
        yield key, document


def _replace(document: Any, leaf: tuple[str, Any], key: str = "") -> Any:
    if isinstance(document, dict):
        return {name: _replace(each, leaf, name) for name, each in document.items()}
    if isinstance(document, list):
        return [_replace(each, leaf, key) for each in document]
    is_leaf = (key, document) == leaf and type(document) is type(leaf[1])
    return MARKUP if is_leaf else document


def _with_markup(made: Made, key: str, value: Any) -> bytes:
    """The bundle with markup in place of this leaf, wherever it is, in an audit log made anew."""
    forger, leaf = Forger(made=made), (key, value)
    records = [_replace(record, leaf) for record in forger.records()]
    events = [_replace(event, leaf) for event in forger.documents()]
    values = [json.loads(line) for line in forger.files["values.ndjson"].splitlines()]
    for row in values:
        if row["value"] == value and row["salt"]:
            row["value"] = MARKUP
            commitment = commitment_of(bytes.fromhex(row["salt"]), row["kind"], MARKUP)
            events = [_replace(event, (str(row["number"]), row["commitment"])) for event in events]
            row["commitment"] = commitment
            for event in events:
                if event["refs"].get(str(row["number"])) == MARKUP:
                    event["refs"][str(row["number"])] = commitment
    many = [record["row"] for record in records if "row" in record]
    for event in events:
        for name in ("batch_rows", "access_review_rows"):
            if event["details"].get("rows", {}).get(name):
                event["details"]["rows"][name] = digest_of_rows(many)
    forger.files["records.ndjson"] = format_lines(records)
    forger.files["values.ndjson"] = format_lines(values)
    population = _replace(json.loads(forger.files["population.json"]), leaf)
    forger.files["population.json"] = format_json(population).encode()
    forger.make_log(events)
    return forger.signed()
