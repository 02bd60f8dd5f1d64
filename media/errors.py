"""The one error of this package."""


class MediaError(ValueError):
    """No usable picture, array or video, or settings that cannot be met. The message is fit for a user."""
