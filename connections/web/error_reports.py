"""What Django's own error pages and mails may show."""

from typing import Any

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class HideKeysFilter(SafeExceptionReporterFilter):
    """Django shows everything that was posted while DEBUG is on; a key is never shown."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Always: also while DEBUG is on."""
        return True

    def get_post_parameters(self, request: HttpRequest | None) -> dict[str, Any]:
        """What was posted, without any field whose name says key, pass or token."""
        posted: dict[str, Any] = super().get_post_parameters(request)
        return {name: self.cleanse_setting(name, value) for name, value in posted.items()}
