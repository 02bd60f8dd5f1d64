"""Repeated form fields all arrive, in their order."""

from handlers.repeated_fields import number_repeated


def names(*given):
    parameters = [{"name": name} for name in given]
    number_repeated(parameters)
    return [parameter["name"] for parameter in parameters]


def test_single_names_stay():
    assert names("frame0", "frame1", "seed") == ["frame0", "frame1", "seed"]


def test_repeated_names_are_numbered():
    assert names("frames", "seed", "frames", "frames") == ["frames0", "seed", "frames1", "frames2"]


def test_taken_names_are_passed_over():
    assert names("frames", "frames1", "frames") == ["frames0", "frames1", "frames2"]
