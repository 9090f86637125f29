"""The command ``front_plots``: what it draws from which inputs, what it leaves out, and what it refuses."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from PIL import Image

from evaluation.front_plots import front_plots, main, parse_checkpoints
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from tests.evaluation.front_pictures.builders import cells, front_at, stem, write_png, write_table, zones_at

COL = [stem("COL", date) for date in ("2008-01-05", "2010-06-01")]
JAC = [stem("JAC", "2009-03-01", "ERS", 20)]


@pytest.fixture(autouse=True)
def _small_frames(monkeypatch):
    monkeypatch.setattr("evaluation.front_pictures.animations.DPI", 40)


def inputs(root, models=("m",)):
    """Write a table and all folders: labels retreat by five columns per image, predictions are two columns behind."""
    cases = COL + JAC
    for number, case in enumerate(cases):
        column = 30 - 5 * number
        write_png(root / "sar" / f"{case}.png", np.full((30, 40), 90, np.uint8))
        write_png(root / "g" / f"{case}_front.png", front_at(column))
        write_png(root / "z" / f"{case}_zones.png", zones_at(column))
        for model in models:
            write_png(root / model / f"{case}_front.png", front_at(column + 2))
            write_png(root / model / f"{case}_zone.png", zones_at(column + 2))
        (root / "b").mkdir(exist_ok=True)
        (root / "b" / f"{case}_box.txt").write_text("x, y\n2, 3\n2, 28\n38, 28\n38, 3\n")
    for name, column in (("e1", 3), ("e2", 28)):
        write_png(root / name / f"{COL[0]}_front.png", front_at(column))
    rows = [cells(case, model) for model in models for case in cases]
    folders = {"labels": root / "g", "zones": root / "z", "boxes": root / "b", "images": root / "sar"}
    checkpoints = {"epoch 1": root / "e1", "epoch 2": root / "e2"}
    given = {"predictions": {model: root / model for model in models}, "checkpoints": checkpoints, **folders}
    return write_table(root / "images.csv", rows), given


def written(out):
    return sorted(str(path.relative_to(out)) for path in out.rglob("*") if path.is_file())


def problems(*arguments, **options):
    with pytest.raises(BadCasesError) as caught:
        front_plots(*arguments, **options)
    return "\n".join(caught.value.problems)


def test_everything_is_drawn_from_all_inputs(tmp_path):
    table, given = inputs(tmp_path)
    drawn = front_plots(table, tmp_path / "out", **given)
    assert drawn.left_out == {}
    assert written(tmp_path / "out") == sorted([
        "areas.csv", "areas/COL.png", "areas/JAC.png", "boxes.png", "captions.md", "fronts/COL.png", "fronts/JAC.png",
        *(f"overlay/{case}.png" for case in COL + JAC), f"progress/{COL[0]}.gif", "retreat/COL_label.gif",
        "retreat/COL_m.gif", "retreat/JAC_label.gif", "retreat/JAC_m.gif", "timeline.png",
    ])  # fmt: skip
    assert sorted(str(path.relative_to(tmp_path / "out")) for path in drawn.written) == written(tmp_path / "out")
    with Image.open(tmp_path / "out" / "overlay" / f"{COL[0]}.png") as overlay:
        pixels = np.array(overlay)
    # Label column 30, prediction 32, each three wide; box from 2 to 37.
    assert [tuple(pixels[15, column].tolist()) for column in (3, 29, 31, 33)] == [
        (0, 255, 255), (0, 0, 255), (255, 0, 255), (255, 255, 0),
    ]  # fmt: skip
    with Image.open(tmp_path / "out" / "retreat" / "COL_m.gif") as gif:
        assert gif.n_frames == 2
    with Image.open(tmp_path / "out" / "progress" / f"{COL[0]}.gif") as gif:
        assert gif.n_frames == 2


def test_the_table_of_areas_is_in_square_kilometres(tmp_path):
    table, given = inputs(tmp_path)
    front_plots(table, tmp_path / "out", zones=given["zones"], plots=["areas"])
    with (tmp_path / "out" / "areas.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["case"]) for row in rows] == [("label", COL[0]), ("label", JAC[0]), ("label", COL[1])]
    # Image COL[0]: 5 rows of rock, 25 rows of 30 columns of glacier and 10 of ocean, pixels of 49 m².
    measured = [float(rows[0][f"{zone}_km2"]) for zone in ("na", "rock", "glacier", "ocean")]
    assert measured == pytest.approx([0, 200 * 49e-6, 750 * 49e-6, 250 * 49e-6])
    # JAC: 20 columns of glacier, pixels of 400 m².
    assert float(rows[1]["glacier_km2"]) == pytest.approx(25 * 20 * 400e-6)


def test_the_table_alone_gives_what_it_can_and_says_what_is_missing(tmp_path, capsys):
    table, _ = inputs(tmp_path)
    assert main(["-t", str(table), "-o", str(tmp_path / "out"), "-np", "1"]) == 0
    assert written(tmp_path / "out") == ["boxes.png", "captions.md", "timeline.png"]
    said = capsys.readouterr().out
    assert "left out: overlay: needs --images and -g and -p with files <case>_front.png" in said
    assert "left out: areas: needs --zones" in said
    assert "left out: progress: needs --checkpoints" in said
    assert "written: 3 files" in said


def test_a_plot_that_is_asked_for_and_cannot_be_drawn_is_an_error(tmp_path):
    table, given = inputs(tmp_path)
    said = problems(table, tmp_path / "out", plots=["overlay", "progress", "boxes"], labels=given["labels"])
    assert "--plots overlay: needs --images and -p" in said
    assert "--plots progress: needs --checkpoints" in said
    assert not (tmp_path / "out").exists()


def test_some_glaciers_and_formats(tmp_path):
    table, given = inputs(tmp_path)
    options = {"glaciers": ["JAC"], "plots": ["fronts", "boxes"], "formats": ["pdf", "svg"]}
    front_plots(table, tmp_path / "out", **given, **options)
    assert written(tmp_path / "out") == ["boxes.pdf", "boxes.svg", "captions.md", "fronts/JAC.pdf", "fronts/JAC.svg"]


def test_models_have_a_folder_of_overlays_each(tmp_path):
    table, given = inputs(tmp_path, models=("a", "b"))
    front_plots(table, tmp_path / "out", **given, plots=["overlay"], glaciers=["JAC"])
    assert written(tmp_path / "out") == ["captions.md", *(f"overlay/{m}/{JAC[0]}.png" for m in "ab")]


def test_names_of_models_and_glaciers_cannot_leave_the_output(tmp_path):
    table, given = inputs(tmp_path)
    rows = [cells(case, "../..:/m", glacier="..") for case in COL]
    write_table(table, rows)
    given["predictions"] = {"../..:/m": tmp_path / "m"}
    front_plots(table, tmp_path / "out", **given, plots=["fronts", "retreat"])
    assert written(tmp_path / "out") == [
        "captions.md",
        "fronts/__.png",
        "retreat/___.._..__m.gif",
        "retreat/___label.gif",
    ]


def test_pictures_that_would_have_one_name_are_refused(tmp_path):
    table, given = inputs(tmp_path)
    write_table(table, [cells(COL[0], glacier="a:b"), cells(COL[1], glacier="A*b")])
    with pytest.raises(InputError, match="several pictures would be called fronts/A_b, fronts/a_b"):
        front_plots(table, tmp_path / "out", labels=given["labels"], plots=["fronts"])
    assert not (tmp_path / "out").exists()


def test_all_that_is_wrong_with_the_files_is_told_and_nothing_is_written(tmp_path):
    table, given = inputs(tmp_path)
    (given["labels"] / f"{COL[0]}_front.png").unlink()
    write_png(given["labels"] / f"{COL[1]}_front.png", front_at(3, (30, 41)))
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(given["zones"] / f"{JAC[0]}_zones.png")
    (given["boxes"] / f"{JAC[0]}_box.txt").unlink()
    (given["images"] / f"{JAC[0]}.png").write_bytes(b"no image")
    said = problems(table, tmp_path / "out", **given)
    assert f"case {COL[0]!r}: no file in {given['labels']}, expected {COL[0]}_front.png" in said
    assert f"{COL[1]}_front.png: 30 rows and 41 columns, but {given['images'] / COL[1]}.png has 30 and 40" in said
    assert f"{JAC[0]}_zones.png: an image of mode RGB, expected 8 bit and one channel" in said
    assert f"case {JAC[0]!r}: no box" in said
    assert f"{JAC[0]}.png: cannot be opened as an image" in said
    assert not (tmp_path / "out").exists()


def test_unknown_grey_levels_are_found_while_drawing_and_nothing_stays(tmp_path):
    table, given = inputs(tmp_path)
    bad = front_at(3)
    bad[0, 0] = 7
    write_png(given["labels"] / f"{COL[1]}_front.png", bad)
    write_png(given["zones"] / f"{COL[1]}_zones.png", bad)
    said = problems(table, tmp_path / "out", **given)
    assert f"{COL[1]}_zones.png: grey values" in said
    said = problems(table, tmp_path / "out", **given | {"zones": None})
    assert said.count(f"{COL[1]}_front.png: grey values 7 (1 pixels) found") == 1
    assert [path.name for path in tmp_path.iterdir() if "out" in path.name] == []


def test_images_may_have_the_names_of_nnunet(tmp_path):
    table, given = inputs(tmp_path)
    for path in list(given["images"].iterdir()):
        path.rename(path.with_name(f"{path.stem}_0000.png"))
    front_plots(table, tmp_path / "out", **given, plots=["overlay"])
    assert len(written(tmp_path / "out")) == 4


def test_a_model_without_fronts_is_told_and_one_without_anything_refused(tmp_path):
    table, given = inputs(tmp_path, models=("a", "b"))
    for path in (tmp_path / "b").glob("*_front.png"):
        path.unlink()
    drawn = front_plots(table, tmp_path / "out", **given, plots=["retreat", "areas"], glaciers=["JAC"])
    assert drawn.left_out == {"fronts of b": f"no file *_front.png in {tmp_path / 'b'}"}
    assert "retreat/JAC_b.gif" not in written(tmp_path / "out")
    for path in (tmp_path / "b").iterdir():
        path.unlink()
    assert "no files <case>_front.png or <case>_zone.png" in problems(table, tmp_path / "out2", **given)


def test_a_model_that_the_table_does_not_have_is_refused(tmp_path):
    table, given = inputs(tmp_path)
    with pytest.raises(InputError, match="no model other; expected -p NAME=FOLDER with m"):
        front_plots(table, tmp_path / "out", predictions={"other": tmp_path / "m"})
    with pytest.raises(MissingInputError, match="no such folder"):
        front_plots(table, tmp_path / "out", predictions={"m": tmp_path / "nowhere"})
    assert given


def manifest_beside(table, **more):
    said = {"compat": None, "min_length": 70.0, "strait_width": 0, "bridged_gap": 0} | more
    path = table.with_name("manifest.json")
    path.write_text(json.dumps({"command": "evaluate_fronts", "arguments": said}))
    return path


def columns_of(overlay, colour, row=15):
    with Image.open(overlay) as picture:
        return np.flatnonzero((np.array(picture)[row] == colour).all(axis=-1)).tolist()


YELLOW, CYAN = (255, 255, 0), (0, 255, 255)


def test_beside_the_manifest_of_the_errors_fronts_are_drawn_as_they_were_scored(tmp_path):
    table, given = inputs(tmp_path)
    wide = np.maximum(np.maximum(front_at(9), front_at(10)), front_at(11))
    wide[0:3, 20] = 255  # too short, and not in the box
    wide[20:25, 30] = 255  # too short
    write_png(tmp_path / "m" / f"{COL[0]}_front.png", wide)
    options = {"plots": ["overlay"], "width": 1}
    drawn = tmp_path / "with" / "overlay" / f"{COL[0]}.png"
    front_plots(table, tmp_path / "without", **given, **options)
    assert columns_of(tmp_path / "without" / "overlay" / drawn.name, YELLOW) == [9, 10, 11]
    assert "as the files have them" in (tmp_path / "without" / "captions.md").read_text()
    manifest_beside(table)
    front_plots(table, tmp_path / "with", **given, **options)
    assert columns_of(drawn, YELLOW) == [10]
    assert (columns_of(drawn, YELLOW, row=1), columns_of(drawn, YELLOW, row=22)) == ([], [10])
    assert "parts of up to 70 m" in (tmp_path / "with" / "captions.md").read_text()
    (given["boxes"] / f"{COL[0]}_box.txt").write_text("x, y\n12, 3\n12, 28\n38, 28\n38, 3\n")
    front_plots(table, tmp_path / "with", **given, **options, overwrite=True)
    assert columns_of(drawn, YELLOW) == []
    assert columns_of(drawn, CYAN) == [12, 37]


def test_fronts_that_were_scored_from_zones_are_drawn_from_zones(tmp_path):
    table, given = inputs(tmp_path)
    for path in (tmp_path / "m").glob("*_front.png"):
        path.unlink()
    (tmp_path / "e1" / f"{COL[0]}_front.png").unlink()
    write_png(tmp_path / "e1" / f"{COL[0]}_zone.png", zones_at(20))
    write_table(table, [cells(case, source="zone") for case in COL + JAC])
    manifest_beside(table)
    drawn = front_plots(table, tmp_path / "out", **given, width=1)
    assert drawn.left_out == {}
    # The ocean begins in column 32; the front has been looked for in rows 3 to 27.
    overlay = tmp_path / "out" / "overlay" / f"{COL[0]}.png"
    assert (columns_of(overlay, YELLOW), columns_of(overlay, YELLOW, row=28)) == ([32], [])
    assert "retreat/COL_m.gif" in written(tmp_path / "out")
    with Image.open(tmp_path / "out" / "progress" / f"{COL[0]}.gif") as gif:
        assert gif.n_frames == 2


def test_a_manifest_that_does_not_say_how_fronts_were_extracted_is_refused(tmp_path):
    table, given = inputs(tmp_path)
    manifest_beside(table, min_length="long")
    with pytest.raises(InputError, match=r"manifest\.json: does not say how fronts were extracted"):
        front_plots(table, tmp_path / "out", **given)
    table.with_name("manifest.json").write_text('{"command": "evaluate"}')
    front_plots(table, tmp_path / "out", **given, plots=["timeline"])


def test_checkpoints_must_all_have_the_image(tmp_path):
    table, given = inputs(tmp_path)
    (tmp_path / "e2" / f"{COL[0]}_front.png").rename(tmp_path / "e2" / f"{COL[1]}_front.png")
    said = problems(table, tmp_path / "out", checkpoints=given["checkpoints"], plots=["progress"])
    assert f"case {COL[1]!r}: no file in {tmp_path / 'e1'}" in said
    assert f"case {COL[0]!r}: no file in {tmp_path / 'e2'}" in said


def test_progress_needs_neither_image_nor_label(tmp_path):
    table, given = inputs(tmp_path)
    front_plots(table, tmp_path / "out", checkpoints=given["checkpoints"], plots=["progress"])
    assert written(tmp_path / "out") == ["captions.md", f"progress/{COL[0]}.gif"]


def test_checkpoints_keep_their_order_and_names(tmp_path):
    (tmp_path / "a=b").mkdir()
    found = parse_checkpoints(["late=x", "early=y", str(tmp_path / "a=b")])
    assert list(found) == ["late", "early", "a=b"]
    for bad in (["a=x", "a=y"], ["=x"], ["a="]):
        with pytest.raises(InputError, match="--checkpoints"):
            parse_checkpoints(bad)


def test_only_an_earlier_output_is_replaced(tmp_path):
    table, _ = inputs(tmp_path)
    out = tmp_path / "out"
    front_plots(table, out, plots=["timeline"])
    with pytest.raises(OutputExistsError):
        front_plots(table, out, plots=["timeline"])
    front_plots(table, out, plots=["boxes"], overwrite=True)
    assert written(out) == ["boxes.png", "captions.md"]
    (out / "mine.txt").write_text("keep")
    with pytest.raises(OutputExistsError, match=r"mine\.txt was not written by this command"):
        front_plots(table, out, plots=["boxes"], overwrite=True)
    with pytest.raises(InputError, match="would replace the input"):
        front_plots(table, tmp_path, plots=["boxes"], overwrite=True)


def test_requests_that_make_no_sense_are_refused_together(tmp_path):
    table, _ = inputs(tmp_path)
    with pytest.raises(InputError, match=r"--seconds 0.*--width 0.*format 'jpg'.*plot 'pie'"):
        front_plots(table, tmp_path / "out", plots=["pie"], formats=["jpg"], width=0, seconds=0)


def test_notes_can_be_left_out_of_figures_but_not_of_the_captions(tmp_path):
    table, given = inputs(tmp_path)
    for name, notes in (("with", True), ("without", False)):
        front_plots(table, tmp_path / name, labels=given["labels"], plots=["fronts"], formats=["svg"], notes=notes)
        assert "not georeferenced" in (tmp_path / name / "captions.md").read_text()
    sizes = [(tmp_path / name / "fronts" / "COL.svg").stat().st_size for name in ("with", "without")]
    assert sizes[0] > sizes[1]
