"""A process that is killed while it dumps loses nothing that was sealed, and resuming ends as if nothing had happened.

A short set; ``make crash`` does 1,000.
"""

from __future__ import annotations

import numpy as np
import pytest
from crash.checks import check_crashed, check_refused, check_resumed
from crash.killing import count_operations, kill_after, kill_at, kill_program
from crash.scenarios import Scenario, scenarios

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")  # forks are on purpose

KILLS = 5  # of each scenario at file operations, drawn anew


@pytest.fixture(scope="module", params=scenarios(), ids=lambda scenario: scenario.name.replace(" ", "-"))
def scenario(request, tmp_path_factory) -> Scenario:
    """A scenario that was done undisturbed once, so that it knows what has to come of it."""
    request.param.learn(tmp_path_factory.mktemp("learnt") / "undisturbed")
    return request.param


def check(scenario, folder, promised):
    check_crashed(scenario, folder, promised)
    check_refused(scenario, folder)
    check_resumed(scenario, folder)


def test_killed_by_its_own_hand_at_a_file_operation(scenario, tmp_path):
    """Ranks run at once, and each dies at an operation of its own."""
    out = scenario.fresh(tmp_path / "counted")
    operations = [count_operations(tmp_path, lambda job=job: job.run(out)) for job in scenario.jobs]
    assert min(operations) > 50
    rng = np.random.default_rng(len(scenario.name))
    for number in range(KILLS):
        folder = tmp_path / str(number)
        killed, promised = kill_at(scenario, folder, [int(rng.integers(count)) for count in operations])
        assert killed
        check(scenario, folder, promised)


@pytest.mark.parametrize("kill", [kill_after, kill_program], ids=["forked", "a program"])
def test_killed_from_outside_at_any_moment(scenario, tmp_path, kill):
    """Where the machine is quick the process may have ended before, which has to be no loss either."""
    rng = np.random.default_rng(len(scenario.name))
    for number in range(2 if kill is kill_after else 1):
        folder = tmp_path / str(number)
        _, promised = kill(scenario, folder, rng.uniform(0, 0.08, len(scenario.jobs)).tolist())
        check(scenario, folder, promised)
