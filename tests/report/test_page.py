"""Tests of mpnas/report/page.py; what a browser makes of it is in test_page_in_browser.py."""

import base64
import hashlib
import html
import re
import subprocess
import sys

import pytest
from front_maker import OBJECTIVES, RUN, made, record, records
from page_tags import Tags
from sweep_maker import sweep

from mpnas.errors import FrontFileError, RunFolderError
from mpnas.pareto import save
from mpnas.report.page import SHOWN, page_html, write_page
from mpnas.report.verdict import verdict

SECTIONS = ["verdict", "front", "points", "bits", "shares", "searches", "volume", "rejected", "again"]
ROWS = [
    '{"stage": "search", "stage_step": %d, "expected_costs": {"weight_bytes": 9}, "discrete_costs": '
    '{"weight_bytes": 8}}\n' % step for step in (1, 2)
]


def sections(text):
    return [attributes["id"] for tag, attributes in Tags(text).found if tag == "section"]


def words_of(text):
    """The text of a page, without its tags and entities."""
    bare = re.sub(r"<(style|script)>.*?</\1>|<[^>]*>", " ", text, flags=re.S)
    return " ".join(html.unescape(bare).split())


def run_folder(folder, front, trial="s0"):
    save(front, folder / "front.json")
    (folder / "trials" / trial).mkdir(parents=True)
    (folder / "trials" / trial / "metrics.jsonl").write_text("".join(ROWS))
    return folder


def test_exported_files_stand_below_the_points():
    front = made()
    assert "Exported files" not in page_html(front)
    front["points"][0]["artifacts"]["exports"] = [{"format": "csv", "path": "exports/<b>.csv"}]
    assert "Exported files point format file bytes against the network p000 csv exports/<b>.csv" in words_of(
        page_html(front)
    )


def test_a_run_folder_gives_every_section_in_order(tmp_path):
    text = write_page(run_folder(tmp_path, made())).read_text(encoding="utf-8")
    assert sections(text) == SECTIONS
    assert "s0 2 9 8" in words_of(text)  # where the search ended
    links = [a["href"] for tag, a in Tags(text).found if tag == "a"]
    assert set(links) <= {f"#{name}" for name in SECTIONS} and len(links) == len(SECTIONS) - 1


def test_a_bare_front_has_no_searches_and_else_everything():
    assert sections(page_html(made())) == [name for name in SECTIONS if name != "searches"]


@pytest.mark.parametrize(
    "front, without",
    [
        (made([]), {"front", "bits", "shares", "searches", "volume", "rejected"}),
        (made([row for row in records() if row.kind != "search"]),
         {"bits", "shares", "searches", "volume", "rejected"}),
        (made([record("a", metrics={"accuracy": 0.5})]), {"front", "searches", "volume", "rejected"}),
        (made([record("a", assignment={}, costs={"weight_bytes": 1, "bops": 0})]),
         {"bits", "shares", "searches", "volume", "rejected"}),
        (made(objectives=[OBJECTIVES[0], OBJECTIVES[2]]), {"searches"}),
    ],
    ids=["empty", "references", "no_test", "no_assignment", "select_only"],
)
def test_what_is_not_known_is_left_out(front, without):
    assert sections(page_html(front)) == [name for name in SECTIONS if name not in without]


def test_every_sentence_of_the_verdict_is_in_the_page():
    front = sweep(lead=-0.03)
    text = words_of(page_html(front))
    assert all(sentence in text for sentence in verdict(front))
    assert "all are no better than random" in text


def test_the_table_has_every_point_and_the_summary_counts_them():
    front = made()
    text = words_of(page_html(front))
    assert (
        "5 searches left 2 networks on the front, from 87.00 % test accuracy at 600 bytes to 88.50 % test "
        "accuracy at 900 bytes."
    ) in text
    for words in ("p000 ★ gumbel weight_bytes=50% 0 88.00 87.00 600 326,400 46.2", "All 3 points"):
        assert words in text
    # The float network and what was rejected, with its reason.
    assert "float 1 90.00 89.00 5,200 12,390,400" in text
    assert "weight_bytes 900 exceeds its limit 650." in text
    assert "the loss of stage 'search' is not finite at step 12." in text


