"""A local Datadog for the demo and the tests: real sockets, real answers, faults on request."""
