"""The page in a real browser: what is drawn, where, and that nothing is asked of any network."""

import html
import json
import math
import shutil
import subprocess

import pytest
from front_maker import RUN, made, record
from page_tags import Tags
from sweep_maker import sweep

from mpnas.pareto.objectives import first_cost, report_metric
from mpnas.report.evidence import Evidence
from mpnas.report.page import page_html

BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium on the path")
MEASURE = """<script>
const marks = [...document.querySelectorAll("#front .mark[data-id]")].map((mark) => {
  const box = mark.querySelector(".touch").getBoundingClientRect();
  const middle = [box.x + box.width / 2, box.y + box.height / 2];
  return [mark.dataset.id, +mark.dataset.x, +mark.dataset.y, ...middle];
});
const outside = [...document.querySelectorAll("body *")].filter((one) => !one.closest(".scroll, .box") &&
  one.getBoundingClientRect().right > innerWidth + 0.5).map((one) => one.outerHTML);
const tips = ["p000", "r000"].map((id) => {
  const click = new MouseEvent("click", {bubbles: true});
  document.querySelector(`#front [data-id=${id}] .touch`).dispatchEvent(click);
  const [tip] = document.getElementsByClassName("tip"), box = tip.getBoundingClientRect();
  return [tip.hidden ? "" : tip.textContent, box.left, box.right];
});
const [width, wide] = [innerWidth, document.documentElement.scrollWidth];
parent.document.body.dataset.measured = JSON.stringify({width, wide, outside, marks, tips});
</script></body>"""


def opened(text, folder):
    """The page as the browser sees it after its scripts, what it asked for, and what went wrong in it."""
    folder.mkdir(exist_ok=True)
    file, log = folder / "report.html", folder / "net.json"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-sync",
            "--disable-background-networking", "--disable-component-update", "--disable-extensions",
            f"--user-data-dir={folder / 'profile'}", "--host-resolver-rules=MAP * ~NOTFOUND",
            f"--log-net-log={log}", "--enable-logging=stderr", "--window-size=1280,900", "--dump-dom",
            file.as_uri(),
        ],
        capture_output=True, text=True, timeout=60,
    )
    wrong = [line for line in done.stderr.splitlines() if "CONSOLE" in line or "Content Security" in line]
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    # What the browser asks for on its own account has no page for an initiator.
    nobody = "not an origin"
    asked = {event["url"] for event in events if "url" in event and event.get("initiator", nobody) != nobody}
    return done.stdout, asked, wrong


def measured(text, folder, width):
    """What a script measures in a copy of the page whose policy lets it in, in a frame of that width."""
    # A window of Chromium's is at least 500 wide, a frame is as wide as it is told.
    inner = html.escape(without_policy(text).replace("</body>", MEASURE))
    frame = f'<iframe width="{width}" height="900" srcdoc="{inner}"></iframe>'
    dom, _, wrong = opened(f"<!doctype html>{frame}", folder)
    assert not wrong
    [found] = [a["data-measured"] for _, a in Tags(dom).found if "data-measured" in a]
    return json.loads(found)


def without_policy(text):
    policy = text[text.index("<meta http-equiv"):].partition("\n")[0]
    return text.replace(policy, "")


def rows_of(trial, steps):
    """Rows of a search whose expected cost falls to 1000, as trials write them."""
    return [
        {"stage": "search", "stage_step": s, "expected_costs": {"weight_bytes": 1000.5 + 100 / s},
         "discrete_costs": {"weight_bytes": 1000 + 50 / s}}
        for s in steps
    ]


