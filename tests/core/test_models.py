"""What every model has in common."""

from django.apps import apps
from django.db.models import DateTimeField
from django.utils import timezone


def test_every_row_can_be_shown_as_text():
    now = timezone.now()
    for model in apps.get_app_config("connections").get_models():
        times = [each.name for each in model._meta.fields if isinstance(each, DateTimeField)]
        assert isinstance(str(model(**dict.fromkeys(times, now))), str)
