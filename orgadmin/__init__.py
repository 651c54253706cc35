"""The Django project: settings, addresses, the WSGI entry."""

__version__ = "0.1.0"
