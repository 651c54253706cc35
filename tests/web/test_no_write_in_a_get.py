"""The check of every page that a test opens: a GET writes nothing."""

from collections.abc import Callable, Iterator

import pytest
from django.db import connection
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path

from connections import audit
from connections.access.actor import WORKER
from connections.audit import EventCode
from connections.models import AuditEvent, Person
from connections.web.framework.routing import Visitors, form_page
from orgadmin import urls as project_urls
from tests.support.read_only import WRITING, WriteInReadError
from tests.web.test_access import patterns


def by_hand(request: HttpRequest) -> HttpResponse:
    with connection.cursor() as cursor:
        cursor.execute(request.GET.get("sql") or request.POST["sql"])
    return HttpResponse("done")


def streaming(request: HttpRequest) -> StreamingHttpResponse:
    def body() -> Iterator[bytes]:
        yield b"first,"
        Person.objects.create(username="streamed")
        yield b"second"

    return StreamingHttpResponse(body())


def recording(request: HttpRequest) -> HttpResponse:
    audit.record(code=EventCode.EXPORT_STARTED, actor=WORKER, sentence=audit.Sentence("Exported."))
    request.session["seen"] = "yes"
    return HttpResponse("recorded")


urlpatterns = [
    *(form_page(f"{view.__name__}/", view, Visitors.SIGNED_IN) for view in (by_hand, recording)),
    form_page("streaming/", streaming, Visitors.SIGNED_IN),
    path("", project_urls.not_offered),
]
pytestmark = pytest.mark.urls(__name__)


@pytest.fixture
def reader(victor: Person, client_of: Callable[[Person], Client]) -> Client:
    return client_of(victor)


@pytest.mark.parametrize(
    "sql",
    [
        "update connections_person set is_superuser = true",
        "  DELETE FROM connections_person",
        "INSERT OR REPLACE INTO connections_person (id) VALUES (1)",
        "DROP TABLE connections_person",
        "/* SELECT */ DELETE FROM connections_person",
        "(WITH gone AS (DELETE FROM connections_person) SELECT 1)",
        "WITH gone AS (SELECT 1) DELETE FROM connections_person",
    ],
)
def test_a_get_that_writes_fails(reader: Client, sql: str):
    with pytest.raises(WriteInReadError):
        reader.get("/by_hand/", {"sql": sql})


@pytest.mark.parametrize(
    "sql",
    [
        "WITH one AS (SELECT 1) SELECT * FROM one",
        "DELETE FROM connections_personsession WHERE key_hash = 'none'",
        "DELETE FROM orgadmin_cache WHERE cache_key = 'none'",
    ],
)
def test_a_get_can_read_and_write_sessions_and_the_cache(reader: Client, sql: str):
    assert reader.get("/by_hand/", {"sql": sql}).text == "done"


def test_a_post_can_write(reader: Client):
    sql = "update connections_person set is_superuser = true"
    assert reader.post("/by_hand/", {"sql": sql}).text == "done"


def test_a_stream_that_writes_fails(reader: Client):
    response = reader.get("/streaming/")
    chunks = iter(response.streaming_content)  # type: ignore[attr-defined]
    assert next(chunks) == b"first,"
    # Between two chunks, others can write.
    Person.objects.create(username="between")
    with pytest.raises(WriteInReadError):
        next(chunks)


def test_a_get_can_append_an_event_and_save_its_session(reader: Client):
    assert reader.get("/recording/").text == "recorded"
    assert AuditEvent.objects.get().code == "export.started"
    assert reader.session["seen"] == "yes"


def test_every_page_that_can_write_exists():
    assert {pattern.name for pattern in patterns(project_urls.urlpatterns)} >= WRITING
