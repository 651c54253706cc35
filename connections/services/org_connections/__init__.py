"""What Datadog says there is, what was seen of it over time, and what is protected."""
