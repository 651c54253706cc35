"""Which responses are compressed, and which never are."""

import gzip
import io
import json
import os
import re
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from django.http import FileResponse, HttpResponse
from django.http.response import HttpResponseBase
from django.test import Client, RequestFactory
from django.urls import URLPattern, URLResolver, get_resolver

from connections.exports import export
from connections.models import Person
from connections.web.framework.middleware import CompressionMiddleware
from connections.web.framework.routing import ALLAUTH, Access
from tests.deletions.history.conftest import Make

ROOT = Path(__file__).resolve().parents[3]
ClientOf = Callable[[Person], Client]
ACCEPTS_GZIP = {"Accept-Encoding": "gzip, br"}
SHOWS_SECRET = {
    "setup",
    "sign-in-link",
    "api-token-list",
    "person-token-list",
    "person-new",
    "person-link",
    "mfa_activate_totp",
    "mfa_generate_recovery_codes",
    "mfa_view_recovery_codes",
    "mfa_download_recovery_codes",
}


def encoding(response: HttpResponseBase) -> str:
    return response.headers.get("Content-Encoding", "")


@pytest.mark.parametrize("path", ["/", "/connections/", "/deletions/", "/orgs/"])
def test_a_page_is_compressed(client_of: ClientOf, victor: Person, path: str):
    response = client_of(victor).get(path, headers=ACCEPTS_GZIP)
    assert encoding(response) == "gzip"
    assert "Accept-Encoding" in response["Vary"]
    assert response["Cache-Control"] == "no-store"
    assert b"</html>" in gzip.decompress(response.content)


def test_a_browser_that_does_not_accept_gzip_gets_it_uncompressed(
    client_of: ClientOf, victor: Person
):
    assert encoding(client_of(victor).get("/deletions/")) == ""


def test_the_size_of_a_compressed_page_varies(client_of: ClientOf, victor: Person):
    client = client_of(victor)
    sizes = {len(client.get("/deletions/", headers=ACCEPTS_GZIP).content) for _ in range(12)}
    assert len(sizes) > 3


def test_two_responses_never_have_the_same_csrf_token(client_of: ClientOf, victor: Person):
    client = client_of(victor)
    pages = [client.get("/deletions/").content.decode() for _ in range(2)]
    tokens = {re.search(r'X-CSRFToken": "(\w{64})"', page)[1] for page in pages}  # type: ignore[index]
    assert len(tokens) == 2


def test_a_compressed_export_holds_no_row_back(
    client_of: ClientOf, edith: Person, make: Make, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(export, "CHUNK_BYTES", 1)
    make(minute=1, ticket="SEC-1")
    make(minute=2, ticket="SEC-2")
    response = client_of(edith).get("/deletions/export/?format=ndjson", headers=ACCEPTS_GZIP)
    assert encoding(response) == "gzip"
    chunks, gunzip = iter(response), zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    # The first chunk is the head of the format.
    read = gunzip.decompress(next(chunks)) + gunzip.decompress(next(chunks))
    assert json.loads(read)["ticket"] == "SEC-2"
    rest = b"".join(map(gunzip.decompress, chunks))
    assert json.loads(rest)["ticket"] == "SEC-1"


def test_a_file_of_a_known_size_is_not_compressed(rf: RequestFactory):
    request = rf.get("/evidence/bundle/", headers=ACCEPTS_GZIP)
    file = FileResponse(io.BytesIO(bytes(1000)), filename="evidence.zip")
    response = CompressionMiddleware(HttpResponse).process_response(request, file)
    assert (encoding(response), response["Content-Length"]) == ("", "1000")


def test_a_page_with_a_new_sign_in_link_is_neither_compressed_nor_cached(
    client_of: ClientOf, root: Person, ada: Person
):
    client = client_of(root)
    url = f"/people/{ada.pk}/link/"
    response = client.post(url, headers=ACCEPTS_GZIP)
    assert b"/sign-in/#" in response.content
    assert encoding(response) == ""
    assert response["Cache-Control"] == "no-store"


def declared(patterns: list[URLPattern | URLResolver]) -> dict[str, Access]:
    """The access rules of every URL, by its name."""
    found: dict[str, Access] = {}
    for pattern in patterns:
        if isinstance(pattern, URLResolver):
            found |= declared(pattern.url_patterns)
        elif access := getattr(pattern.callback, "access", None):
            found[pattern.name or ""] = access
    return found


def test_urls_that_show_a_secret_declare_it():
    every = ALLAUTH | declared(get_resolver().url_patterns)
    assert {name for name, access in every.items() if access.shows_secret} == SHOWS_SECRET


COLLECT = """
import django
django.setup()
from connections.operations.static_files import collect_static_files
print(collect_static_files())
"""
FETCH = """
import django, re
django.setup()
from django.core.management import call_command
from django.test import Client
call_command("migrate", interactive=False, verbosity=0)
page = Client().get("/setup/").content.decode()
path = re.search(r'href="(/static/connections/app[^"]+css)"', page)[1]
answer = Client(headers={"Accept-Encoding": "gzip"}).get(path)
answer.getvalue()
print(path, answer.headers["Content-Encoding"], answer.headers["Cache-Control"])
"""


@pytest.mark.slow
def test_collected_files_are_hashed_compressed_and_cached_for_a_year(tmp_path: Path):
    environment = {
        "PATH": os.environ["PATH"],
        "DJANGO_SETTINGS_MODULE": "orgadmin.settings",
        "ORGADMIN_DATA_DIR": str(tmp_path),
    }
    for code in (COLLECT, FETCH):
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        environment["ORGADMIN_STATIC_ROOT"] = done.stdout.strip()
    path, coding, caching = done.stdout.strip().split(" ", 2)
    assert re.fullmatch(r"/static/connections/app\.[0-9a-f]{12}\.css", path)
    assert coding == "gzip"
    assert {"max-age=315360000", "immutable"} <= set(caching.replace(",", "").split())
