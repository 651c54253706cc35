"""How long ago something was, in words; always shown beside the exact time."""

from datetime import datetime, timedelta


def age_words(at: datetime, *, now: datetime) -> str:
    """ "just now", "40 s ago", "3 min ago", "5 h ago", "12 days ago"; both times are aware."""
    age = now - at
    seconds = int(age.total_seconds())
    if seconds < 5:
        return "just now"
    if seconds < 60:
        return f"{seconds} s ago"
    if age < timedelta(hours=1):
        return f"{seconds // 60} min ago"
    if age < timedelta(days=2):
        return f"{seconds // 3600} h ago"
    return f"{age.days} days ago"
