"""Packs models for TorchServe, and starts, watches and stops the server."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from server.torchserve import Server, ServerError

__all__ = ["Server", "ServerError"]


def __getattr__(name: str) -> Any:
    """Import `Server` and `ServerError` on first use: archives hold only the modules that a worker needs."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from server import torchserve

    return getattr(torchserve, name)
