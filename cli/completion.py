"""What a shell completes: names of files wherever a store, a file or a SPEC is expected."""

from __future__ import annotations

import re

import click
from click.shell_completion import CompletionItem

_OF_FILES = re.compile(r"STORE|FILE|SPEC|PROBES|FIG|MODEL|LABELS|FEATURES|DECODER|ROWS", re.IGNORECASE)


class FileText(click.types.StringParamType):
    """Text that often names a file; it is taken as it stands, and the shell completes it as a file's name."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Return what tells the shell to complete names of files itself."""
        return [CompletionItem(incomplete, type="file")]


def complete_files(parameters: list[click.Parameter]) -> None:
    """Let the shell complete names of files for all parameters whose placeholder says that they are such."""
    for parameter in parameters:
        shown = getattr(parameter, "metavar", None) or parameter.name or ""
        if parameter.type is click.STRING and _OF_FILES.search(shown):
            parameter.type = FileText()
