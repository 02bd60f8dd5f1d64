"""Both nodes and the fused one as plain objects: no TorchServe, no Java; a small network of random numbers."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch

from eden import DitDecoder, Encoder
from eden.random_weights import write_random
from handoff import Handoff, HandoffSettings, open_handoff
from serving.admission import Admission
from serving.answer import Answer
from serving.backlog import Backlog
from serving.decode import DecodeService, Drawing
from serving.device_health import DeviceGuard
from serving.encode import ClipReader, EncodeService
from serving.expected_wait import ExpectedWait
from serving.fused import FusedService
from serving.limits import TokenLayout, clip_limits
from serving.regions import RegionFolder
from serving.request import Caller, Request
from serving.settings import Limits
from serving.telemetry import Silent

BATCH = 4


@dataclass
class Outbox:
    """Keeps what was sent ahead."""

    parts: defaultdict[int, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    finished: list[tuple[int, Answer]] = field(default_factory=list)
    """(index, answer) in the order in which calls were ended before their batch was done"""
    ends: bool = False
    """Whether calls can be ended so; what was asked for is kept in any case."""

    def send(self, index: int, body: bytes, content_type: str) -> None:
        self.parts[index].append(body)

    def ahead(self, index: int, answer: Answer) -> None:
        pass

    def finish(self, index: int, answer: Answer) -> bool:
        self.finished.append((index, answer))
        return self.ends


@dataclass
class Nodes:
    """What a server holds, called as it would call it."""

    encoder: EncodeService
    decoder: DecodeService
    fused: FusedService
    handoff: Handoff
    layout: TokenLayout

    def through(self, *requests: Request) -> list[Answer]:
        """As the workflow does: the encoder's answer is all that the decoder gets."""
        tickets = self.encoder.serve(requests)
        return self.decoder.serve(
            [
                Request(index, {"body": ticket.body}, request.headers, Caller.WORKFLOW)
                for index, (request, ticket) in enumerate(zip(requests, tickets, strict=True))
            ],
            Outbox(),
        )


@pytest.fixture(scope="session")
def networks(tmp_path_factory: pytest.TempPathFactory) -> tuple[Encoder, DitDecoder]:
    folder = tmp_path_factory.mktemp("weights")
    write_random(folder)
    return Encoder.load(folder), DitDecoder.load(folder)


@pytest.fixture
def make_nodes(networks: tuple[Encoder, DitDecoder], tmp_path: Path) -> Iterator[Callable[..., Nodes]]:
    """Makes nodes with these limits, and these settings of the hand-off; regions: where the nodes look for them."""
    opened: list[Handoff] = []
    pools = ThreadPoolExecutor(BATCH), ThreadPoolExecutor(2)

    def make(
        limits: Limits | None = None,
        window_bytes: int = 1 << 30,
        regions: RegionFolder | None = None,
        decoder_regions: RegionFolder | None = None,
        clock: Callable[[], float] = time.time,
        accept: Callable[[], bool] = lambda: True,
        hold: Callable[[], None] = lambda: None,
        **handoff: object,
    ) -> Nodes:
        encoder, decoder = networks
        settings = HandoffSettings(**{"kind": "in_process", "folder": tmp_path, "shared_folder": tmp_path} | handoff)
        opened.append(open_handoff(settings))
        layout = TokenLayout(encoder.config.hidden_dim, encoder.config.patch_size, encoder.dtype, settings.wire)
        reader = ClipReader(
            clip_limits(limits or Limits(), layout, settings.max_payload_bytes),
            encoder.config.patch_size,
            pools[1],
            regions=regions,
        )
        whole = clip_limits(limits or Limits(), layout, None)
        alone = ClipReader(whole, encoder.config.patch_size, pools[1], regions=regions)
        drawing = Drawing(decoder, *pools, Silent(), regions=decoder_regions or regions)
        backlog = Backlog(lambda: (0, 1), 256)
        wait = ExpectedWait(opened[-1].queue, BATCH, 5.0)
        guard = DeviceGuard(torch.device("cpu"))
        return Nodes(
            EncodeService(
                encoder,
                reader,
                Admission(BATCH, backlog, opened[-1], wait, accept),
                opened[-1],
                pools[0],
                Silent(),
                guard,
                clock=clock,
            ),
            DecodeService(drawing, opened[-1], Silent(), guard, hold, clock=clock),
            FusedService(
                encoder,
                drawing,
                alone,
                layout,
                Admission(BATCH, backlog, accept=accept),
                pools[0],
                Silent(),
                guard,
                window_bytes=window_bytes,
                clock=clock,
            ),
            opened[-1],
            layout,
        )

    yield make
    for each in opened:
        each.close()
    for pool in pools:
        pool.shutdown()


@pytest.fixture
def nodes(make_nodes: Callable[..., Nodes]) -> Nodes:
    return make_nodes()
