"""The log of a running service in JSON: every line is a record, and none contains a secret."""

import json
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.processes import PATIENCE, ROOT, Running, clean_environment, until

pytestmark = pytest.mark.slow

# Also a valid API key. Nothing listens on the discard port.
CANARY = b"canary".hex() + "0" * 20
NOWHERE = "127.0.0.1:9"
RESET = f"/accounts/password/reset/key/2-{CANARY}/"


@pytest.fixture
def environment(migrated_directory: Path, tmp_path: Path) -> dict[str, str]:
    """A service whose every secret is the canary. Its mail, webhook, SSO and proxy all fail."""
    secret = tmp_path / "secret"
    secret.write_text(CANARY)
    secret.chmod(0o600)
    return clean_environment(
        data_dir=migrated_directory,
        PORT="0",
        SECRET_KEY=CANARY * 2,
        EMAIL_URL=f"smtp://user:{CANARY}@{NOWHERE}",
        ORGADMIN_BASE_URL="http://127.0.0.1",
        ORGADMIN_HTTP_PROXY=f"http://user:{CANARY}@{NOWHERE}",
        ORGADMIN_WEBHOOK_URL=f"http://{NOWHERE}/{CANARY}",
        ORGADMIN_METRICS_TOKEN_FILE=str(secret),
        ORGADMIN_OIDC_ISSUER=f"http://{NOWHERE}",
        ORGADMIN_OIDC_CLIENT_ID="orgadmin",
        ORGADMIN_OIDC_CLIENT_SECRET_FILE=str(secret),
        ORGADMIN_LOG_FORMAT="json",
        ORGADMIN_LOG_LEVEL="DEBUG",
    )


class Visitor:
    """Sends requests and forms with secrets. Any response will do."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._session = requests.Session()
        self._session.trust_env = False

    def get(self, path: str, method: str = "GET", **headers: str) -> requests.Response:
        url = f"{self._address}{path}"
        return self._session.request(method, url, headers=headers, timeout=PATIENCE)

    def post(self, path: str, **fields: str) -> requests.Response:
        self.get(path)
        token = {"csrfmiddlewaretoken": self._session.cookies["csrftoken"]}
        url = f"{self._address}{path}"
        return self._session.post(url, data=fields | token, timeout=PATIENCE)


def records_of(process: Running) -> list[dict[str, Any]]:
    """The records. What a person who starts it reads comes from standard output."""
    printed = (
        "Org Admin is running at",
        "Listening on",
        "Create your administrator account",
        "http://",
    )
    return [json.loads(line) for line in process.lines if not line.startswith(printed)]


def test_every_line_is_a_record_and_none_contains_a_secret(
    environment: dict[str, str], migrated_directory: Path
):
    command = [sys.executable, str(ROOT / "manage.py"), "serve"]
    with Running(command, env=environment) as process:
        link = process.wait_for_line("/setup/#")
        visitor = Visitor(process.wait_for_line("Listening on").rpartition(" ")[2].rstrip("/"))
        link_token = link.rpartition("#")[2]
        account = {"username": "ada", "email": "ada@example.org"}
        assert visitor.post("/setup/", token=link_token, password=CANARY, **account).ok
        keys = {"api_key": CANARY, "application_key": CANARY + "01234567"}
        credential = {"name": "P", "site": "datadoghq.com"} | keys
        assert 'name="api_key"' in visitor.get("/credentials/new/").text
        visitor.post("/credentials/new/", **credential)
        stranger = Visitor(visitor._address)
        stranger.post("/accounts/login/", login="ada", password=CANARY + "wrong")
        stranger.post("/accounts/password/reset/", email="ada@example.org")
        stranger.get(RESET, "PUT")
        stranger.get("/sign-in/provider/")
        stranger.get(f"/sign-in/provider/answer/?code={CANARY}&state={CANARY}")
        stranger.get(f"/nowhere/?token={CANARY}", Authorization=f"Bearer {CANARY}", Cookie=CANARY)
        stranger.get("/healthz", **{"X-Request-ID": CANARY})
        stranger.get("/metrics", Authorization=f"Bearer {CANARY}")
        path = migrated_directory / "orgadmin.sqlite3"
        with closing(sqlite3.connect(path, timeout=PATIENCE)) as database:
            attempted = "SELECT count(*) FROM connections_notification WHERE answered_at > ''"
            assert any(database.execute(attempted).fetchone()[0] for _ in until(PATIENCE))
            database.execute("ALTER TABLE connections_credential RENAME TO lost")
            assert visitor.post("/credentials/new/", **credential).status_code >= 500
            database.execute("ALTER TABLE connections_person RENAME TO missing")
            stranger.post("/accounts/login/", login="ada", password=CANARY)
            stranger.get(RESET)
        assert any("The worker failed" in process.output for _ in until(30))
        assert process.end() == 0
    records = records_of(process)
    assert any("traceback" in record for record in records)
    assert any({"request_id", "person"} <= record.keys() for record in records)
    assert [record for record in records if CANARY in json.dumps(record)] == []
    assert link_token not in "".join(map(json.dumps, records))
