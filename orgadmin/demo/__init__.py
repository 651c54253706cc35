"""The demo: temporary data, a Datadog simulator, and people to sign in as."""
