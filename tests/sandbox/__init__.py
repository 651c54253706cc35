"""Tests of the Datadog simulator."""
