"""The error of this package, and how errors quote what a caller sent."""

_LONGEST = 60


class MediaError(ValueError):
    """No usable picture, array or video, or settings that cannot be met. The message is written for the user."""


def shown(value: object) -> str:
    """`value` as an error message quotes it: at most its first 60 characters."""
    try:
        text = repr(value)
    except ValueError:  # Python converts no number of more than 4300 digits to text
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
