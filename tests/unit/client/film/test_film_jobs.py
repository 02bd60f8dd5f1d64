"""A film's plan as jobs: complete for each segment that has to be made, and nothing for those that are done."""

from __future__ import annotations

from fractions import Fraction

import pytest

from eden_client.film.jobs import Planner
from eden_client.film.plan.segmentation import Segmentation
from eden_client.film.plan.timeline import Multiply, plan
from eden_client.film.plan.transitions import classify_transitions
from eden_client.film.read.film import Picture
from tests.clip import CLIP

FRAMES = [frame for frame in CLIP[:24] for _ in range(3)]
SEGMENTS = Segmentation(Fraction(2), 2, (128, 224))


class Seen(Picture):
    """A picture that tells when its brightness is looked at, of which checksums are."""

    looked_at: list[int]

    def planes(self):
        self.looked_at.append(self.number)
        return super().planes()


def planned(done, duplicates, looked_at):
    def pictures():
        for number, frame in enumerate(FRAMES):
            picture = Seen(frame, Fraction(number))
            picture.number, picture.looked_at = number, looked_at
            yield picture

    planner = Planner(SEGMENTS, frozenset(done))
    film = planner.seen(classify_transitions(pictures(), None, duplicates == "skip"))
    return list(planner.jobs(plan(film, Multiply(2), 3, Fraction(1), duplicates == "skip")))


@pytest.mark.parametrize("duplicates", ["off", "skip"])
@pytest.mark.parametrize("done", [(), (0,), (1,), (0, 2), (0, 1, 2)], ids=str)
def test_jobs_of_what_is_not_done_are_the_same_whatever_is_done(duplicates, done):
    every = planned((), duplicates, [])
    assert [job.number for job in every] == list(range(len(every))) and len(every) > 1
    assert planned(done, duplicates, []) == [job for job in every if job.number not in done]


@pytest.mark.parametrize("done", [(), (0,), (1,), (0, 2)], ids=str)
def test_only_pictures_that_somebody_will_read_have_their_checksum_taken(done):
    looked_at = []
    jobs = planned(done, "off", looked_at)
    wanted = {picture.number for job in jobs for picture in job.pictures}
    assert sorted(looked_at) == sorted(wanted)


def test_a_job_has_every_picture_from_its_first_to_its_last():
    for job in planned((), "skip", []):
        first, last = job.gaps[0].left, job.gaps[-1].right
        assert [picture.number for picture in job.pictures] == list(
            range(first, (job.gaps[-1].left if last is None else last) + 1)
        )
