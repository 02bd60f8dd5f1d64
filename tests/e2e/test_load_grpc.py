"""A large answer over gRPC's unary call, which once cost the server its decoder for good."""

from __future__ import annotations

import io

import numpy as np

import media
from eden_client.api.grpc_route import GrpcConnection
from eden_client.api.tokens import FixedToken
from eden_client.api.traffic import Traffic
from server import Server
from server.api import BINARY
from tests.e2e.servers import PREDICT, WORKFLOW, moving_frames


def test_large_answers_by_unary_calls_arrive_and_the_worker_stays(server: Server):
    workers = server.worker_pids("eden__dit_decoder")
    calls = GrpcConnection(f"127.0.0.1:{server.grpc_port}", FixedToken(server.token()), Traffic())
    try:
        for seed in range(3):
            body = media.encode_npy(moving_frames(4, 128, 160, seed=seed))
            ticket = calls.call(PREDICT[0].rpartition("/")[2], {"data": body}, 60)
            answer = calls.call(PREDICT[1].rpartition("/")[2], {"data": ticket}, 60)
            assert np.load(io.BytesIO(answer)).shape == (3, 128, 160, 3)  # 184 KB
            whole = server.api.call(WORKFLOW, data=body, headers=BINARY, timeout=60).content
            assert np.abs(np.load(io.BytesIO(whole)).astype(int) - np.load(io.BytesIO(answer))).max() <= 1
    finally:
        calls.close()
    assert server.worker_pids("eden__dit_decoder") == workers
