"""TorchServe glue: a request into calls of `eden`, `handoff` and `media`, their results into an answer."""
