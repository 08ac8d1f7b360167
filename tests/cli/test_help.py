"""Help pages: every command has one, with an example, and documents every option."""

import click
import pytest

from cli.main import actstore, probe
from cli.result import Command

COMMANDS = [
    (group.name, name, command) for group in (actstore, probe) for name, command in group.commands.items()
]


@pytest.mark.parametrize(
    ("program", "name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_shows_an_example_of_itself(run, program, name, command):
    page = run(f"{program} {name} --help").stdout
    assert "Example" in page
    assert f"{program} {name} " in page.split("Example")[1] or f"{program} {name}\n" in page.split("Example")[1]


@pytest.mark.parametrize(
    ("program", "name", "command"), COMMANDS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_returns_a_result_and_prints_json(program, name, command):
    options = {option for parameter in command.params for option in parameter.opts}
    assert {"--json", "--debug"} <= options
    assert isinstance(command, Command)


@pytest.mark.parametrize("program", ["actstore", "probe"])
def test_commands_come_in_the_order_of_use(program):
    group = {"actstore": actstore, "probe": probe}[program]
    assert group.list_commands(click.Context(group))[0] == {"actstore": "dump", "probe": "fit"}[program]
