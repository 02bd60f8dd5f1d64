"""Starting, watching and stopping a TorchServe that serves what `server.pack` built."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.torchserve import Server, ServerError

__all__ = ["Server", "ServerError"]


def __getattr__(name: str) -> Any:
    """`Server` and `ServerError`, imported when they are asked for: archives hold only what a worker needs of this."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from server import torchserve

    return getattr(torchserve, name)
