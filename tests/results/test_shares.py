"""The fractions of a function's time by kind of call."""

import time

import pytest

from results.shares import shares


def sleep_long():
    time.sleep(0.06)


def sleep_short():
    time.sleep(0.02)


def test_a_kind_has_its_part_of_the_seconds_with_what_it_calls():
    def work():
        sleep_long()
        sleep_short()
        sleep_short()
        time.sleep(0.1)

    found = shares(work, {"long": "sleep_long", "short": "sleep_short", "none": "never"})
    assert found == pytest.approx({"long": 0.3, "short": 0.2, "none": 0, "rest": 0.5}, abs=0.1)
    assert sum(found.values()) == pytest.approx(1)
    with pytest.raises(ValueError, match="call each other"):
        shares(sleep_long, {"outer": "sleep_long", "inner": "sleep"})
