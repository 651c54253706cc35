"""The page about notifications, for administrators."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import messages
from django.core.exceptions import BadRequest
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse

from connections.audit.texts import brief_sentence
from connections.core.errors import ConflictError
from connections.core.text import pluralize
from connections.models import Notification
from connections.notifications import delivery, delivery_log
from connections.notifications.delivery_log import DeliveryLogEntry
from connections.notifications.titles import notification_title
from connections.web.badges import label_of_notification
from connections.web.framework import lists
from connections.web.framework.addresses import subject_url
from connections.web.framework.http import SeeOther, actor_of
from connections.web.framework.person_limits import limited


class NotificationFilters(forms.Form):
    """The filter of the delivery log, from the query string."""

    state = forms.ChoiceField(
        label="Status",
        choices=[(state.value, label_of_notification(state)) for state in Notification.State],
        required=False,
    )


@dataclass(frozen=True, kw_only=True)
class NotificationRow:
    """One row of the delivery log."""

    notification: Notification
    title: str
    sentence: str
    url: str
    to: str


def notification_list(request: HttpRequest) -> HttpResponse:
    """The destinations and the delivery log."""
    return _page(request)


@limited("notices", per_minute=10)
def notification_test(request: HttpRequest) -> HttpResponse:
    """Send a test notification to one destination and show the result."""
    actor = actor_of(request)
    try:
        notification = delivery_log.send_test(actor=actor, key=request.POST.get("destination", ""))
    except ConflictError as error:
        return _page(request, status=409, problem=str(error))
    return _page(request, tested=notification)


def notification_retry(request: HttpRequest, pk: UUID) -> HttpResponse:
    """Retry the failed notifications of one destination."""
    actor = actor_of(request)
    notification = get_object_or_404(Notification, pk=pk)
    try:
        count = delivery.retry(actor=actor, notification=notification)
    except ConflictError as error:
        return _page(request, status=409, problem=str(error))
    messages.success(
        request, f"{pluralize(count, 'notification')} queued again. A running worker sends them."
    )
    return SeeOther(reverse("notification-list"))


def _page(request: HttpRequest, *, status: int = 200, **extra: Any) -> HttpResponse:
    actor, form = actor_of(request), NotificationFilters(request.GET)
    form.is_valid()
    after = lists.parse_after(request, UUID)
    try:
        page = delivery_log.get_log_page(
            actor=actor, state=form.cleaned_data.get("state", ""), after=after
        )
    except Notification.DoesNotExist:
        raise BadRequest("The page in this address doesn't exist.") from None
    listed = lists.as_page_request(request, path=reverse("notification-list"), query=request.GET)
    context = {
        "destinations": delivery_log.count_by_destination(actor=actor),
        "rows": [] if form.errors else [_row(logged) for logged in page.rows],
        "bar": lists.filter_bar(listed, form),
        **lists.cursor_links(listed, page.next),
        "foot": f"Kept for {delivery.RETENTION.days} days. Audit events are kept permanently.",
        **extra,
    }
    return render(request, "notifications/list.html", context, status=status)


def _row(logged: DeliveryLogEntry) -> NotificationRow:
    notification, event = logged.notification, logged.event
    details = event.details if event else {}
    return NotificationRow(
        notification=notification,
        title=notification_title(notification.code, details=details),
        sentence=brief_sentence(event) if event else "",
        url=subject_url(notification.subject_type, notification.subject_id),
        to=_recipient(logged),
    )


def _recipient(logged: DeliveryLogEntry) -> str:
    notification = logged.notification
    if notification.person is not None:
        return notification.person.display_name
    if notification.address_key:
        return logged.address or "An address no longer configured"
    return Notification.Channel(notification.channel).label
