"""The Datadog API client: requests, response parsing and results. Does not use Django."""
