"""What every template has without loading it: tags, filters and variables."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any

from django import template
from django.conf import settings
from django.http import HttpRequest
from django.template import RequestContext
from django.template.base import Parser, Token, token_kwargs
from django.template.loader import render_to_string
from django.template.loader_tags import BLOCK_CONTEXT_KEY
from django.utils import timezone
from django.utils.functional import SimpleLazyObject
from django.utils.html import format_html
from django.utils.safestring import SafeString

from connections.access_requests.status import access_status_at
from connections.agreements.agreed import NotAgreed
from connections.batches.texts import batch_origin_text
from connections.change_requests.guards import find_hold
from connections.core.data_types import DATA_TYPES, in_order
from connections.core.own_address import own_origin
from connections.core.sites import site_label, site_name
from connections.core.text import format_age, format_limit, format_relative, pluralize
from connections.core.tickets import ticket_url
from connections.deletions.status import status_at
from connections.models import (
    AccessRequest,
    Credential,
    Deletion,
    Notification,
    Person,
    ProviderAccount,
    RequestKind,
    Sync,
)
from connections.people import provider_accounts
from connections.people.api_tokens import can_hold_tokens
from connections.web import badges
from connections.web.agreed import AgreedView
from connections.web.badges import Badge
from connections.web.framework import lists
from connections.web.framework.addresses import org_url
from connections.web.framework.http import signed_in_person, time_of
from connections.web.framework.limit_texts import LIMITS
from connections.web.framework.reauthentication import prompt_for
from connections.web.icons import DOT, SHAPES
from connections.web.overview.navigation import navigation_of
from connections.web.people import single_sign_on
from connections.web.people.account import THEMES

register = template.Library()
register.filter("batch_origin", batch_origin_text)
register.filter("org_url", org_url)
register.filter("quantity", pluralize)
register.filter("seconds", lambda seconds: format_limit(timedelta(seconds=seconds)))
register.filter("site_label", site_label)
register.filter("site_name", site_name)
register.filter("ticket_url", ticket_url)


@register.simple_tag(takes_context=True)
def badge(
    context: RequestContext,
    about: Deletion | AccessRequest | Notification | Credential | Person | Badge,
) -> SafeString:
    """The badge of one of these objects, or a badge that was already chosen."""
    match about:
        case Deletion():
            status = status_at(about, now=time_of(context.request))
            chosen = badges.deletion_badge(about, status=status)
        case AccessRequest():
            access_status = access_status_at(about, now=time_of(context.request))
            chosen = badges.access_request_badge(about, status=access_status)
        case Notification():
            chosen = badges.notification_badge(about)
        case Credential():
            chosen = badges.credential_badge(about)
        case Person():
            chosen = badges.person_badge(about)
        case _:
            chosen = about
    return _rendered_badge(chosen)


@register.simple_tag(takes_context=True)
def page_title(context: RequestContext) -> str:
    """What the block page_title of the page says, for a second place on the page."""
    rendered: str = (
        context.render_context[BLOCK_CONTEXT_KEY].get_block("page_title").render(context)
    )
    return rendered


@register.filter
def mark(text: str, words: list[str]) -> list[tuple[str, bool]]:
    """The text in pieces, each with whether it is one of these words."""
    if not words:
        return [(text, False)]
    # Longest first, because of two alternatives, the first one that matches counts.
    pattern = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
    pieces = re.split(f"({pattern})", text, flags=re.IGNORECASE)
    return [(piece, bool(number % 2)) for number, piece in enumerate(pieces) if piece]


@register.simple_tag
def sync_badge(sync: Sync | None) -> SafeString:
    """The badge of a credential's newest finished sync. None if there is none."""
    return _rendered_badge(badges.sync_badge(sync))


@register.simple_tag
def flag(name: str) -> SafeString:
    """The badge of a flag next to a deletion's status. Takes a key of badges.FLAGS."""
    return _rendered_badge(badges.FLAGS[name], tint=True)


# A list repeats a few badges and data types in a hundred rows.
@lru_cache(maxsize=500)
def _rendered_badge(status: Badge, *, tint: bool = False) -> SafeString:
    context = asdict(status) | {"tint": tint}
    return SafeString(render_to_string("components/status/badge.html", context).strip())


