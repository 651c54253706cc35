"""Values that the docs promise and that no other test compares with the code."""

import re
from pathlib import Path
from typing import Any

import pytest

from connections.audit import checkpoints, search
from connections.core import time_limits
from connections.datadog import client
from connections.deletions import history
from connections.evidence.program import program_digest

ROOT = Path(__file__).resolve().parents[2]

# Other tests reduce these to be faster.
PROMISED = [
    (client, "CONNECT_SECONDS", 5),
    (client, "MAX_WRITE_BODY", 64 * 1024),
    (time_limits, "DELETE_SECONDS", 30),
    (history, "MAX_COUNTED", 1000),
    (search, "MAX_EXACT_COUNT", 1000),
    (checkpoints, "EVENTS_PER_CHECKPOINT", 1000),
]


@pytest.mark.parametrize(
    ("module", "name", "number"), PROMISED, ids=lambda one: getattr(one, "__name__", str(one))
)
def test_a_number_is_the_one_that_was_promised(module: Any, name: str, number: int):
    assert getattr(module, name) == number


def test_the_newest_release_has_the_one_digest_of_its_verifier():
    newest = (ROOT / "CHANGELOG.md").read_text().split("\n## ")[1]
    assert re.findall("`([0-9a-f]{64})`", newest) == [program_digest()]
