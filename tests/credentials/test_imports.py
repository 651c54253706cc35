"""Importing many credentials: which lines are stored, skipped, rotated or refused, and why."""

from collections.abc import Callable
from typing import Any

import pytest
from django.core.exceptions import PermissionDenied

from connections.access.actor import Actor, command_actor, person_actor
from connections.core.errors import InvalidInputError
from connections.core.private_files import create_private_text
from connections.core.secret import Secret
from connections.core.sites import DATADOG_SITES
from connections.credentials import access_lists, imports, key_checks, lifecycle
from connections.credentials.import_file import decode_file, parse_file
from connections.credentials.imports import LineOutcome, LineResult, import_credentials
from connections.models import (
    AccessKind,
    ApprovalPolicy,
    AuditEvent,
    Credential,
    OrgConnectionSnapshot,
    Person,
)
from sandbox import faults
from sandbox.entities import KeyPair
from sandbox.server import SandboxServer
from tests.credentials.support import added, second_pair, token_of
from tests.support.key_rings import exposed_by
from tests.support.sandbox import EU, US, key_pair_of, org_named

pytestmark = pytest.mark.django_db
ActorFor = Callable[[Person], Actor]
HEADER = "name,site,api_key,application_key"
CANARY = "canary0" * 5


def row(pair: KeyPair, name: str = "", *, site: str = "") -> str:
    return f"{name},{site or pair.org.site.name},{pair.api_key},{pair.application_key}"


def row_of(sandbox: SandboxServer, org_name: str, name: str = "") -> str:
    return row(key_pair_of(sandbox.world, org_name), name)


def run(
    *rows: str,
    header: str = HEADER,
    actor: Actor | None = None,
    rotate: bool = False,
    seconds: float | None = None,
) -> list[LineResult]:
    lines = parse_file(Secret("\n".join([header, *rows])))
    return import_credentials(
        actor=actor or command_actor(), lines=lines, rotate=rotate, seconds=seconds
    )


def outcomes(results: list[LineResult]) -> list[tuple[int, str]]:
    return [(result.number, result.outcome.value) for result in results]


def names() -> set[str]:
    return set(Credential.objects.values_list("name", flat=True))


# --- What is stored -------------------------------------------------------------------------------


@pytest.mark.database
def test_every_line_that_verifies_is_stored_synced_and_recorded(sandbox: SandboxServer):
    rows = [row_of(sandbox, "Payments US", "Pay"), row_of(sandbox, "Group SOC")]
    results = run(*rows, row_of(sandbox, "Labs EU", "Labs"))

    assert outcomes(results) == [(2, "added"), (3, "added"), (4, "added")]
    assert [result.name for result in results] == ["Pay", "Group SOC", "Labs"]
    assert names() == {"Pay", "Group SOC", "Labs"}
    assert all(credential.is_verified for credential in Credential.objects.all())
    assert OrgConnectionSnapshot.objects.count() == 5
    codes = list(AuditEvent.objects.order_by("seq").values_list("code", flat=True))
    assert codes == ["credential.added", "credential.verified"] * 3


def test_access_tokens_are_imported(sandbox: SandboxServer):
    token = token_of(sandbox, "Payments US").access_token.reveal()
    [result] = run(f"Pay,{US},{token}", header="name,site,access_token")

    assert result.outcome is LineOutcome.ADDED
    assert Credential.objects.get().has_access_token


def test_a_line_that_does_not_verify_is_not_stored_and_affects_no_other(sandbox: SandboxServer):
    soc = key_pair_of(sandbox.world, "Group SOC")
    sandbox.world.revoke(soc)
    results = run(row_of(sandbox, "Payments US"), row(soc, "SOC"), row_of(sandbox, "Labs EU"))

    assert outcomes(results) == [(2, "added"), (3, "failed"), (4, "added")]
    assert "rejected the API key" in results[1].error
    assert "Datadog: 'Forbidden'" in results[1].error
    assert names() == {"Payments US", "Labs EU"}
    [event] = AuditEvent.objects.filter(text__contains="SOC")
    assert event.code == "credential.import_refused"
    assert event.sentence.startswith("SOC was not imported. Datadog rejected the API key (403).")
    assert event.details["line"] == 3
    assert (event.details["site"], event.details["http_status"]) == (US, 403)
    assert soc.api_key not in event.text


def test_keys_without_permission_to_list_are_not_stored(sandbox: SandboxServer):
    pair = sandbox.world.add_key_pair(org=org_named(sandbox.world, "Payments US"), permissions=())
    assert outcomes(run(row(pair, "Pay"))) == [(2, "failed")]
    assert names() == set()


