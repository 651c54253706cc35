"""What Django's own error pages and mails may show."""

from django.http import HttpRequest
from django.views.debug import SafeExceptionReporterFilter


class HideKeysFilter(SafeExceptionReporterFilter):
    """Django shows everything that was posted while DEBUG is on; a key is never shown."""

    def is_active(self, request: HttpRequest | None) -> bool:
        """Always: also while DEBUG is on."""
        return True
