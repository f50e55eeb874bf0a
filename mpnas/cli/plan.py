"""`mpnas plan`: what a sweep would do, without doing it."""

from pathlib import Path

import click
from rich.table import Table

from mpnas.cli.options import absolute, data_option, set_option
from mpnas.cli.printing import row, show
from mpnas.cli.prospect import budget_table, cost_table, prospect, trials_text
from mpnas.cost import achievable, measure
from mpnas.report.tables import table_of
from mpnas.space import Space
from mpnas.sweep.config import experiment_of
from mpnas.sweep.plan import plan_of

UNIFORM = (8, 4, 2)


@click.command("plan", epilog="""\b
Examples:
  mpnas plan digits
  mpnas plan my.toml --set 'budgets=[{ weight_bytes = "5 kB" }]'""")
@click.argument("config")
@set_option
@data_option
def command(config: str, overrides: tuple[str, ...], data_dir: Path | None) -> None:
    """Show what a sweep of CONFIG would do; nothing is run or written.

    CONFIG is a TOML file or the name of a bundled experiment. Shown are the sites with their
    candidates, what is tied and why, the range of each cost, each budget as a number and whether it
    can be met, and the number of trials. Ends with code 2 if a budget is impossible.
    """
    experiment, table = experiment_of(config, overrides)
    found = prospect(plan_of(table, experiment, data_dir=absolute(data_dir)))
    space, costs = found.space, found.costs
    tables = [site_table(space)]
    if space.ties:
        tables.append(tie_table(space))
    uniform = {bits: measure(costs, space, space.uniform(bits)) for bits in UNIFORM}
    tables += [cost_table(costs, achievable(costs, space), uniform), budget_table(found.limits)]
    show(*tables)
    for note in space.notes:
        click.echo(f"Note: {note}")
    work = space.work
    click.echo(f"{work.parameters:,} parameters and {work.macs:,} MACs; {space.decisions:,} decisions at "
               f"{len(space.choices)} sites.")
    click.echo(f"{trials_text(found.plan)}.")
    found.refuse()


def site_table(space: Space) -> Table:
    """One row per place where something is chosen."""
    table = table_of(
        "Sites", ["site", "kind", "granularity"], ["decisions"], ["candidates [bits]"]
    )
    table.add_column("parameters", justify="right")
    table.add_column("MACs", justify="right")
    for site, choice in space.choices.items():
        about = choice.describe()
        size = f" ({about['group_size']})" if "group_size" in about else ""
        counts = (f"{count:,}" if count else "-" for count in (choice.parameters, choice.macs))
        row(table, site, about["kind"], f"{about['granularity']}{size}", f"{choice.decisions:,}",
            " ".join(map(str, choice.bits)), *counts)
    return table


def tie_table(space: Space) -> Table:
    """What must agree, and the reason."""
    table = table_of("Ties", ["name", "what agrees", "members", "why"])
    for tie in space.ties:
        agrees = "which channels exist" if tie.kind == "channels" else "bits of the tensor"
        row(table, tie.name, agrees, ", ".join(tie.members), tie.why)
    return table
