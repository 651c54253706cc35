"""The instructions in docs/OPERATIONS.md for receivers and auditors work as written."""

import json
import re
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from pytest_django import Settings

from connections import audit
from connections.access.actor import WORKER
from connections.audit import checkpoints
from connections.models import Checkpoint, Notification
from connections.notifications import delivery
from tests.datadog.servers import ReceivedRequest, ScriptedServer
from tests.notifications.conftest import RecordEvent

pytestmark = pytest.mark.django_db
OPERATIONS = Path(__file__).resolve().parent.parent.parent / "docs/OPERATIONS.md"


@pytest.fixture
def is_ours() -> Callable[..., bool]:
    """The function in the document."""
    [code] = re.findall(r"```python\n(import base64.*?)```", OPERATIONS.read_text(), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)  # noqa: S102 - our own document
    function: Callable[..., bool] = names["is_ours"]
    return function


@pytest.fixture
def sent(record_event: RecordEvent, receiver: ScriptedServer) -> ReceivedRequest:
    record_event()
    delivery.run_due(channel=Notification.Channel.WEBHOOK)
    return receiver.seen[0]


@pytest.fixture
def secret(settings: Settings, receiver: ScriptedServer) -> str:
    return Path(settings.WEBHOOK_SECRET_FILE).read_text()


def test_the_documented_function_accepts_our_webhooks(
    is_ours: Callable[..., bool], sent: ReceivedRequest, secret: str
):
    assert is_ours(sent.headers, sent.body, secret)


def test_it_refuses_another_body_another_time_and_another_secret(
    is_ours: Callable[..., bool], sent: ReceivedRequest, secret: str
):
    old = dict(sent.headers) | {"webhook-timestamp": "1700000000"}
    assert not is_ours(sent.headers, sent.body + b" ", secret)
    assert not is_ours(old, sent.body, secret)
    assert not is_ours(sent.headers, sent.body, "whsec_" + "A" * 44)


@pytest.fixture
def recipient_file(settings: Settings, tmp_path: Path) -> Path:
    """A recipient's file with two checkpoints."""
    settings.CHECKPOINT_FILE = str(tmp_path / "witness")
    for number in range(2):
        audit.record(
            code=audit.EventCode.SIGNED_OUT,
            actor=WORKER,
            sentence=audit.Sentence("Something {number}.", number=number),
        )
        checkpoints.make_checkpoint()
    delivery.run_due(channel=Notification.Channel.FILE)
    return tmp_path / "witness"


def verify(path: Path) -> tuple[int, dict[str, Any]]:
    out = StringIO()
    try:
        call_command("verify_audit", "--json", "--checkpoint", str(path), stdout=out)
    except SystemExit as ended:
        return int(str(ended.code)), json.loads(out.getvalue())
    return 0, json.loads(out.getvalue())


def test_an_auditor_can_compare_a_recipients_whole_file(recipient_file: Path):
    code, found = verify(recipient_file)
    assert (code, found["whole"]) == (0, True)


def test_every_checkpoint_of_the_file_is_verified(recipient_file: Path):
    oldest = Checkpoint.objects.order_by("size")[0]
    other = oldest.note.replace(f"\n{oldest.size}\n", "\n9\n")
    recipient_file.write_text(recipient_file.read_text().replace(oldest.note, other))
    code, found = verify(recipient_file)
    assert code == 1
    assert "checkpoint 1 of" in found["message"]
