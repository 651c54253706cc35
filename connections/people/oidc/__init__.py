"""OpenID Connect sign-in, without Django."""
