"""The local Datadog itself is held to its word."""