def test_what_the_costs_count_and_the_environment_are_told():
    run = RUN | {"env": {"jax": "0.10.2", "threads_per_trial": 1}}
    text = words_of(page_html(made(run=run)))
    assert "memory/1 first last layers scales, zero points, bias, assignment index" in text
    assert "jax 0.10.2 threads per trial 1" in text and f"config {'0' * 64}" in text


def test_equal_fronts_give_equal_pages():
    assert page_html(made()) == page_html(made(list(reversed(records()))))


def test_nothing_in_the_page_points_outside_it():
    for _, attributes in Tags(page_html(sweep())).found:
        for name in ("src", "href", "xlink:href", "action", "data", "poster", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    assert not re.search(r"url\(|@import|https?:", page_html(sweep()))


def test_only_the_page_s_own_script_may_run():
    text = page_html(made())
    [script] = re.findall(r"<script>(.*?)</script>", text, flags=re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    [policy] = [a["content"] for t, a in Tags(text).found if a.get("http-equiv") == "Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; ") and f"script-src 'sha256-{digest}';" in policy


def test_names_of_strangers_are_text_wherever_they_stand():
    bad = "<script>alert(1)</script>\"'&"
    run = RUN | {
        "id": bad, "model": RUN["model"] | {"name": bad}, "dataset": RUN["dataset"] | {"name": bad},
        "config": {bad: {bad: bad}}, "env": {bad: bad},
        "sites": RUN["sites"] | {f"{bad}/kernel": RUN["sites"]["head/kernel"]},
    }
    one = record(bad, controller=bad, budget={bad: bad})
    one.assignment[f"{bad}/kernel"] = {"granularity": "layer", "bits": 4}
    rejected = record("b", controller=bad, status="failed", reason=bad)
    front = made([one, rejected, record("c", "random", budget={bad: bad})], run=run)
    text = page_html(front)
    assert text.count("<script") == 1 and "alert(1)</script" not in text
    assert words_of(text).count("<script>alert(1)</script>") > 10


def test_folders_of_the_machine_are_not_in_the_page():
    run = RUN | {"config": {"name": "x", "weights": "/home/someone/w.npz"}}
    lost = record("b", status="failed", reason="cannot read /home/someone/runs/x.json: gone.")
    text = page_html(made([record("a"), lost], run=run))
    assert "/home" not in text and "w.npz" in text and "x.json: gone." in text


def test_a_long_front_shows_some_points_with_the_best_and_says_so():
    rows = [
        record(f"t{k:03d}", accuracy=0.5 + k / 1000, costs={"weight_bytes": 1000 + k, "bops": 1})
        for k in range(60)
    ]
    text = page_html(made(rows))
    assert len([1 for tag, a in Tags(text).found if a.get("name") == "bits"]) == SHOWN
    assert "36 more points of the front are in front.json" in text
    assert [a for t, a in Tags(text).found if a.get("name") == "bits" and "open" in a] and "p059" in text
    assert len(Tags(text).of_kind("search")) == 60


def test_the_page_is_replaced_as_a_whole(tmp_path):
    folder = run_folder(tmp_path, made())
    assert write_page(folder) == tmp_path / "report.html"
    before = (tmp_path / "report.html").read_bytes()
    write_page(folder)
    assert (tmp_path / "report.html").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["front.json", "report.html", "trials"]


def test_a_page_that_cannot_be_written_is_a_sentence(tmp_path):
    folder = run_folder(tmp_path, made())
    (folder / "report.html").mkdir()
    with pytest.raises(RunFolderError, match="report.html cannot be written: Is a directory"):
        write_page(folder)
    assert not list(folder.glob(".report*"))


def test_a_folder_without_a_front_is_a_sentence(tmp_path):
    with pytest.raises(FrontFileError, match="front.json' cannot be read"):
        write_page(tmp_path)


def test_a_page_is_made_without_jax_ray_and_matplotlib():
    code = (
        "import sys, mpnas.report.page as page; page._environment().get_template('page.html'); "
        "print(sorted({'jax', 'ray', 'flax', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr
