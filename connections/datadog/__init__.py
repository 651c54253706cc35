"""Datadog and HTTP, and nothing of Django: the only package that talks to the network."""
