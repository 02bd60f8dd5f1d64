"""The one error of this package, and how it names what a caller sent."""

_LONGEST = 60


class MediaError(ValueError):
    """No usable picture, array or video, or settings that cannot be met. The message is fit for a user."""


def shown(value: object) -> str:
    """`value` as an error names it: its first 60 characters at most."""
    try:
        text = repr(value)
    except ValueError:  # Python writes no number of more than 4300 digits
        return "a number of thousands of digits"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."
