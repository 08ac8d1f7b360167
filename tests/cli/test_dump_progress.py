"""What `actstore dump` says while it runs, and of what it was asked for."""

import pytest

from actstore.dumping.dump import Progress
from cli.shared import duration
from cli.store.dump import Speed


@pytest.fixture
def clock(monkeypatch):
    """``clock(seconds)``: let time pass."""
    now = [100.0]
    monkeypatch.setattr("cli.store.dump.time.monotonic", lambda: now[0])
    return lambda seconds: now.__setitem__(0, now[0] + seconds)


def test_progress_shows_rows_and_bytes_a_second_and_the_time_left(clock):
    speed = Speed()
    assert speed.text(Progress(10, 1000, 4_000_000)) == "10 of 1,000 rows, 4.0 MB"
    clock(2)
    text = "210 of 1,000 rows, 84.0 MB, 100 rows/s, 40.0 MB/s, 8 s left"
    assert speed.text(Progress(210, 1000, 84_000_000)) == text
    text = "210 rows, 84.0 MB, 100 rows/s, 40.0 MB/s"  # a source that does not know how many rows it has
    assert speed.text(Progress(210, None, 84_000_000)) == text


def test_a_resumed_dump_counts_the_speed_of_new_rows_only(clock):
    speed = Speed()
    replayed = "500 of 1,000 rows, 0 B: comparing the data with what is stored already"
    assert speed.text(Progress(500, 1000, 0, resumed_rows=500)) == replayed
    clock(60)
    assert speed.text(Progress(510, 1000, 1000, resumed_rows=500)) == "510 of 1,000 rows, 1.0 kB"
    clock(5)
    text = "560 of 1,000 rows, 6.0 kB, 10 rows/s, 1.0 kB/s, 44 s left"
    assert speed.text(Progress(560, 1000, 6000, resumed_rows=500)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59, "59 s"), (60, "1 min 0 s"), (3725, "1 h 2 min"), (90_000, "1 d 1 h")],
)
def test_durations_are_for_people(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--rank 1", 2, "--rank and --world-size come together"),
        ("--rank 2 --world-size 2", 2, "rank 2 of a world size of 2"),
        ("--resume --overwrite", 2, "--resume goes on with what is there, --overwrite replaces it: choose one"),
        ("--dtype float12", 2, "dtype 'float12' is none to cast to"),
        ("--pool median", 2, "pool 'median' is not of the form"),
        ("--sample-rows 2", 2, "sample is 2.0; expected a fraction between 0 and 1"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_anything_is_made(
    refused, folder, options, code, message
):
    line = f"actstore dump demo:digits --data digits --layers ** {options} -o x.acts"
    assert message in refused(line, code=code)
    assert not list(folder.iterdir())
