"""Locust against the fused model, as people run it."""

from __future__ import annotations

from tests.e2e.servers import TAKEN
from tests.e2e.test_load_scenarios import FUSED_USERS, assert_no_failure, locust, locust_until, rows


def test_the_fused_route_has_scenarios_of_its_own(both, tmp_path):
    """None of them calls the workflow, which this server has as well."""

    def drawn() -> set[str]:
        return {name for kind, name in rows(tmp_path) if kind == "FRAME"}

    options = ("--route", "fused", "-u", "4", "-r", "4", "--check-every", "1")
    run = locust_until(lambda: drawn() == set(FUSED_USERS.values()), both, *options, folder=tmp_path)
    assert_no_failure(run, tmp_path)
    assert drawn() == set(FUSED_USERS.values())
    assert {name.partition(" ")[0] for kind, name in rows(tmp_path) if kind == "POST"} == {"/predictions/eden_fused"}


def test_the_first_frame_of_the_fused_model_is_counted_when_it_comes(both, tmp_path):
    """And not with the last: the mean of all frames' times is more. How much more depends on the machine."""
    options = ("--route", "fused", "--tags", "fused", "--clip", str(TAKEN), "--frame-size", "256x320")
    assert_no_failure(locust(both, *options, "-t", "200s", "--enough", "40", folder=tmp_path), tmp_path)
    first, frame = (float(rows(tmp_path)[kind, "FusedUser"]["Average Response Time"]) for kind in ("FIRST", "FRAME"))
    assert first < frame
