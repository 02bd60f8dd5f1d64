"""Clients as the command's options ask for them."""

from __future__ import annotations

import argparse
import os
from functools import partial

from eden_client.api.client import EdenClient
from eden_client.api.local import local_key_file
from eden_client.trace.recording import Trace


def servers(args: argparse.Namespace) -> tuple[str, ...]:
    """The addresses of --server, or the default one. Raises ValueError: several without --ray."""
    named = args.server or ("127.0.0.1:7070" if args.route == "grpc" else "http://127.0.0.1:8080")
    servers = tuple(each.strip() for each in named.split(",") if each.strip())
    if len(servers) != 1 and not args.ray:
        raise ValueError(f"--server {named}: several servers need --ray, whose nodes use them in turn")
    return servers


def connect(args: argparse.Namespace, server: str) -> partial[EdenClient]:
    """A function, plain data, that makes the client asked for in any process."""
    streaming = args.strategy == "streaming"
    return partial(
        EdenClient,
        server,
        token=args.token,
        key_file=args.key_file or (None if args.token else local_key_file(server)),
        management=args.management,
        route=args.route,
        decoder_server=args.decoder_server,
        decoder_token=args.decoder_token,
        decoder_key_file=args.decoder_key_file,
        decoder_management=args.decoder_management,
        ca_file=args.ca_file,
        transport=args.transport,
        seed=args.seed,
        priority=args.priority,
        timeout=args.timeout,
        patience=args.patience,
        wait_for_server=args.wait_for_server,
        window=args.window or (8 if streaming else 2),
        trace=Trace(os.environ.get("TRACEPARENT")) if args.trace else None,
    )
