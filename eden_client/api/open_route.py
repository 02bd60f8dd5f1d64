"""Makes the route that a client's options name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, get_args

from eden_client.api.auto_route import AutoRoute
from eden_client.api.busy_route import BusyRoute
from eden_client.api.carriers import BodyCarrier, Carrier, RegionCarrier
from eden_client.api.fallback_route import FallbackRoute
from eden_client.api.http_connection import HttpConnection
from eden_client.api.planes_route import PlanesRoute
from eden_client.api.regions import RegionPool
from eden_client.api.routes import (
    FUSED_PATH,
    LIVE_PATH,
    WORKFLOW_PATH,
    ChainRoute,
    FusedRoute,
    Route,
    Terms,
    WorkflowRoute,
)
from eden_client.api.tokens import Token
from eden_client.api.traffic import Traffic
from eden_client.api.transport import BodyFormat, Transport

RouteName = Literal["auto", "workflow", "chain", "grpc", "fused"]
ROUTES: tuple[RouteName, ...] = get_args(RouteName)
Server = tuple[str, Token]
"""A server's address, and the token for it."""


def open_route(
    name: RouteName,
    encoder: Server,
    decoder: Server | None,
    authorities: Path | None,
    transport: Transport,
    regions: RegionPool | None,
    terms: Terms,
    traffic: Traffic,
    connections: int,
) -> Route:
    """The route `name` through one server, or two.

    authorities: file of certificates to trust; None: the default ones. regions: None: frames travel in bodies.
    Raises ValueError: options that do not go together, or a package that is not installed.
    """
    in_body: BodyFormat = "png" if transport == "png" else "npy"
    if name == "grpc":
        if transport == "region":
            raise ValueError("shared memory regions are for HTTP: the route grpc takes the transports npy and png")
        try:  # gRPC is slow to import, rarely wanted, and an extra of the distribution
            from eden_client.api.grpc_route import GrpcConnection, GrpcRoute
        except ModuleNotFoundError as error:
            raise ValueError(
                f"the route grpc needs {error.name}: pip install 'path/to/checkout/packaging/eden-client[grpc]', or "
                "beside the server 'path/to/checkout[client]'"
            ) from error

        first, second = (GrpcConnection(*server, traffic, authorities) for server in (encoder, decoder or encoder))
        return PlanesRoute(GrpcRoute(first, second, in_body, terms, traffic), takes_planes(name, transport))
    if decoder and name not in ("auto", "chain"):
        raise ValueError(f"the route {name} is through one server: two need the route chain or grpc")

    def sending(make: Callable[[Carrier], Route]) -> Route:
        by_bodies = PlanesRoute(make(BodyCarrier(in_body)), takes_planes(name, transport))
        if regions is None:
            return by_bodies
        by_regions = PlanesRoute(make(RegionCarrier(regions)))
        return by_regions if transport == "region" else FallbackRoute(by_regions, by_bodies)

    server = HttpConnection(*encoder, traffic, connections, authorities)
    if decoder or name == "chain":
        other = HttpConnection(*(decoder or encoder), traffic, connections, authorities)
        return sending(lambda carrier: ChainRoute(server, other, carrier, terms, traffic))
    fused = sending(lambda carrier: FusedRoute(server, carrier, terms, traffic))
    if name == "fused":
        return fused
    workflow = sending(lambda carrier: WorkflowRoute(server, carrier, terms, traffic))
    if name == "workflow":
        return workflow
    chain = sending(lambda carrier: ChainRoute(server, server, carrier, terms, traffic))
    offers: dict[str, Route] = {FUSED_PATH: fused, WORKFLOW_PATH: BusyRoute(workflow, chain)}
    if terms.priority == "live":
        offers = {LIVE_PATH: sending(lambda carrier: FusedRoute(server, carrier, terms, traffic, LIVE_PATH))} | offers
    return AutoRoute(server, offers)


def takes_planes(name: RouteName, transport: Transport) -> bool:
    """Whether planes can be sent as they are; for gRPC and PNG they are converted to RGB here."""
    return name != "grpc" and transport != "png"
