"""Keys of Datadog orgs: storing, importing, checking, and who can use them."""