@register.simple_tag
@lru_cache
def icon(name: str) -> SafeString:
    """The icon with this name: `components/status/icon.html`, rendered once per name."""
    return SafeString(render_to_string("components/status/icon.html", {"name": name}).strip())


@register.filter
def icon_shape(name: str) -> SafeString:
    """The shape of the icon with this name. A dot if there is no such icon."""
    return SHAPES.get(name, DOT)


@register.filter
def ordered_types(types: Iterable[str] | None) -> list[str]:
    """The data types in their fixed order. None for an argument that a template lacks."""
    return in_order(types or ())


@register.filter
def ago(at: datetime, now: datetime) -> str:
    """How long ago that was: "3 min ago"."""
    return format_age(at, now=now)


@register.simple_tag
def data_types(
    types: Sequence[str],
    marked: Sequence[str] = (),
    word: str = "added",
    removed: Sequence[str] = (),
) -> SafeString:
    """The data types of a connection, each known one at a fixed position.

    Those that are `marked` are outlined; `word` says why to screen readers. Those that were
    `removed` are crossed out.
    """
    return _rendered_types(tuple(types), tuple(marked), word, tuple(removed))


@register.simple_tag
def requested_types(access_request: AccessRequest) -> SafeString:
    """The data types that an access request asks for, and those that a change adds and removes."""
    after, before = access_request.types_after, access_request.types_after
    if access_request.kind == RequestKind.CHANGE:
        before = access_request.connection_types
    added = [kind for kind in after if kind not in before]
    return data_types(after, added, removed=[kind for kind in before if kind not in after])


@lru_cache(maxsize=500)
def _rendered_types(
    types: tuple[str, ...], marked: tuple[str, ...], word: str, removed: tuple[str, ...]
) -> SafeString:
    types = (*types, *removed)
    context = {
        "known": [(kind, kind in types) for kind in DATA_TYPES],
        "removed": removed,
        "marked": marked,
        "word": word,
        "others": [kind for kind in types if kind not in DATA_TYPES],
    }
    return SafeString(render_to_string("components/connections/data_types.html", context).strip())


@register.simple_tag
def agreed_owner(agreed: AgreedView) -> SafeString:
    """Who answers for the access of a connection, and what is wrong with the agreement."""
    return _rendered_owner(agreed.owner, tuple(agreed.flags), tuple(agreed.wider))


@lru_cache(maxsize=500)
def _rendered_owner(owner: str, flags: tuple[str, ...], wider: tuple[str, ...]) -> SafeString:
    problems = {name: badges.AGREEMENT_REASONS[NotAgreed[name]] for name in flags}
    context = {"owner": owner, "flags": problems, "wider": wider}
    return SafeString(render_to_string("components/connections/owner.html", context).strip())


@register.simple_tag
def agreed_end(agreed: AgreedView) -> SafeString:
    """The last day of the agreement about a connection; empty without one."""
    if agreed.agreement is None:
        return SafeString("")
    ends_on = agreed.agreement.ends_on
    return _rendered_end(
        ends_on, agreed.end, agreed.is_end_urgent, NotAgreed.ENDED.name in agreed.flags
    )


@lru_cache(maxsize=500)
def _rendered_end(ends_on: date | None, text: str, is_urgent: bool, has_ended: bool) -> SafeString:
    if ends_on is None:
        return SafeString("")
    return format_html(
        '<span title="{}"{}>{}{}</span>',
        ends_on.isoformat(),
        SafeString(' class="exception"') if is_urgent else "",
        SafeString('<span class="sr-only">ended </span>') if has_ended else "",
        text,
    )


@register.simple_tag
def relative_time(at: datetime) -> SafeString:
    """A `<time>` element: "3 min ago" or "16 Nov 2026", with the exact time in UTC as its title."""
    # A page can have hundreds, and nothing in them needs escaping.
    exact = at.astimezone(UTC).isoformat(" ", "seconds").removesuffix("+00:00")
    relative = format_relative(at, now=timezone.now())
    return SafeString(
        f'<time datetime="{exact.replace(" ", "T")}Z" title="{exact} UTC">{relative}</time>'
    )