def test_a_second_run_skips_what_is_stored_whatever_its_name(sandbox: SandboxServer):
    run(row_of(sandbox, "Payments US", "Pay"))
    sandbox.world.request_log.clear()
    results = run(row_of(sandbox, "Payments US", "Pay"), row_of(sandbox, "Payments US", "Other"))

    assert outcomes(results) == [(2, "skipped"), (3, "skipped")]
    assert names() == {"Pay"}
    assert sandbox.world.requests() == []


def test_the_same_line_twice_is_stored_once(sandbox: SandboxServer):
    results = run(row_of(sandbox, "Payments US", "Pay"), row_of(sandbox, "Payments US", "Pay"))
    assert outcomes(results) == [(2, "added"), (3, "skipped")]


@pytest.mark.database
def test_a_line_stored_by_another_import_meanwhile_is_skipped(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    line = row_of(sandbox, "Payments US", "Pay")
    verify = key_checks.verify_in_parallel

    def verify_while_another_imports(*args: Any, **options: Any) -> Any:
        monkeypatch.setattr(key_checks, "verify_in_parallel", verify)
        reports = verify(*args, **options)
        assert outcomes(run(line)) == [(2, "added")]
        return reports

    monkeypatch.setattr(key_checks, "verify_in_parallel", verify_while_another_imports)
    assert outcomes(run(line)) == [(2, "skipped")]
    assert Credential.objects.count() == 1


# --- Names and rotation ---------------------------------------------------------------------------


def test_other_keys_under_a_stored_name_fail_without_rotation(sandbox: SandboxServer):
    before = added(sandbox, "Payments US", name="Pay")
    [result] = run(row(second_pair(sandbox, "Payments US"), "PAY"))

    assert result.outcome is LineOutcome.FAILED
    assert result.error == "Pay is stored with other keys. Allow rotation, or use another name."
    assert Credential.objects.get().fingerprint == before.fingerprint


@pytest.mark.database
def test_with_rotation_they_replace_keys_of_the_same_org(sandbox: SandboxServer):
    before = added(sandbox, "Payments US", name="Pay")
    pair = second_pair(sandbox, "Payments US")
    results = run(row(pair, "Pay"), row_of(sandbox, "Labs EU"), rotate=True)

    assert outcomes(results) == [(2, "rotated"), (3, "added")]
    stored = Credential.objects.get(pk=before.pk)
    assert stored.open_keys().by_field["api_key"].reveal() == pair.api_key
    assert stored.fingerprint != before.fingerprint
    assert AuditEvent.objects.filter(code="credential.rotated").count() == 1


@pytest.mark.parametrize("other", ["org", "site", "revoked"])
def test_rotation_needs_working_keys_of_the_same_org_and_site(sandbox: SandboxServer, other: str):
    before = added(sandbox, "Payments US", name="Pay")
    pair = second_pair(sandbox, {"org": "Group SOC", "site": "Labs EU"}.get(other, "Payments US"))
    if other == "revoked":
        sandbox.world.revoke(pair)
    [result] = run(row(pair, "Pay"), rotate=True)

    expected = {"org": "another org", "site": "another site", "revoked": "rejected"}
    assert result.outcome is LineOutcome.FAILED
    assert expected[other] in result.error
    assert Credential.objects.get().fingerprint == before.fingerprint


@pytest.mark.parametrize("rotate", [False, True])
def test_two_lines_with_one_name_and_different_keys_store_the_first(
    sandbox: SandboxServer, rotate: bool
):
    first, second = (
        row_of(sandbox, "Payments US", "Pay"),
        row(second_pair(sandbox, "Payments US"), "pay "),
    )
    results = run(first, second, rotate=rotate)

    assert outcomes(results) == [(2, "added"), (3, "failed")]
    assert results[1].error == "Line 2 has the same name."


def test_a_credential_that_the_person_cannot_see_is_neither_rotated_nor_spelled(
    sandbox: SandboxServer, root: Person, ada: Person, margaret: Person
):
    hidden = added(sandbox, "Payments US", name="Secret Org")
    access_lists.change_access(
        actor=person_actor(person=root),
        credential=hidden,
        wanted={AccessKind.SEE: [f"person:{ada.pk}"]},
    )
    actor = person_actor(person=Person.objects.get(pk=margaret.pk))
    pair = second_pair(sandbox, "Payments US")
    [result] = run(row(pair, "secret org"), rotate=True, actor=actor)

    assert result.outcome is LineOutcome.FAILED
    assert "“secret org”" in result.error
    assert Credential.objects.get().fingerprint == hidden.fingerprint


def test_an_import_bypasses_neither_access_lists_nor_the_policy(
    sandbox: SandboxServer, root: Person, ada: Person
):
    first = added(sandbox, "Payments US")
    Credential.objects.update(policy=ApprovalPolicy.TWO)
    wanted = {AccessKind.SEE: [f"person:{ada.pk}"], AccessKind.USE: [], AccessKind.APPROVE: []}
    access_lists.change_access(actor=person_actor(person=root), credential=first, wanted=wanted)
    run(row(second_pair(sandbox, "Payments US"), "Second"))

    second = Credential.objects.get(name="Second")
    assert access_lists.get_access_entries(second) == wanted
    assert second.policy == ApprovalPolicy.TWO


@pytest.mark.parametrize("who", ["ada", "linus", "edith", "victor", "stranger"])
def test_only_credential_managers_import(
    sandbox: SandboxServer, request: pytest.FixtureRequest, actor_for: ActorFor, who: str
):
    with pytest.raises(PermissionDenied):
        run(row_of(sandbox, "Payments US"), actor=actor_for(request.getfixturevalue(who)))
    assert sandbox.world.requests() == []


# --- Time -----------------------------------------------------------------------------------------


def test_lines_that_were_not_reached_in_time_are_listed_and_can_be_sent_again(
    sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(imports, "PARALLEL_REQUESTS", 1)
    fault = faults.delayed(seconds=4)
    sandbox.world.set_fault(fault=fault, site=EU, operation="validate")
    rows = [row_of(sandbox, org) for org in ("Payments US", "Labs EU", "Group SOC")]
    results = run(*rows, seconds=3)

    assert outcomes(results) == [(2, "added"), (3, "not_reached"), (4, "not_reached")]
    sandbox.world.clear_faults()
    assert outcomes(run(*rows)) == [(2, "skipped"), (3, "added"), (4, "added")]


def test_24_lines_are_verified_at_once(sandbox: SandboxServer, monkeypatch: pytest.MonkeyPatch):
    calls: list[int] = []
    verify = key_checks.verify_in_parallel

    def spy(credentials: list[Credential], *, seconds: float) -> Any:
        calls.append(len(credentials))
        return verify(credentials, seconds=seconds)

    monkeypatch.setattr(key_checks, "verify_in_parallel", spy)
    pairs = [second_pair(sandbox, "Payments US") for _ in range(30)]
    results = run(*(row(pair, f"Pay {number}") for number, pair in enumerate(pairs)))

    assert {result.outcome for result in results} == {LineOutcome.ADDED}
    assert calls == [24, 6]


def test_with_a_damaged_key_ring_every_line_fails_and_nothing_is_sent(
    sandbox: SandboxServer, settings: Any, tmp_path: Any
):
    settings.KEYRING_FILE = tmp_path / "damaged.json"
    create_private_text(settings.KEYRING_FILE, Secret("damaged"))
    results = run(row_of(sandbox, "Payments US"), row_of(sandbox, "Labs EU"))

    assert outcomes(results) == [(2, "failed"), (3, "failed")]
    assert sandbox.world.requests() == []


# --- The file -------------------------------------------------------------------------------------

GOOD = f"Pay,EU1,{'a' * 32},{'b' * 40}"


@pytest.mark.parametrize(
    "text",
    [
        f"{HEADER}\n{GOOD}",
        f"\ufeff{HEADER}\n{GOOD}\n",
        f"{HEADER}\r\n\r\n{GOOD}\r\n",
        f"{HEADER}\r{GOOD}\r",
        f" Name , SITE,API_KEY,Application_Key \n Pay , eu1 , {'a' * 32} ,{'b' * 40}\n\n",
        f'"name","site","api_key","application_key"\n"Pay","EU1","{"a" * 32}","{"b" * 40}"',
        f"site,application_key,api_key,name\nDATADOGHQ.EU,{'b' * 40},{'a' * 32},Pay",
    ],
)
def test_equivalent_files_are_read_alike(text: str):
    [line] = parse_file(Secret(text))
    assert (line.name, line.site, line.problem) == ("Pay", "datadoghq.eu", "")
    assert line.keys is not None
    secrets = {name: key.reveal() for name, key in line.keys.by_field.items()}
    assert secrets == {"api_key": "a" * 32, "application_key": "b" * 40}


def test_lines_are_numbered_as_in_the_file():
    lines = parse_file(Secret(f"{HEADER}\n\n{GOOD}\n\n\n{GOOD}"))
    assert [line.number for line in lines] == [3, 6]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\n",
        f"{CANARY},{CANARY}\n{GOOD}",
        f"name;site;api_key;application_key\n{CANARY}",
        f"name,site,api_key\n{CANARY}",
        f"name,site,api_key,application_key,access_token\n{CANARY}",
        f"name,site,api_key,api_key\n{CANARY}",
        f'"name,site\n{CANARY}',
        f"{HEADER}\n\n  \n",
        GOOD,
    ],
)
def test_a_file_without_header_or_lines_is_refused_without_repeating_it(text: str):
    with pytest.raises(InvalidInputError) as refused:
        parse_file(Secret(text))
    assert "canary" not in exposed_by(refused.value, leave_out=__file__)


