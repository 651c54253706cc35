"""Datadog simulator for the demo and the tests: real sockets, realistic responses, faults."""
