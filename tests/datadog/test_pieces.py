"""Connection ids, results of statuses, error texts and name resolution."""

import threading

import pytest

from connections.core.causes import Cause
from connections.datadog.payloads import canonical_connection_id, error_texts
from connections.datadog.responses import AttemptResult, cause_of_status, result_of_status
from connections.net import connection
from connections.net.connection import Address, resolve
from tests.datadog.actions import WriteUnderTest


@pytest.mark.parametrize(
    "text",
    [
        "12345678-90ab-cdef-1234-567890abcdef",
        "12345678-90AB-CDEF-1234-567890ABCDEF",
        "  12345678-90ab-cdef-1234-567890abcdef\r\n",
    ],
)
def test_an_id_is_normalized_to_one_form(text: str):
    assert canonical_connection_id(text) == "12345678-90ab-cdef-1234-567890abcdef"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1234567890abcdef1234567890abcdef",
        "{12345678-90ab-cdef-1234-567890abcdef}",
        "urn:uuid:12345678-90ab-cdef-1234-567890abcdef",
        "1234567-890ab-cdef-1234-567890abcdef0",
        "\uff112345678-90ab-cdef-1234-567890abcdef",
        "\u06612345678-90ab-cdef-1234-567890abcdef",
        "../../v2/org",
        "12345678-90ab-cdef-1234-567890abcdef/..",
        "12345678-90ab-cdef-1234-567890abcdeg",
    ],
)
def test_an_invalid_id_is_refused_with_the_expected_format(text: str):
    with pytest.raises(ValueError, match="looks like 12345678-90ab"):
        canonical_connection_id(text)


@pytest.mark.parametrize("has_left", [True, False])
def test_only_errors_that_prove_it_count_as_not_sent(write: WriteUnderTest, *, has_left: bool):
    result = result_of_status(
        write=write.write, status=None, has_errors_list=False, has_request_left=has_left
    )
    assert result is (AttemptResult.AMBIGUOUS if has_left else AttemptResult.NOT_SENT)


def test_every_other_status_is_ambiguous_and_has_a_cause(write: WriteUnderTest):
    final = {400, 401, 403, 404, 429, *write.write.results}
    for status in set(range(100, 1000)) - final:
        result = result_of_status(write=write.write, status=status, has_errors_list=True)
        assert result is AttemptResult.AMBIGUOUS
        assert cause_of_status(write=write.write, status=status, has_errors_list=True) is not None


def test_codes_fit_their_column_and_equal_their_names():
    for code in [*AttemptResult, *Cause]:
        assert code.value == code.name.lower()
        assert len(code.value) <= 32


def test_errors_are_bounded_and_only_text_is_kept():
    texts = error_texts(["x" * 5_000, {"detail": "why"}, {"title": "what"}, 5, None, ""] * 20)
    assert texts[:3] == ("x" * 1_000, "why", "what")
    assert len(texts) <= 20


def test_a_hanging_name_server_does_not_block_us(monkeypatch: pytest.MonkeyPatch):
    is_over = threading.Event()

    def hang(host: str, port: int) -> list[Address]:
        is_over.wait(10)
        return []

    monkeypatch.setattr(connection, "look_up", hang)
    with pytest.raises(TimeoutError):
        resolve(host="name.example", port=443, timeout_seconds=0.05)
    is_over.set()


def test_hanging_lookups_do_not_accumulate_without_limit(monkeypatch: pytest.MonkeyPatch):
    is_over = threading.Event()
    ended = threading.Semaphore(0)

    def hang(host: str, port: int) -> list[Address]:
        is_over.wait(10)
        ended.release()
        return []

    monkeypatch.setattr(connection, "look_up", hang)
    for _ in range(40):
        with pytest.raises(TimeoutError):
            resolve(host="name.example", port=443, timeout_seconds=0.001)
    hanging = [each for each in threading.enumerate() if each.name == "datadog-resolver"]
    is_over.set()
    assert 0 < len(hanging) <= 32
    for thread in hanging:
        thread.join(timeout=5)
    monkeypatch.undo()
    assert resolve(host="127.0.0.1", port=443, timeout_seconds=5)
