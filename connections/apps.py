"""The Django application."""

from typing import Any

from django.apps import AppConfig


class ConnectionsConfig(AppConfig):
    name = "connections"
    verbose_name = "Org Admin"

    def ready(self) -> None:
        from django.contrib.auth.signals import user_logged_in

        # Sets the session's sign-in time, however the person signed in.
        user_logged_in.connect(_stamp_sign_in, dispatch_uid="reauthentication")


def _stamp_sign_in(**sign_in: Any) -> None:
    # Imported here because the passkey libraries would slow down the start of every command.
    from connections.web.framework.reauthentication import stamp_sign_in

    stamp_sign_in(**sign_in)
