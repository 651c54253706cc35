"""Refuses uploaded files, except where a URL accepts one: see UploadMiddleware."""

from typing import Any, NoReturn

from django.core.exceptions import TooManyFilesSent
from django.core.files.uploadhandler import FileUploadHandler


class RefusingHandler(FileUploadHandler):
    """Refuses every file with 400, as soon as its part of the body begins."""

    def new_file(self, *args: Any, **kwargs: Any) -> NoReturn:
        """Refuse it."""
        raise TooManyFilesSent("This URL accepts no file.")
