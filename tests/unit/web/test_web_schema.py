"""The OpenAPI document is true: what it says of requests and answers is what the service does."""

from __future__ import annotations

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.web.services import PATIENCE
from web.openapi import document

pytestmark = pytest.mark.slow

CHECKS = [
    status_code_conformance,  # 500 is described nowhere; 503 is, where the EDEN server is asked
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
SCHEMA = schemathesis.openapi.from_dict(document(with_token=False))
ENDLESS = "/v1/events"
OPERATIONS = [each.ok() for each in SCHEMA.get_all_operations() if each.ok().path != ENDLESS]


@pytest.fixture(scope="module")
def ids(idle, film):
    """Of a video and an upload that are there."""
    video = idle.send_film(film)
    return {"videos": video["id"], "uploads": video["upload"]}


def test_every_path_is_described_and_no_other(idle):
    described = {(method.upper(), path) for path, item in document(False)["paths"].items() for method in item}
    methods = ("GET", "HEAD", "OPTIONS", "POST", "PATCH", "DELETE")
    service = idle.get("/openapi.json").json()
    assert service == document(False)
    served = {
        (method, path)
        for path in service["paths"]
        for method in methods
        if path != ENDLESS
        and idle.request(method, path.format(id="0" * 32, picture="first", number=0)).status_code != 405
    }
    told = {each for each in described if each[0] in methods and each[1] != ENDLESS}
    heads = {("HEAD", path) for method, path in told if method == "GET"}  # which HTTP has with every GET
    post = {("POST", "/v1/uploads/{id}")}  # with X-HTTP-Method-Override
    assert told <= served <= told | heads | post


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda each: f"{each.method.upper()} {each.path}")
def test_it_does_what_it_says(idle, ids, operation):
    def validate(case):
        case.call_and_validate(base_url=idle.url, session=session, checks=CHECKS, timeout=PATIENCE)

    @settings(max_examples=8, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def check(case):
        validate(case)
        if case.path_parameters and case.method.upper() != "DELETE":
            case.path_parameters["id"] = ids[case.path.split("/")[2]]
            validate(case)

    with requests.Session() as session:
        session.trust_env = False
        session.headers["Connection"] = "close"
        check()
