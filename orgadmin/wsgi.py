"""The WSGI entry that orgadmin/web_server.py serves."""

import os

from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "orgadmin.settings")

application = get_wsgi_application()
