"""The shapes of the icons, drawn with strokes on a grid of 16 × 16 units."""

from django.utils.safestring import SafeString

DOT = SafeString('<circle cx="8" cy="8" r="2.5" fill="currentColor"/>')
SHAPES = {
    "check": SafeString('<path d="m3 8.5 3.25 3.25L13 5"/>'),
    "cross": SafeString('<path d="m4 4 8 8m0-8-8 8"/>'),
    "question": SafeString(
        '<circle cx="8" cy="8" r="6.25"/>'
        '<path d="M6.2 6.3c.1-1 .8-1.6 1.8-1.6s1.8.6 1.8 1.6c0 1.2-1.8 1.3-1.8 2.6"/>'
        '<path d="M8 11.3v.01"/>'
    ),
    "clock": SafeString('<circle cx="8" cy="8" r="6.25"/><path d="M8 4.5V8l2.25 1.5"/>'),
    "people": SafeString(
        '<circle cx="6" cy="5.25" r="2.5"/>'
        '<path d="M1.75 13.25c0-2.4 1.8-4 4.25-4s4.25 1.6 4.25 4"/>'
        '<path d="M10.5 2.9a2.5 2.5 0 0 1 0 4.7M12 9.7c1.4.6 2.25 1.9 2.25 3.55"/>'
    ),
    "person": SafeString(
        '<circle cx="8" cy="5.25" r="2.75"/><path d="M3 13.75c0-2.7 2-4.5 5-4.5s5 1.8 5 4.5"/>'
    ),
    "minus": SafeString('<circle cx="8" cy="8" r="6.25"/><path d="M5 8h6"/>'),
    "warning": SafeString('<path d="M8 2 1.75 13.25h12.5z"/><path d="M8 6.5v3M8 11.4v.01"/>'),
    "info": SafeString('<circle cx="8" cy="8" r="6.25"/><path d="M8 7.4v3.6M8 5v.01"/>'),
    "arrow": SafeString('<path d="M2.5 8h11M9.5 4l4 4-4 4"/>'),
    "up": SafeString('<path d="M8 13V3M4 7l4-4 4 4"/>'),
    "down": SafeString('<path d="M8 3v10M4 9l4 4 4-4"/>'),
    "lock": SafeString(
        '<rect x="3" y="7" width="10" height="6.75" rx="1.25"/>'
        '<path d="M5.25 7V5a2.75 2.75 0 0 1 5.5 0v2"/>'
    ),
    "refresh": SafeString('<path d="M13.25 8a5.25 5.25 0 1 1-1.6-3.8M13.5 2v3h-3"/>'),
    "search": SafeString('<circle cx="7" cy="7" r="4.5"/><path d="m10.5 10.5 3.25 3.25"/>'),
    "send": SafeString('<path d="M14 2 7 9M14 2 9.5 14 7 9 2 6.5z"/>'),
    "eye": SafeString(
        '<path d="M1.5 8S3.75 3.75 8 3.75 14.5 8 14.5 8 12.25 12.25 8 12.25 1.5 8 1.5 8z"/>'
        '<circle cx="8" cy="8" r="1.75"/>'
    ),
    "copy": SafeString(
        '<rect x="5.5" y="5.5" width="8" height="8" rx="1.25"/><path d="M3.5 10.5h-1v-8h8v1"/>'
    ),
    "org": SafeString('<path d="M3.5 14V2.5h9V14M2 14h12M6.5 5.5h3M6.5 8.25h3M7 14v-3h2v3"/>'),
    "page": SafeString('<path d="M4 1.75h5.25L12.5 5v9.25H4zM9 2v3.25h3.25"/>'),
    "plus": SafeString('<path d="M8 3v10M3 8h10"/>'),
    "key": SafeString(
        '<circle cx="5" cy="11" r="2.75"/><path d="m7 9 6-6M10.5 5.5l2 2M12.5 3.5l1.25 1.25"/>'
    ),
    "download": SafeString('<path d="M8 2.5v7.75M4.75 7 8 10.25 11.25 7M2.75 13.25h10.5"/>'),
    "widen": SafeString('<path d="M1.75 8h12.5M4.75 5l-3 3 3 3M11.25 5l3 3-3 3"/>'),
    "narrow": SafeString(
        '<path d="M1.5 8H6M3.5 5.5 6 8l-2.5 2.5M14.5 8H10M12.5 5.5 10 8l2.5 2.5"/>'
    ),
    "rename": SafeString('<path d="M3 4.75V3h10v1.75M8 3v10M6 13h4"/>'),
}
