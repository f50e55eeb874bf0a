"""A click group whose commands are imported when they are called.

`mpnas --help` and the verbs that only read a front must not wait seconds for JAX; the short help of
every command is therefore written here beside its name, not read off its module.
"""

import importlib
from collections.abc import Mapping
from typing import Any

import click

from mpnas.errors import nearest


class LazyGroup(click.Group):
    """A group over modules that each define one `command`.

    Args:
      package: Dotted name of the package that holds one module a verb.
      verbs: Verb -> its sentence in the list of commands, in the order to list them.
    """

    def __init__(self, *args: Any, package: str, verbs: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.package, self.verbs = package, verbs

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in self.verbs:
            return None
        return importlib.import_module(f"{self.package}.{cmd_name}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self.verbs.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in self.verbs:
            close = nearest(args[0], self.verbs)
            raise click.UsageError(f"no such command '{args[0]}'; nearest: {close}.", ctx)
        return super().resolve_command(ctx, args)
