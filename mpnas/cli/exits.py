"""Exit codes of the command line: what a script that calls mpnas can rely on."""

from typing import NoReturn

import click

DONE = 0
BAD_INPUT = 2
SOME_FAILED = 3
SWEEP_FAILED = 4
INTERRUPTED = 130  # 128 + SIGINT, as shells do


def stop(sentence: str, code: int) -> NoReturn:
    """End the command with a sentence on stderr and an exit code."""
    click.echo(f"mpnas: {' '.join(sentence.split())}", err=True)
    click.get_current_context().exit(code)
