"""A person's requests without a browser: reads the forms of a page and submits them."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Any
from uuid import UUID

from django.http.response import HttpResponseBase
from django.test import Client
from django.utils import timezone

from connections.access.actor import WORKER, command_actor
from connections.core.datadog_keys import KeyPair
from connections.core.secret import Secret
from connections.inventory import fetching, storing
from connections.models import ApprovalPolicy, Credential, Deletion
from connections.operations import due
from sandbox.entities import Connection
from sandbox.entities import KeyPair as SandboxKeyPair
from sandbox.server import SandboxServer
from tests.support.fake_datadog import FakeDatadog
from tests.support.first_sync import is_nothing_known, store_first_sync
from tests.support.sandbox import key_pair_of

REASON = "no longer needed since the March carve-out"
HTMX = {"HX-Request": "true"}


def store_credential(
    sandbox: SandboxServer,
    org_name: str,
    *,
    policy: ApprovalPolicy = ApprovalPolicy.NONE,
    is_read: bool = True,
    pair: SandboxKeyPair | None = None,
    name: str = "",
) -> Credential:
    """Store a verified credential of an org of the sandbox, and sync its connections.

    `pair` is given where the org has several, or its name isn't unique; `name` is the credential's.
    """
    pair = pair or key_pair_of(sandbox.world, org_name)
    org = pair.org
    now = timezone.now()
    credential = Credential(
        name=name or org_name,
        site=org.site.name,
        policy=policy,
        org_id=org.id,
        org_name=org.name,
        key_owner_id=pair.user.id,
        key_owner_name=pair.user.name,
        key_owner_is_service_account=pair.user.service_account,
        keys_set_at=now,
        keys_set_by_name="Margaret",
        verified_at=now,
        created_at=now,
        created_by_name="Margaret",
    )
    credential.seal_keys(
        KeyPair(api_key=Secret(pair.api_key), application_key=Secret(pair.application_key))
    )
    credential.save()
    if is_read:
        # Without sockets, it takes half the time.
        fake = FakeDatadog(sandbox.world, pair=pair)
        result = fetching.fetch(credential=credential, client=fake)
        if result.is_complete and is_nothing_known():
            store_first_sync(result)
        else:
            storing.store(result, actor=command_actor())
    return credential


@dataclass(kw_only=True)
class Form:
    """One form of a page, as a browser would send it untouched."""

    attributes: dict[str, str]
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def action(self) -> str:
        return self.attributes.get("action", "")


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.forms: list[Form] = []
        self.outcome: dict[str, str] = {}
        self.watch: dict[str, str] = {}
        self.links: list[tuple[str, str]] = []
        self.text: list[str] = []
        self._textarea = ""
        self._is_open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if tag == "form":
            self.forms.append(Form(attributes=given))
            self._is_open = True
        elif tag == "a":
            self.links.append((given.get("href", ""), ""))
        elif given.get("id") == "outcome":
            self.outcome = given
        elif given.get("id") == "watch":
            self.watch = given
        if not self._is_open or not given.get("name"):
            return
        if tag == "textarea":
            self._textarea = given["name"]
            self.forms[-1].fields[self._textarea] = ""
        elif tag == "input" and (given.get("type") != "checkbox" or "checked" in given):
            self.forms[-1].fields[given["name"]] = given.get("value", "")

    def handle_endtag(self, tag: str) -> None:
        if tag == "textarea":
            self._textarea = ""
        elif tag == "form":
            self._is_open = False

    def handle_data(self, data: str) -> None:
        if self._textarea:
            self.forms[-1].fields[self._textarea] += data.removeprefix("\n")
        if self.links and self.lasttag == "a":
            href, words = self.links[-1]
            self.links[-1] = (href, words + data)
        self.text.append(data)


@dataclass(frozen=True, kw_only=True)
class Page:
    """The parts of a response that tests check."""

    status: int
    html: str
    text: str
    forms: list[Form]
    outcome: dict[str, str]
    # The attributes of the element that polls; empty when nothing polls.
    watch: dict[str, str]
    links: list[tuple[str, str]]

    def link(self, words: str) -> str:
        """The target of the one link with this text."""
        [href] = [href for href, text in self.links if text.strip() == words]
        return href

    def form_to(self, ending: str) -> Form:
        """The one form whose action ends with this."""
        [form] = [form for form in self.forms if form.action.endswith(ending)]
        return form

    def has_form_to(self, ending: str) -> bool:
        return any(form.action.endswith(ending) for form in self.forms)


def read(response: HttpResponseBase) -> Page:
    """Parse a response; whitespace in its text is collapsed."""
    reader = _Reader()
    html = response.getvalue().decode()
    reader.feed(html)
    return Page(
        status=response.status_code,
        html=html,
        text=re.sub(r"\s+", " ", " ".join(reader.text)),
        # One in a dialog only closes it.
        forms=[form for form in reader.forms if form.attributes.get("method") != "dialog"],
        outcome=reader.outcome,
        watch=reader.watch,
        links=reader.links,
    )


@dataclass(frozen=True, kw_only=True)
class Requester:
    """A signed-in person, a credential, and the connection to delete."""

    client: Client
    credential: Credential
    connection: Connection

    def confirmation_page(self, **query: str) -> Page:
        """Open the confirmation page."""
        query_string = {"credential": str(self.credential.pk), "connection_id": self.connection.id}
        return read(self.client.get("/deletions/new/", query_string | query))

    def typed(self, **typed: str) -> dict[str, str]:
        """The form of a fresh page, filled in; `typed` overrides fields."""
        return self.fill(self.confirmation_page(), **typed)

    def fill(self, page: Page, **typed: str) -> dict[str, str]:
        """The form of a confirmation page, filled in; `typed` overrides fields."""
        form = page.form_to("/deletions/new/")
        filled = {"reason": REASON}
        if "data-confirm" in form.attributes:
            filled["confirmation"] = form.attributes["data-confirm"]
        return form.fields | filled | typed

    def delete(self, **typed: str) -> Page:
        """Open the page, fill in, submit, and follow the redirect to the deletion's page."""
        return self.follow(self.client.post("/deletions/new/", self.typed(**typed)))

    def delete_and_verify(self, **typed: str) -> Page:
        """`delete`, and the deletion's page after the worker has verified the response."""
        self.delete(**typed)
        return self.verify()

    def verify(self) -> Page:
        """The deletion's page after the worker has done what is due."""
        due.run_due(actor=WORKER)
        return self.open(f"/deletions/{self.deletion().pk}/")

    def follow(self, response: HttpResponseBase) -> Page:
        """Follow the redirect of a response; without one, the response is the page."""
        if response.status_code != 303:
            return read(response)
        return self.open(response["Location"])

    def open(self, url: str) -> Page:
        """Open a URL."""
        return read(self.client.get(url))

    def press(self, page: Page, ending: str, **typed: str) -> Page:
        """Submit one of the forms on the deletion's page and follow the redirect."""
        form = page.form_to(ending)
        return self.follow(self.client.post(form.action, form.fields | typed))

    def confirm(self, page: Page, **typed: str) -> Page:
        """Type the confirmation text that the form names, and submit."""
        text = page.form_to("/execute/").attributes["data-confirm"]
        return self.press(page, "/execute/", **({"confirmation": text} | typed))

    def deletion(self) -> Deletion:
        """The one deletion that is stored."""
        return Deletion.objects.get(connection_id=UUID(self.connection.id))


def post_htmx(
    client: Client, url: str, data: Mapping[str, Any], *, target: str
) -> HttpResponseBase:
    """Submit a form as htmx does."""
    headers = HTMX | {"HX-Target": target}
    response: HttpResponseBase = client.post(url, data, headers=headers)
    return response