def test_the_figures_hold_the_points_of_the_front_and_no_request_leaves_the_page(tmp_path):
    front = sweep()
    trial = front["points"][0]["trial"]
    text = page_html(front, Evidence(history={trial: rows_of(trial, [1, 2, 4])}))
    dom, asked, wrong = opened(text, tmp_path)
    assert (asked, wrong) == (set(), [])
    tags = Tags(dom)
    cost, metric = first_cost(front)["name"], report_metric(front)["name"]
    for kind, rows in (("search", front["points"]), *(
        (kind, [row for row in front["references"] if row["kind"] == kind])
        for kind in ("float", "uniform", "random")
    )):
        assert {(a["data-id"], float(a["data-x"]), float(a["data-y"])) for a in tags.of_kind(kind)} == {
            (row["id"], row["costs"][cost], row["metrics"][metric]["mean"]) for row in rows
        }
        assert len(tags.of_kind(kind)) == len(rows)
    [expected] = tags.of_kind("expected")
    assert (expected["data-x"], expected["data-y"]) == ("1 2 4", "1100.5 1050.5 1025.5")
    last = tags.of_kind("volume")[-1]
    assert float(last["data-y"]) == pytest.approx(front["hypervolume"]["value"], rel=1e-12)
    # The script ran: it moves the words of the marks to where a finger finds them.
    assert all(a["data-tip"].startswith(a["data-id"]) for a in tags.of_kind("search"))


def test_rejected_trials_stand_where_they_were_measured_or_at_their_limit(tmp_path):
    dom, asked, wrong = opened(page_html(made()), tmp_path)
    assert (asked, wrong) == (set(), [])
    tags = Tags(dom)
    [over], [failed] = tags.of_kind("rejected"), tags.of_kind("rejected-limit")
    assert (over["data-id"], over["data-x"], over["data-y"]) == ("s3", "900", "0.889")
    assert (failed["data-id"], failed["data-x"]) == ("s4", "650")


def test_a_page_that_asks_is_heard_and_the_policy_of_ours_silences_it(tmp_path):
    asking = page_html(made()).replace("</main>", '<img src="http://mpnas.test/a.png"></main>')
    _, asked, _ = opened(without_policy(asking), tmp_path / "open")
    assert asked == {"http://mpnas.test/a.png"}
    _, asked, wrong = opened(asking, tmp_path / "shut")
    assert asked == set() and "mpnas.test" in wrong[0]


def test_a_script_in_a_name_is_text_and_does_not_run(tmp_path):
    name = "</title></script><script>document.body.dataset.ran = 1</script><img src=x onerror=alert(1)>"
    run = RUN | {"id": name, "model": RUN["model"] | {"name": name}}
    front = made([record(name, controller=name), record("b", reason=name, status="failed")], run=run)
    dom, asked, wrong = opened(page_html(front), tmp_path)
    assert (asked, wrong) == (set(), [])
    assert "data-ran" not in dict(pair for tag, a in Tags(dom).found if tag == "body" for pair in a.items())
    assert not [tag for tag, _ in Tags(dom).found if tag == "img"]
    # The policy is the second lock: without it, the first one holds alone.
    dom, asked, wrong = opened(without_policy(page_html(front)), tmp_path)
    assert (asked, wrong) == (set(), []) and not [tag for tag, _ in Tags(dom).found if tag == "img"]


@pytest.mark.parametrize("width", [360, 1280])
def test_marks_lie_on_their_scales_and_nothing_is_wider_than_the_window(tmp_path, width):
    front = sweep()
    found = measured(page_html(front), tmp_path, width)
    assert found["width"] == width
    assert found["outside"] == [] and found["wide"] <= width
    for name, (words, begin, end) in zip(("p000", "r000"), found["tips"], strict=True):
        assert words.startswith(f"{name}: ") and 0 <= begin < end <= width
    marks = {name: place for name, *place in found["marks"]}
    left, right = (marks[name] for name in ("p000", "r000"))  # the cheapest, and the float network
    top, bottom = max(marks.values(), key=lambda m: m[1]), min(marks.values(), key=lambda m: m[1])
    for cost, metric, x, y in marks.values():
        share = math.log(cost / left[0]) / math.log(right[0] / left[0])
        assert x == pytest.approx(left[2] + share * (right[2] - left[2]), abs=0.2)
        share = (metric - bottom[1]) / (top[1] - bottom[1])
        assert y == pytest.approx(bottom[3] + share * (top[3] - bottom[3]), abs=0.2)
    assert right[2] - left[2] > 0.6 * width and top[3] < bottom[3] - 250
