"""Access requests: list, the form that requests one, and the page of one."""
