"""Tests of mpnas/cli/pareto on the front of a real run: show, pick, validate; and of mpnas/cli/front.py."""

import json

import pytest

from mpnas.pareto import load


@pytest.mark.parametrize("name", ["", "front.json"], ids=["folder", "file"])
def test_a_front_is_shown_from_its_file_or_its_folder(mpnas, shared_run, name):
    result = mpnas("pareto", "show", shared_run / name)
    assert result.exit_code == 0, result.output
    for words in ("Front of tiny", "p000 *", "References", "uniform 8-bit", "Against uniform 8-bit"):
        assert words in result.stdout


def test_a_pick_names_the_point_its_costs_its_bits_and_its_checkpoint(mpnas, shared_run):
    [point] = load(shared_run / "front.json")["points"]
    result = mpnas("pareto", "pick", shared_run, "--max", "weight_bytes=1MB", "--max-drop", "100%")
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("p000: gumbel weight_bytes=0.5, seed 0")
    assert f"{point['costs']['weight_bytes']:,.0f}" in result.stdout
    assert "Bits of p000" in result.stdout
    assert str(shared_run / point["artifacts"]["checkpoint"]) in result.stdout


@pytest.mark.parametrize(
    "bounds, words",
    [
        (["--max", "weight_bytes=10B"], "no point of the front has weight_bytes <= 10"),
        (["--max", "weight_byte=10B"], "no cost 'weight_byte'; nearest: 'weight_bytes'"),
        (["--max", "weight_bytes=ten"], "is no amount"),
        (["--max", "weight_bytes"], "--max 'weight_bytes' is not of the form"),
        (["--max-drop", "a lot"], "is no share"),
        ([], "a pick needs a bound"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value) or "nothing",
)
def test_a_pick_that_is_impossible_says_why(refused, shared_run, bounds, words):
    assert words in refused("pareto", "pick", shared_run, *bounds)


def test_a_sound_front_is_said_to_be_sound(mpnas, shared_run):
    result = mpnas("pareto", "validate", shared_run)
    assert (result.exit_code, result.stdout) == (0, "Sound: 1 points, 2 references, 0 rejected.\n")


def test_each_broken_promise_is_a_line_and_the_code_is_2(mpnas, own_run):
    front = json.loads((own_run / "front.json").read_text())
    front["points"][0]["nondominated"] = False
    (own_run / "front.json").write_text(json.dumps(front))
    victim = next((own_run / front["references"][0]["artifacts"]["checkpoint"]).rglob("_METADATA"))
    victim.write_bytes(victim.read_bytes() + b" ")
    result = mpnas("pareto", "validate", own_run)
    assert result.exit_code == 2
    assert "I2: p000 is marked dominated" in result.stdout and "I8: r000:" in result.stdout
    assert result.stderr == f"mpnas: the front breaks {len(result.stdout.splitlines())} of its promises.\n"


def test_a_file_that_is_no_front_is_a_sentence(refused, tmp_path):
    (tmp_path / "front.json").write_text('{"schema": ')
    assert "is not the JSON of a front" in refused("pareto", "show", tmp_path)


def test_a_metric_that_the_point_lacks_is_a_dash(mpnas, own_run):
    front = json.loads((own_run / "front.json").read_text())
    del front["points"][0]["metrics"]["test_accuracy"]
    (own_run / "front.json").write_text(json.dumps(front))
    result = mpnas("pareto", "pick", own_run, "--max-drop", "100%")
    assert result.exit_code == 0, result.output
    [line] = [line for line in result.stdout.splitlines() if "test_accuracy" in line]
    assert line.split("|")[2].strip() == "-"


@pytest.mark.parametrize("verb", ["merge", "compare", "export"])
def test_the_help_of_a_verb_has_a_purpose_and_an_example(mpnas, verb):
    result = mpnas("pareto", verb, "--help")
    assert result.exit_code == 0 and f"mpnas pareto {verb} runs/" in result.output
    assert len(result.output.split("\n\n")[1].strip()) > 20
