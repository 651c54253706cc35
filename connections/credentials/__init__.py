"""Key pairs of Datadog orgs: storing, checking, and who can use them."""
