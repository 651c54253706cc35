"""docs/EVIDENCE.md names everything that the code writes, enough to write another verifier."""

import json
import re
from pathlib import Path
from typing import get_args, get_type_hints
from uuid import uuid4

import pytest

from connections import audit
from connections.access.actor import WORKER, Actor
from connections.evidence.stored_events import Fault
from connections.models import (
    AccessRequest,
    AccessReview,
    Agreement,
    AuditEvent,
    Batch,
    Change,
    ChangeRequest,
    Credential,
    Deletion,
    Hold,
    Org,
    OrgConnectionKey,
    Person,
    PersonalValue,
)
from connections.verifier.archive import FILE_NAMES
from tests.evidence.support import Made, files_of

DOCS = Path(__file__).resolve().parents[2] / "docs"
EVIDENCE = (DOCS / "EVIDENCE.md").read_text()


def rows(header: str) -> dict[str, str]:
    """The table with this header: from the first column to the rest of its row."""
    table = EVIDENCE.partition(f"\n{header}\n")[2].partition("\n\n")[0]
    named = {}
    for row in table.splitlines()[1:]:
        _, first, rest = row.split("|", 2)
        named[first.strip().strip("`")] = rest
    return named


def codes_in(text: str) -> set[str]:
    return set(re.findall(r"`([^`]+)`", text))


EVENT = rows("| key | value |")
FILES = rows("| file | what |")
# The files that are one JSON object.
DOCUMENTS = ("keys.json", "population.json", "manifest.json")


@pytest.mark.django_db
def test_the_keys_of_an_event():
    audit.record(
        code=audit.EventCode.PERSON_CHANGED,
        actor=WORKER,
        sentence=audit.Sentence("Something happened."),
    )
    assert set(json.loads(AuditEvent.objects.get().text)) == set(EVENT)


def test_the_types_of_a_subject():
    key = OrgConnectionKey(site="datadoghq.com", connection_id=uuid4())
    subjects: list[audit.Subject] = [
        Deletion(),
        AccessRequest(),
        Batch(),
        AccessReview(),
        Agreement(),
        Credential(),
        Person(),
        Change(),
        Org(),
        Hold(),
        key,
    ]
    kinds = set(ChangeRequest.__subclasses__())
    types = set(get_args(audit.Subject.__value__)) - {ChangeRequest} | kinds
    assert {type(subject) for subject in subjects} == types
    [listed] = re.findall(r"`type` \(([^)]+)\)", EVENT["subject"])
    assert codes_in(listed) == {audit.reference(subject)["type"] for subject in subjects}


def test_the_kinds_of_an_actor():
    [listed] = re.findall(r"`kind` \(([^)]+)\)", EVENT["actor"])
    assert codes_in(listed) == set(get_args(get_type_hints(Actor)["kind"]))


def test_the_kinds_of_an_erasable_value():
    pattern = "|".join(PersonalValue.Kind.values)
    assert rf"`\{{\{{|\}}\}}|\{{({pattern}):([0-9]+)\}}`" in EVIDENCE


def test_the_faults_that_a_verification_names():
    table = rows("| what was done | named as | how exactly |")
    named = [codes_in(rest.partition("|")[0]) for rest in table.values()]
    assert set().union(*named) == set(Fault)


def test_the_files_of_a_bundle_in_their_order():
    assert tuple(FILES) == FILE_NAMES


@pytest.mark.database
@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_keys_of_a_document_in_a_bundle(made: Made, name: str):
    keys = set(json.loads(files_of(made.data)[name]))
    row = FILES[name]
    assert [key for key in sorted(keys) if not re.search(rf"[`\"]{key}[`\"]", row)] == []


def test_every_event_code_in_the_documents_exists():
    subjects = "|".join({code.partition(".")[0] for code in audit.EventCode})
    named = re.compile(rf"`((?:{subjects})\.[a-z_]+)`|\"code\":\"([^\"]+)\"")
    files = {"signing_key.json", "access_review.js"}
    unknown = {
        code
        for path in DOCS.rglob("*.md")
        for match in named.finditer(path.read_text())
        for code in match.groups()
        if code and code not in set(audit.EventCode) | files
    }
    assert unknown == set()
