"""Who can do what, and what each person can see."""