@register.simple_tag
def limit(name: str) -> str:
    """A limit by its name in LIMITS: "24 hours"."""
    return LIMITS[name]


class _Heading(template.Node):
    """The heading of a column, where its cell is written. `list_table` renders it."""

    def __init__(self, parser: Parser, token: Token) -> None:
        options = [f"label={token.split_contents()[1]}", *token.split_contents()[2:]]
        self.options = token_kwargs(options, parser)

    def render(self, context: template.Context) -> SafeString:
        return SafeString("")

    def column(self, context: template.Context, *, sort: str) -> lists.Column | None:
        """The column in a list that is sorted by `sort`. None if the list leaves it out."""
        options = {name: value.resolve(context) for name, value in self.options.items()}
        name = options.pop("sort", "")
        if not options.pop("when", True):
            return None
        if name and sort:
            request = context.request  # type: ignore[attr-defined]
            return lists.sortable_column(request, name=name, sort=sort, **options)
        return lists.Column(**options)


class _ListTable(template.Node):
    """A table with the rows and headings that the tag contains."""

    def __init__(self, parser: Parser, token: Token) -> None:
        self.options = token_kwargs(token.split_contents()[1:], parser)
        self.nodelist = parser.parse(("endlist_table",))
        parser.delete_first_token()

    def render(self, context: template.Context) -> SafeString:
        options = {name: value.resolve(context) for name, value in self.options.items()}
        sort = options.pop("sort", "")
        columns = [
            column
            for node in self.nodelist.get_nodes_by_type(_Heading)
            if isinstance(node, _Heading) and (column := node.column(context, sort=sort))
        ]
        with context.push(columns=columns):
            rows = self.nodelist.render(context)
        # The indentation of the templates, which no browser shows: 2 to 4 % of a compressed list.
        rows = SafeString(re.sub(r">\s*\n\s*<", ">\n<", rows))
        options |= {"columns": columns, "rows": rows}
        return render_to_string("components/lists/table.html", options)


# {% heading "Created" css="cell-time" sort="created" when=has_times %}, before the column's cell.
# Only the label is required.
register.tag("heading", _Heading)
# {% list_table caption="Orgs" css="list-orgs" sort=sort %} rows {% endlist_table %}
register.tag("list_table", _ListTable)


@register.filter
def number(value: int) -> str:
    """ "1,042". Use `quantity` for "1,042 events"."""
    return f"{value:,}"


def page_context(request: HttpRequest) -> dict[str, Any]:
    """The variables. They are lazy: none queries the database until a template uses it."""
    return {
        "theme": _theme(request),
        # The hold that is on.
        "hold": SimpleLazyObject(find_hold),
        "nav": SimpleLazyObject(lambda: navigation_of(request)),
        "signed_in_person": SimpleLazyObject(lambda: signed_in_person(request)),
        "can_have_tokens": SimpleLazyObject(lambda: _can_have_tokens(signed_in_person(request))),
        "role_names": SimpleLazyObject(lambda: _role_names(signed_in_person(request))),
        "reauth_prompt": SimpleLazyObject(lambda: prompt_for(request)),
        "is_demo": settings.IS_DEMO,
        "has_mail": settings.HAS_MAIL,
        "own_origin": SimpleLazyObject(lambda: own_origin(request)),
        "is_unclaimed": SimpleLazyObject(lambda: not Person.objects.exists()),
        "provider_name": SimpleLazyObject(single_sign_on.provider_name),
        "is_sso_only": settings.SSO_ONLY,
        "provider_account": SimpleLazyObject(lambda: _provider_account(signed_in_person(request))),
    }


def _theme(request: HttpRequest) -> str:
    theme = request.COOKIES.get("theme", "")
    return theme if theme in THEMES else THEMES[0]


def _provider_account(person: Person | None) -> ProviderAccount | None:
    if person is None:
        return None
    return provider_accounts.find_account(person=person, issuer=settings.OIDC_ISSUER)


def _can_have_tokens(person: Person | None) -> bool:
    return person is not None and can_hold_tokens(person)


def _role_names(person: Person | None) -> str:
    if person is None:
        return ""
    if person.is_superuser:
        return "Administrator"
    return ", ".join(sorted(role.value for role in person.roles)) or "No role yet"