def test_201_lines_are_too_many():
    text = "\n".join([HEADER, *[GOOD] * 201])
    assert len(parse_file(Secret(text))) == 201
    with pytest.raises(InvalidInputError, match="201 lines"):
        parse_file(Secret(text), max_lines=200)
    assert len(parse_file(Secret(text.removesuffix(GOOD)), max_lines=200)) == 200


@pytest.mark.parametrize("content", [f"{CANARY}é".encode("latin-1"), CANARY.encode("utf-16")])
def test_a_file_that_is_not_utf_8_is_refused_without_repeating_it(content: bytes):
    with pytest.raises(InvalidInputError, match="UTF-8") as refused:
        decode_file(content)
    assert "canary" not in exposed_by(refused.value, leave_out=__file__)


KEYS = f"{CANARY},{CANARY}x"
BAD_LINES = {
    "a column too many": (f"Pay,EU1,{KEYS},more", "found 5"),
    "a column too few": (f"EU1,{KEYS}", "found 3"),
    "an unquoted comma": (f"Pay, US,EU1,{KEYS}", "Put a name with a comma in quotes"),
    "an open quote": (f'"Pay,EU1,{KEYS}', "quotes"),
    "text after a quote": (f'"Pay"x,EU1,{KEYS}', "quotes"),
    "an unknown site": (f"Pay,{CANARY},{KEYS}", "Unknown site"),
    "no site": (f"Pay,,{KEYS}", "Unknown site"),
    "a NUL in a key": (f"Pay,EU1,{CANARY}\0,{CANARY}", "API key: The key contains a character"),
    "a NUL in the name": (f"P\0y,EU1,{KEYS}", "Name: Remove the invisible character"),
    "no key": (f"Pay,EU1,{CANARY},", "Application key: Paste the key."),
    "no keys": ("Pay,EU1,,", "Paste an API key and an application key"),
    "a token as a key": (f"Pay,EU1,ddpat_{CANARY},{CANARY}", "This is an access token"),
    "a key as the name": (f"{CANARY}x,EU1,{KEYS}", "The name looks like a key."),
    "columns in another order": (f"{CANARY},{CANARY}y,Pay,EU1", "The name looks like a key."),
    "hex digits as the name": (f"{'0a' * 10},EU1,{KEYS}", "The name looks like a key."),
    "a token as the name": (f"ddpat_x,EU1,{KEYS}", "The name looks like a key."),
    "a key within the name": (f"Pay {CANARY},EU1,{KEYS}", "The name looks like a key."),
    "a long name": (f"{'x y' * 40},EU1,{KEYS}", "Name: Use at most 100 characters."),
}


@pytest.mark.parametrize(("bad", "says"), BAD_LINES.values(), ids=BAD_LINES.keys())
def test_a_bad_line_is_named_without_repeating_it_and_loses_no_other(bad: str, says: str):
    lines = parse_file(Secret("\n".join([HEADER, GOOD, bad, GOOD])))

    assert [(line.number, bool(line.problem)) for line in lines] == [
        (2, False),
        (3, True),
        (4, False),
    ]
    assert says in lines[1].problem
    assert lines[1].keys is None
    assert "canary" not in repr(lines[1])


def test_nothing_readable_is_left_in_a_line():
    [line] = parse_file(Secret(f"{HEADER}\n{GOOD}"))
    assert "a" * 32 not in repr(line)


def test_every_site_is_known_by_both_names():
    for site in DATADOG_SITES:
        for text in (site.name, site.site):
            [line] = parse_file(Secret(f"{HEADER}\nPay,{text},{'a' * 32},{'b' * 40}"))
            assert line.site == site.site


def test_the_longest_name_is_that_of_a_credential():
    [line] = parse_file(Secret(f"{HEADER}\n{'x y' * 33}z,EU1,{'a' * 32},{'b' * 40}"))
    assert len(line.name) == lifecycle.MAX_NAME_LENGTH
