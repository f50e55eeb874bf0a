"""Tests of mpnas/cli/report.py, and of the page that a sweep writes."""

import subprocess
import sys

import pytest

from mpnas.pareto import load


@pytest.mark.parametrize("name", ["", "front.json"], ids=["folder", "file"])
def test_the_page_is_written_beside_the_front(mpnas, own_run, name):
    (own_run / "report.html").unlink(missing_ok=True)
    result = mpnas("report", own_run / name)
    assert result.exit_code == 0, result.output
    assert result.stdout.startswith("Written: ") and result.stdout.endswith("report.html\n")
    text = (own_run / "report.html").read_text(encoding="utf-8")
    front = load(own_run / "front.json")
    for point in front["points"] + front["references"]:
        assert f'data-id="{point["id"]}"' in text
    assert 'id="searches"' in text and "minutes since the first trial began" in text


def test_a_bare_front_has_a_page(mpnas, own_run, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (own_run / "front.json").rename(bare / "front.json")
    assert mpnas("report", bare).exit_code == 0
    assert 'id="searches"' not in (bare / "report.html").read_text(encoding="utf-8")


def test_a_front_that_is_none_is_a_sentence(refused, tmp_path):
    assert "holds no front.json" in refused("report", tmp_path)
    (tmp_path / "front.json").write_text("{}")
    assert "schema version" in refused("report", tmp_path)


def test_a_page_needs_neither_jax_nor_ray_nor_matplotlib(own_run):
    code = (
        f"import sys; from mpnas.cli import main; main(['report', {str(own_run)!r}], standalone_mode=False); "
        "print(sorted({'jax', 'ray', 'matplotlib'} & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr.strip().splitlines()[-1] == "[]"
