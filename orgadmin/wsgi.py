"""The WSGI application that orgadmin/web_server.py serves."""

import os

import django
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")
django.setup(set_prefix=False)

# These need the settings. The first one is loaded now, and not when the first request is sent,
# because `./run install` can replace packages while this process runs.
import connections.net.connection  # noqa: E402, F401
from connections.web.framework.middleware import Request  # noqa: E402


class Application(WSGIHandler):
    """Django's application with a request class that accepts any charset in Content-Type."""

    request_class = Request


application = Application()
