"""Tests of mpnas/report/tables.py."""

import io
import subprocess
import sys

import pytest
from front_maker import OBJECTIVES, RUN, SITES, made, record, records
from rich.console import Console
from sweep_maker import sweep

from mpnas.report.tables import (
    amount_text, bits_table, exports_table, front_table, reference_table, rejected_table, text_of,
    uniform_cost, volume_text,
)


def rows_of(table):
    """The body of a table's plain text, one list of cells a row."""
    lines = [line for line in text_of([table]).splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [row for row in cells if row[0] not in ("", "id", "baseline", "trial", "bits")]


def test_a_row_tells_a_point_by_its_objectives_and_against_uniform_8_bit():
    # 600 and 900 of 1300 bytes are 46.2 and 69.2 %.
    rows = rows_of(front_table(made()))
    assert rows[0] == ["p000 *", "gumbel", "weight_bytes=50%", "0", "88.00", "87.00", "600",
                       "326,400", "46.2"]
    assert [row[0] for row in rows] == ["p000 *", "p001", "p002 *"]
    assert [row[-1] for row in rows] == ["46.2", "50.0", "69.2"]


def test_a_front_of_six_objectives_fits_a_terminal_of_120_columns_without_broken_words():
    metrics = {"accuracy": 0.6611, "test_accuracy": 0.6612}
    costs = {"weight_bytes": 3110.25, "macs": 167454, "bops": 14_174_464, "peak_act_bytes": 4224}
    more = [OBJECTIVES[-1] | {"name": name, "unit": unit} for name, unit in
            (("macs", "mac"), ("peak_act_bytes", "byte"))]
    rows = [record("s", budget={"weight_bytes": 0.15}, metrics=metrics, costs=costs)]
    console = Console(file=io.StringIO(), width=120)
    console.print(front_table(made(rows, objectives=[*OBJECTIVES, *more])))
    text = console.file.getvalue()
    assert "weight_bytes=0.15" in text and "14,174,464" in text
    assert all(word in text.split() for word in ("controller", "accuracy", "weight", "peak", "act"))


def test_dominated_points_can_be_left_out():
    assert [row[0] for row in rows_of(front_table(made(), dominated=False))] == [
        "p000 *", "p002 *",
    ]


def test_without_a_uniform_network_of_8_bits_the_column_is_missing():
    front = made([row for row in records() if row.trial != "u8"])
    assert "8-bit" not in text_of([front_table(front)])
    assert uniform_cost(front, 8) is None
    assert uniform_cost(front, 4) == 650


def test_references_are_averaged_over_seeds():
    rows = {row[0]: row for row in rows_of(reference_table(sweep()))}
    assert rows["uniform 8-bit"][1] == "3"
    assert "±" in rows["uniform 8-bit"][2]
    assert rows["float"][1] == "1" and "±" not in rows["float"][2]


def test_rejected_trials_keep_their_reason():
    rows = rows_of(rejected_table(made()))
    assert [row[0] for row in rows] == ["s3", "s4"]
    assert rows[0][-1] == "weight_bytes 900 exceeds its limit 650."


def test_shares_of_bits_are_those_of_a_hand_count():
    # Of 1300 weights 300 have 8 bits, 500 have 4, 200 have 2 and 300 are left out; of 12100 MACs
    # conv1 has 2000, 1000 and 1000 at 8, 4 and 0 bits, conv2 4000, 2000 and 2000 at 4, 2 and 0.
    assert rows_of(bits_table(made()["points"][0], SITES)) == [
        ["8", "23.1 %", "17.4 %", "100.0 %"],
        ["4", "38.5 %", "41.3 %", "-"],
        ["2", "15.4 %", "16.5 %", "-"],
        ["0 (left out)", "23.1 %", "24.8 %", "-"],
    ]


def test_a_float_network_has_an_empty_table_of_bits():
    assert rows_of(bits_table(made()["references"][0], SITES)) == []


def test_plain_text_is_ascii_ruled_and_never_wrapped():
    text = text_of([front_table(sweep()), reference_table(sweep())])
    assert "\x1b" not in text and "─" not in text
    assert all(line == line.rstrip() for line in text.splitlines())
    assert "weight_bytes=120779" in text


def test_laying_out_as_text_leaves_the_table_as_it_was():
    table = front_table(made())
    before = table.box, table.padding
    text_of([table])
    assert (table.box, table.padding) == before


def test_names_are_never_read_as_markup():
    front = made([record("[red]x[/red]", controller="[bold]me[/nothing]")])
    console = Console(width=200, file=io.StringIO())
    console.print(front_table(front))
    assert "[bold]me[/nothing]" in console.file.getvalue()


def test_a_metric_that_is_missing_is_a_dash():
    one = record("a", metrics={"accuracy": 0.5})
    assert rows_of(front_table(made([one])))[0][5] == "-"


@pytest.mark.parametrize(
    "cost, text",
    [(12_345_678_901, "12,345,678,901"), (600.0, "600"), (0.125, "0.125"), (1_297_860.4, "1,297,860"),
     (999_999.7, "1,000,000"), (1234.56, "1,234.56")],
)
def test_whole_amounts_are_written_in_full(cost, text):
    assert amount_text(cost) == text


def test_an_empty_front_has_tables():
    front = made([])
    text = text_of([front_table(front), reference_table(front), rejected_table(front)])
    assert RUN["id"] in text


def test_reading_and_printing_load_neither_jax_nor_ray_nor_matplotlib():
    code = (
        "import sys, mpnas.report, mpnas.pareto;"
        "print(sorted({'jax', 'flax', 'ray', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.stdout.strip() == "[]"


def test_every_export_is_told_with_its_agreement():
    front = made()
    assert exports_table(front) is None
    parity = {"n": 1000, "mismatch_rate": 0.002, "max_abs_diff": 0.5}
    front["points"][0]["artifacts"]["exports"] = [
        {"format": "csv", "path": "exports/[b]s0.csv"},
        {"format": "onnx", "path": "exports/s0.onnx", "file_bytes": 1234, "options": {"storage": "int8"},
         "parity": parity},
    ]
    assert rows_of(exports_table(front)) == [
        ["p000", "csv", "exports/[b]s0.csv", "-", "-"],
        ["p000", "onnx (int8)", "exports/s0.onnx", "1,234",
         "1,000 test inputs: 0.20 % other answers, largest difference of an output 0.5"],
    ]


def test_the_hypervolume_is_told_with_its_share_of_the_box():
    # 0.88 from 600 bytes to 900, 0.895 from there to the 5200 bytes of the float network.
    volume = 0.88 * 300 + 0.895 * 4300
    assert volume_text(made()) == (
        f"Hypervolume {volume:,.6g}, counted from weight bytes 5,200 and accuracy 0; "
        f"{100 * volume / 5200:.2f} % of that of a perfect network that costs nothing."
    )


def test_a_loss_has_no_best_value_to_share_a_box_with():
    loss = [OBJECTIVES[0] | {"name": "loss", "direction": "min", "unit": "nat"}, *OBJECTIVES[2:]]
    rows = [record("f", "float", budget={}, metrics={"loss": 3.0}, costs={"weight_bytes": 5200, "bops": 1}),
            record("s", metrics={"loss": 2.0}, costs={"weight_bytes": 600, "bops": 1})]
    assert volume_text(made(rows, objectives=loss)) == (
        "Hypervolume 4,600, counted from weight bytes 5,200 and loss 3."
    )


def test_a_front_without_points_has_no_hypervolume_to_tell():
    assert volume_text(made([])) == ""
