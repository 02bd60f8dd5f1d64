"""Starting, watching and stopping a TorchServe that serves EDEN; it knows nothing of the model."""

from server.torchserve import Server, ServerError

__all__ = ["Server", "ServerError"]
