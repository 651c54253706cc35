"""Signing in at an OpenID Connect provider. Knows no Django."""
