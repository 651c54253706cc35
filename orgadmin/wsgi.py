"""The WSGI entry that orgadmin/web_server.py serves."""

import os

import django
from django.core.handlers.wsgi import WSGIHandler

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")
django.setup(set_prefix=False)

# Needs the settings.
from connections.web.middleware import Request  # noqa: E402


class Application(WSGIHandler):
    """Django's own application, whose requests can be made whatever their Content-Type says."""

    request_class = Request


application = Application()
