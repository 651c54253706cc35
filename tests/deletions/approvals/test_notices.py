"""Who is notified of break glass."""

import pytest
from pytest_django import Settings

from connections.models import Deletion, Notification, Person
from tests.deletions.approvals.test_break_glass import break_glass_user, use_break_glass

__all__ = ["break_glass_user"]

pytestmark = pytest.mark.django_db


def test_approvers_administrators_and_the_requester_are_notified(
    requested: Deletion,
    break_glass_user: Person,
    linus: Person,
    barbara: Person,
    root: Person,
    victor: Person,
    settings: Settings,
):
    settings.HAS_MAIL = True
    use_break_glass(requested, break_glass_user)
    notifications = Notification.objects.filter(
        code="deletion.break_glass_used", channel=Notification.Channel.MAIL
    )
    names = set(notifications.values_list("person__username", flat=True))
    assert names == {"ada", "linus", "barbara", "root"}
