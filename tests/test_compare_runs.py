"""The widget that compares runs: what it reads, and what it shows on a bare page."""

import json

import pytest

pytest.importorskip("anywidget", reason="no anywidget: pip install 'lensnb[lab]'")
pytest.importorskip("pandas", reason="no pandas: pip install 'lensnb[lab]'")

import traitlets
from pages import TWO_FRAMES, serious

from lensnb.widgets import compare_runs

NULL = "null (true maps)"


def headline(value: float, answer: str) -> list[dict]:
    """Two rows of a report about a null and a flow."""
    rows = []
    for name, of_null in (("C_ℓ slope", 1.01), ("seam", 0.0)):
        sets = {
            NULL: {"value": of_null or -1e-4, "error": 0.02, "answer": "as the simulations"},
            "flow": {"value": value, "error": 0.05, "answer": answer},
        }
        rows.append({"name": name, "inverse": False, "sets": sets})
    return rows


def write_run(root, name: str, steps: int, value: float, answer: str, **record) -> None:
    folder = root / name
    (folder / "flow").mkdir(parents=True)
    about = {"notebook": "03.ipynb", "status": "done", "seconds": 60.0}
    about["parameters"] = {"steps": steps, "seed": 0, "folder": name}
    (folder / "run.json").write_text(json.dumps(about | record))
    found = {"comparison": {"headline": headline(value, answer)}}
    (folder / "results.json").write_text(json.dumps(found))
    lines = []
    for step in (10, 20, 30):
        validation = None if step == 20 else 2.0 / step
        lines.append(json.dumps({"step": step, "loss": 1.0 / step, "validation": validation}))
    (folder / "flow" / "history.jsonl").write_text("\n".join([*lines, '{"step": 40, "lo']))


@pytest.fixture
def root(tmp_path):
    write_run(tmp_path, "first", 100, 0.7, "off")
    write_run(tmp_path, "second", 400, 0.98, "as the simulations")
    write_run(tmp_path, "deep/third", 400, 0.9, "cannot tell")
    return tmp_path


def test_runs_are_read_with_their_losses_and_scorecards(root):
    widget = compare_runs(root)
    assert list(widget.runs) == ["deep/third", "first", "second"] == widget.chosen
    first = widget.runs["first"]
    assert first["status"] == "done" and first["parameters"] == {"steps": 100, "seed": 0}
    assert first["sets"]["flow"]["C_ℓ slope"] == [0.7, 0.05, "off"]
    assert first["sets"][NULL]["seam"] == [-1e-4, 0.02, "as the simulations"]
    losses = first["losses"]["flow"]  # the last line is being written
    assert losses["step"] == [10, 20, 30] and losses["validation"] == [0.2, None, 0.0666667]
    json.dumps(widget._runs, allow_nan=False)
    assert widget.png() and "first" in widget.alt()


def test_runs_that_end_later_are_found_when_the_folder_is_read_again(root):
    widget = compare_runs(root)
    widget.chosen = ["second", "second"]
    write_run(root, "fourth", 800, 1.0, "as the simulations", status="running")
    widget._again = 1
    assert "fourth" in widget.runs and widget.chosen == ["second"]
    with pytest.raises(traitlets.TraitError, match="there is no run 'fifth'; there are deep/th"):
        widget.chosen = ["fifth"]


def test_a_folder_without_runs_is_shown_and_one_that_is_missing_refused(tmp_path):
    assert compare_runs(tmp_path).chosen == [] and compare_runs(tmp_path).png()
    with pytest.raises(FileNotFoundError, match="nowhere is no folder"):
        compare_runs(tmp_path / "nowhere")


# ---------------------------------------------------------------- on a page


def table_of(shown) -> list[list[str]]:
    rows = shown.root.locator(".card tr").all()
    return [[one.inner_text() for one in row.locator("th, td").all()] for row in rows]


@pytest.mark.browser
def test_scorecards_and_losses_stand_side_by_side(show, root):
    shown = show(compare_runs(root), "runs")
    assert table_of(shown) == [
        ["run", "deep/third", "first", "second"],
        ["set", "flow", "flow", "flow"],
        ["steps", "400", "100", "400"],  # they have the same seed
        ["Cℓ slope", "0.90 ± 0.05 ?", "0.70 ± 0.05 *", "0.98 ± 0.05 ="],
    ]
    assert shown.root.locator("td.off").inner_text() == "0.70 ± 0.05 *"
    losses = shown.root.locator(".losses path.curve")
    assert losses.count() == 3 and shown.root.get_by_text("loss of flow").is_visible()
    shown.root.get_by_label("Rows").select_option("all")
    assert [row[0] for row in table_of(shown)][-1] == "seam"
    shown.root.get_by_label("true maps (null)").check()
    assert len(table_of(shown)[1]) == 7 and "0.00 ± 0.02 =" in table_of(shown)[-1]
    shown.root.get_by_label("Sets").select_option("flow")
    assert len(table_of(shown)[1]) == 4
    shown.root.get_by_label("Find runs").fill("fir")
    boxes = shown.root.locator(".list input")
    assert boxes.count() == 1
    shown.click(boxes)
    shown.heard("chosen", ["deep/third", "second"])
    assert losses.count() == 2 and len(table_of(shown)[0]) == 3
    shown.close()


@pytest.mark.browser
def test_the_folder_is_read_again(show, root):
    shown = show(compare_runs(root), "runs")
    write_run(root, "fourth", 800, 1.0, "as the simulations")
    shown.occupy()
    shown.click(shown.root.get_by_role("button", name="read again"))
    assert shown.root.get_attribute("aria-busy") == "true"
    shown.read()
    assert shown.root.get_attribute("aria-busy") == "false"
    assert shown.root.locator(".list input").count() == 4
    assert shown.root.get_by_text("3 of 4 runs chosen").is_visible()


@pytest.mark.browser
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_many_long_names_stay_inside_the_page(show, tmp_path, theme):
    for k in range(6):
        write_run(tmp_path, f"a_study_with_a_long_name-{k:08d}", k, 0.1 * k, "off")
    widget = compare_runs(tmp_path)
    widget.chosen, widget.with_null = list(widget.runs), True
    shown = show(widget, "runs", theme=theme)
    found = shown.contrasts("label", "select", "button", "p", "th", "td", "small", "text")
    assert len(found) > 40 and min(found)[0] > 4.5, min(found)
    assert serious(shown.page, shown.selector) == []
    page = shown.page
    for width, height in ((1366, 768), (1920, 1080), (390, 800)):
        page.set_viewport_size({"width": width, "height": height})
        page.evaluate(TWO_FRAMES)
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        if width == 1366:
            assert shown.root.bounding_box()["height"] <= 660  # what JupyterLab leaves
            assert shown.root.get_by_text("more columns at the right").is_visible()
