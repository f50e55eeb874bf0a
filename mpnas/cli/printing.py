"""Printing: results on stdout, tables as the reader can take them, paths as short as they can be."""

import sys
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mpnas.report import text_of


def show(*tables: Table) -> None:
    """Print tables: with rich's rules on a terminal, as plain text elsewhere."""
    if sys.stdout.isatty():
        console = Console()
        for table in tables:
            console.print(table)
            console.print()
    else:
        click.echo(text_of(tables))


def row(table: Table, *cells: object) -> None:
    """Add a row of plain cells; names may come from strangers, so nothing is read as markup."""
    table.add_row(*(Text(str(cell)) for cell in cells))


def short(path: Path) -> str:
    """A path relative to the current folder where it lies below it."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def percent(share: float | None) -> str:
    """A fraction as a percentage with two digits; `-` for none."""
    return "-" if share is None else f"{100 * share:.2f} %"


def duration(seconds: float | None) -> str:
    """Seconds as a person says them.

    >>> duration(7), duration(75), duration(7500)
    ('7 s', '1 min 15 s', '2 h 5 min')
    """
    if seconds is None:
        return "-"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
