"""The command: the numbers of the specification, groups, several models, and what it refuses."""

from __future__ import annotations

import json
import math
import pickle
import re
import shutil

import numpy as np
import pytest
import SimpleITK

from evaluation.evaluate_fronts import evaluate_fronts, main
from evaluation.front_scores.inputs import boxes_by_stem, find_cases
from evaluation.front_scores.measure import Extraction, measure_image
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError, OutputExistsError
from tests.evaluation.fronts.builders import (
    SHAPE,
    A,
    B,
    C,
    evaluated,
    line,
    read_rows,
    read_summary,
    row,
    write,
    write_front,
    write_images_a_b_c,
)

COLUMNS = [
    *("model", "case", "glacier", "date", "satellite", "resolution", "season", "n_pred", "n_label"),
    *("sum_pred_to_label", "sum_label_to_pred", "mean", "no_front"),
]


@pytest.fixture(autouse=True)
def without_drawing(monkeypatch):
    """Leave out the report, which takes most of the time; test_front_report.py has it."""
    monkeypatch.setattr("evaluation.evaluate_fronts._report", lambda *_, **__: "")


def one_image(folder, stem, predicted, label):
    write_front(folder / "predictions", stem, predicted)
    write_front(folder / "fronts", stem, label)
    return folder / "predictions", folder / "fronts"


def zone_map(shape=SHAPE, column=20):
    """Return grey levels of zones whose front is the given column."""
    found = np.full(shape, 127)
    found[:, column:] = 254
    return found


def problems(*arguments, **options):
    with pytest.raises(BadCasesError) as caught:
        evaluate_fronts(*arguments, **options)
    return caught.value.problems


# The numbers of the specification


def test_lines_three_rows_apart_at_7_metres(tmp_path):
    predictions, labels = one_image(tmp_path, B, row(8), row(5))
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    (image,) = read_rows(tmp_path / "out" / "images.csv")
    assert float(image["mean"]) == 21.0
    assert (image["n_pred"], image["n_label"]) == ("10", "10")
    assert (float(image["sum_pred_to_label"]), float(image["sum_label_to_pred"])) == (210.0, 210.0)


def test_a_missed_pixel_counts_with_its_distance(tmp_path):
    predictions, labels = one_image(tmp_path, B, line((0, 0)), line((0, 0), (0, 10)))
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    assert read_summary(tmp_path / "out")["prediction"]["all"]["mde"] == pytest.approx(23.333, abs=5e-4)


def test_images_are_pooled_and_missing_fronts_are_counted(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    found = read_summary(tmp_path / "out")["prediction"]
    assert found["all"]["mde"] == 10.0
    assert found["all"]["mean_of_image_means"] == 30.0
    assert found["all"]["median_of_image_means"] == 30.0
    assert (found["all"]["no_front"], found["all"]["images"]) == (1, 3)
    assert {group: errors["mde"] for group, errors in found["resolution"].items()} == {"7": 0.0, "20": 60.0}
    assert found["resolution"]["7"]["no_front"] == 1


def test_a_missed_front_is_penalised_with_the_diagonal_of_the_image(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    # A has 2 distances of 60, B 10 of 0, C 5 label pixels without partner.
    expected = (120 + 5 * 7 * math.hypot(*SHAPE)) / 17
    assert read_summary(tmp_path / "out")["prediction"]["all"]["penalised_mde"] == pytest.approx(expected)


# images.csv


def test_images_csv_holds_the_fields_of_the_names(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    images = {image["case"]: image for image in read_rows(tmp_path / "out" / "images.csv")}
    assert list(images[A])[: len(COLUMNS)] == COLUMNS
    fields = ("glacier", "date", "satellite", "resolution", "season", "quality", "orbit")
    assert [images[A][field] for field in fields] == ["COL", "2011-11-13", "TDX", "20", "winter", "1", "092"]
    assert images[B]["season"] == "summer"
    assert images[C]["season"] == "winter"


def test_an_image_without_front_has_no_mean(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    image = next(image for image in read_rows(tmp_path / "out" / "images.csv") if image["case"] == C)
    assert [image[key] for key in ("n_pred", "n_label", "mean", "no_front")] == ["0", "5", "nan", "1"]
    assert (image["sum_pred_to_label"], image["sum_label_to_pred"]) == ("0.0", "nan")


def test_an_image_without_front_in_both_is_counted_and_not_averaged(tmp_path):
    write_images_a_b_c(tmp_path)
    predictions, labels = one_image(tmp_path, "COL_2011-05-01_TDX_20_1_092", line(), line())
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    found = read_summary(tmp_path / "out")["prediction"]["all"]
    assert (found["no_front"], found["missed"], found["invented"]) == (2, 1, 0)
    assert (found["mde"], found["mean_of_image_means"]) == (10.0, 30.0)
    means = [image["mean"] for image in read_rows(tmp_path / "out" / "images.csv") if image["no_front"] == "1"]
    assert means == ["nan", "nan"]


def test_hd95_is_the_larger_of_the_two_directions(tmp_path):
    predictions, labels = one_image(tmp_path, B, row(5, range(10)), row(5, range(20)))
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    (image,) = read_rows(tmp_path / "out" / "images.csv")
    assert float(image["hd95"]) == pytest.approx(7 * np.percentile([0] * 10 + list(range(1, 11)), 95))


# Groups


def test_tables_hold_every_resolution_and_satellite(tmp_path):
    for metres, satellite in ((6, "RSAT"), (12, "ENVISAT"), (20, "ERS")):
        one_image(tmp_path, f"COL_2011-11-13_{satellite}_{metres}_1_092", row(8), row(5))
    evaluated(tmp_path / "out", "-p", tmp_path / "predictions", "-g", tmp_path / "fronts")
    found = read_summary(tmp_path / "out")["prediction"]
    assert {group: errors["mde"] for group, errors in found["resolution"].items()} == {"6": 18, "12": 36, "20": 60}
    assert set(found["satellite"]) == {"RSAT", "ENVISAT", "ERS"}
    assert found["satellite × resolution"]["ERS × 20"]["images"] == 1


def test_the_total_of_a_glacier_is_not_that_of_its_last_season(tmp_path):
    one_image(tmp_path, "COL_2011-11-13_TDX_7_1_092", row(8), row(5))
    one_image(tmp_path, "COL_2011-06-13_TDX_7_1_092", row(6), row(5))
    evaluated(tmp_path / "out", "-p", tmp_path / "predictions", "-g", tmp_path / "fronts")
    found = read_summary(tmp_path / "out")["prediction"]
    assert found["glacier"] == {"COL": found["all"]}
    assert (found["glacier"]["COL"]["mde"], found["glacier"]["COL"]["images"]) == (14.0, 2)
    assert {group: errors["mde"] for group, errors in found["glacier × season"].items()} == {
        "COL × summer": 7.0,
        "COL × winter": 21.0,
    }


def test_every_grouping_has_all_images(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    rows = read_rows(tmp_path / "out" / "summary.csv")
    groupings = {entry["grouping"] for entry in rows}
    assert len(groupings) == 1 + 4 + 6
    for grouping in groupings:
        assert sum(int(entry["images"]) for entry in rows if entry["grouping"] == grouping) == 3


def test_intervals_hold_the_errors(tmp_path):
    for day in range(1, 9):
        one_image(tmp_path, f"COL_2011-11-{day:02d}_TDX_7_1_092", row(5 + day), row(5, range(10 + day)))
    evaluated(tmp_path / "out", "-p", tmp_path / "predictions", "-g", tmp_path / "fronts")
    found = read_summary(tmp_path / "out")["prediction"]["all"]
    for name, value in (("mde", found["mde"]), ("mean", found["mean_of_image_means"])):
        low, high = found[f"{name}_interval"]
        assert low < value < high
    assert found["mde_interval"] != found["mean_interval"]


# Where fronts come from


def test_fronts_are_taken_from_zones_where_there_are_no_fronts(tmp_path):
    write(tmp_path / "p" / f"{B}_zone.png", zone_map())
    write_front(tmp_path / "g", B, row(5, [20]))
    evaluated(tmp_path / "out", "-p", tmp_path / "p", "-g", tmp_path / "g")
    (image,) = read_rows(tmp_path / "out" / "images.csv")
    assert (image["n_pred"], image["source"]) == (str(SHAPE[0]), "zone")


def test_fronts_are_preferred_unless_zones_are_asked_for(tmp_path):
    write(tmp_path / "p" / f"{B}_zone.png", zone_map())
    write(tmp_path / "p" / f"{B}_boundary.png", zone_map() * 0)
    write_front(tmp_path / "p", B, row(5))
    write_front(tmp_path / "g", B, row(5))
    for words, pixels in (((), "10"), (("--from", "front"), "10"), (("--from", "zone"), str(SHAPE[0]))):
        evaluated(tmp_path / "out", "-p", tmp_path / "p", "-g", tmp_path / "g", *words, "--overwrite")
        assert read_rows(tmp_path / "out" / "images.csv")[0]["n_pred"] == pixels


def test_label_maps_with_class_indices_are_predictions(tmp_path):
    (tmp_path / "fronts").mkdir()
    for kind, stored in (("front", row(5)), ("zone", np.where(zone_map() == 127, 2, 3))):
        image = SimpleITK.GetImageFromArray(stored.astype(np.uint8)[None])
        (tmp_path / kind).mkdir()
        SimpleITK.WriteImage(image, str(tmp_path / kind / f"{B}.nii.gz"))
    write_front(tmp_path / "g", B, row(5))
    found = evaluate_fronts(
        {"front": tmp_path / "front", "zone": tmp_path / "zone"}, tmp_path / "g", tmp_path / "out", min_length=0
    )
    assert [(image.source, image.n_pred) for image in found.images] == [("front", 10), ("zone", SHAPE[0])]


def test_short_fronts_are_dropped_by_default(tmp_path):
    predictions, labels = one_image(tmp_path, B, row(5), row(5))
    (image,) = evaluate_fronts({"m": predictions}, labels, tmp_path / "out").images
    assert (image.n_pred, image.n_label, image.no_front) == (0, 10, 1)


def test_the_default_length_is_that_of_the_extraction():
    from evaluation import evaluate_fronts as command
    from evaluation import front_extraction

    assert command.MIN_LENGTH == front_extraction.MIN_LENGTH


def test_a_strait_has_a_front_by_default_and_floods_the_glacier_as_in_the_benchmark(tmp_path):
    zones = np.full(SHAPE, 64)
    zones[:, :20], zones[:, 20:25] = 127, 254
    write(tmp_path / "p" / f"{B}_zone.png", zones)
    write_front(tmp_path / "g", B, row(5, [20]))
    evaluated(tmp_path / "ours", "-p", tmp_path / "p", "-g", tmp_path / "g")
    evaluated(tmp_path / "compat", "-p", tmp_path / "p", "-g", tmp_path / "g", "--compat", "caffe")
    assert read_rows(tmp_path / "ours" / "images.csv")[0]["n_pred"] == str(SHAPE[0])
    assert read_rows(tmp_path / "compat" / "images.csv")[0]["no_front"] == "1"


def test_the_box_cuts_the_prediction_and_leaves_the_label(tmp_path):
    predictions, labels = one_image(tmp_path, B, row(5, range(30)), row(5, range(30)))
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / f"{B}_bb.txt").write_text("x, y\n10, 30\n10, 2\n20, 2\n20, 30\n")
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels, "--boxes", tmp_path / "boxes")
    (image,) = read_rows(tmp_path / "out" / "images.csv")
    assert (image["n_pred"], image["n_label"]) == ("10", "30")


def test_a_box_beyond_the_image_loses_its_last_column_as_in_the_benchmark(tmp_path):
    columns = range(SHAPE[1])
    predictions, labels = one_image(tmp_path, B, row(5, columns), row(5, columns))
    (tmp_path / "boxes").mkdir()
    (tmp_path / "boxes" / f"{B}.txt").write_text("x, y\n0, 30\n0, 2\n99, 2\n99, 30\n")
    for words, pixels in (((), SHAPE[1]), (("--compat", "caffe"), SHAPE[1] - 1)):
        evaluated(
            tmp_path / "out", "-p", predictions, "-g", labels, "--boxes", tmp_path / "boxes", "--overwrite", *words
        )
        assert read_rows(tmp_path / "out" / "images.csv")[0]["n_pred"] == str(pixels)


def test_a_box_belongs_to_the_whole_orbit(tmp_path):
    for name in ("COL_2011-11-13_TDX_7_1_09_bb.txt", "COL_2011-11-13_TDX_7_1_092_bb.txt", "notes.txt"):
        (tmp_path / name).touch()
    found, wrong = boxes_by_stem(tmp_path, ["COL_2011-11-13_TDX_7_1_09", "COL_2011-11-13_TDX_7_1_092"])
    assert [path.name for path in found.values()] == [
        "COL_2011-11-13_TDX_7_1_09_bb.txt",
        "COL_2011-11-13_TDX_7_1_092_bb.txt",
    ]
    assert not wrong


# Several models


def test_several_models_stand_side_by_side(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    shutil.copytree(predictions, tmp_path / "better")
    write_front(tmp_path / "better", C, row(4, range(5)))
    evaluated(tmp_path / "out", "-p", f"first={predictions}", f"second={tmp_path / 'better'}", "-g", labels)
    found = read_summary(tmp_path / "out")
    assert list(found) == ["first", "second"]
    assert [found[model]["all"]["no_front"] for model in found] == [1, 0]
    assert found["second"]["all"]["mde"] == pytest.approx(120 / 22)
    assert [image["model"] for image in read_rows(tmp_path / "out" / "images.csv")] == ["first"] * 3 + ["second"] * 3


# What is written


def test_all_files_appear_together(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("images.csv", "summary.csv", "summary.json", "table.tex", "report.html", "manifest.json")
    }
    made_of = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert made_of["command"] == "evaluate_fronts"
    assert len(made_of["inputs"]) == 6


def test_summary_json_is_strict_json(tmp_path):
    predictions, labels = one_image(tmp_path, B, line(), row(5))
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)

    def refuse(name):
        raise AssertionError(name)

    text = (tmp_path / "out" / "summary.json").read_text()
    assert json.loads(text, parse_constant=refuse)["prediction"]["all"]["mde"] is None


def test_the_printed_summary_has_a_dash_where_there_is_no_error(tmp_path, capsys):
    predictions, labels = one_image(tmp_path, B, line(), row(5))
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    said = capsys.readouterr().out
    assert "nan" not in said
    assert said.splitlines()[1].split()[:4] == ["prediction", "1", "1", "-"]


def test_an_earlier_output_is_replaced_on_request_alone(tmp_path, capsys):
    predictions, labels = write_images_a_b_c(tmp_path)
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels)
    with pytest.raises(OutputExistsError):
        evaluate_fronts({"m": predictions}, labels, tmp_path / "out")
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels, "--overwrite")
    (tmp_path / "out" / "notes.txt").touch()
    with pytest.raises(OutputExistsError, match=r"notes\.txt was not written by this command"):
        evaluate_fronts({"m": predictions}, labels, tmp_path / "out", overwrite=True)
    assert "30.0" in capsys.readouterr().out


def test_the_output_never_replaces_an_input(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    with pytest.raises(InputError, match="would replace the input"):
        evaluate_fronts({"m": predictions}, labels, tmp_path, overwrite=True)


def test_results_come_back_from_other_processes(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    cases, _ = find_cases({"m": predictions}, labels)
    for case in cases:
        result = measure_image(pickle.loads(pickle.dumps(case)), Extraction(min_length=0))
        again = pickle.loads(pickle.dumps(result))
        assert again.case == case
        assert again.distances.n_pred == result.distances.n_pred


# What is refused


def test_all_problems_are_listed_at_once_and_nothing_is_written(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    (predictions / f"{A}_front.png").unlink()
    write_front(predictions, "COL_2001-01-01_ERS_20_2_001", row(5))
    write_front(predictions, B, row(5, shape=(41, 60)))
    write_front(labels, "iceberg", row(5))
    (tmp_path / "boxes").mkdir()
    for name in ("a", "b"):
        (tmp_path / "boxes" / f"{B}_{name}.txt").touch()
    found = problems({"m": predictions}, labels, tmp_path / "out", boxes=tmp_path / "boxes")
    expected = [
        f"no prediction of image '{A}'",
        "no label of image 'COL_2001-01-01_ERS_20_2_001'",
        "41 rows and 60 columns, expected 40 and 60",
        "'iceberg' is no name of a CaFFe image",
        f"image '{B}' has several boxes",
        f"image '{C}' has no box",
    ]
    assert [text for text in expected if not any(text in problem for problem in found)] == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("suffix", "value", "expected"),
    [
        ("front", 200, r"grey values 200 \(2 pixels\) found, expected 0 \(background\), 255 \(front\)"),
        ("zone", 84, r"grey values 84 \(2 pixels\) found, expected 0 \(na\), 64 \(rock\)"),
        ("zone", 1, r"grey values 1 \(2 pixels\) found"),
    ],
)
def test_a_grey_value_between_the_levels_is_named_with_its_file(tmp_path, suffix, value, expected):
    stored = zone_map() if suffix == "zone" else row(5) * 255
    stored[0, :2] = value
    path = write(tmp_path / "p" / f"{B}_{suffix}.png", stored)
    write_front(tmp_path / "g", B, row(5))
    (found,) = problems({"m": tmp_path / "p"}, tmp_path / "g", tmp_path / "out")
    assert found.startswith(f"{path}: ")
    assert re.search(expected, found)
    assert not (tmp_path / "out").exists()


def test_colours_and_volumes_are_refused(tmp_path):
    write(tmp_path / "p" / f"{B}_front.png", np.zeros((*SHAPE, 4)))
    write_front(tmp_path / "g", B, row(5))
    (found,) = problems({"m": tmp_path / "p"}, tmp_path / "g", tmp_path / "out")
    assert "4 channels" in found
    (tmp_path / "v").mkdir()
    volume = SimpleITK.GetImageFromArray(np.zeros((3, *SHAPE), np.uint8))
    SimpleITK.WriteImage(volume, str(tmp_path / "v" / f"{B}_front.nii.gz"))
    (found,) = problems({"m": tmp_path / "v"}, tmp_path / "g", tmp_path / "out")
    assert "3 slices" in found


def test_two_files_of_one_image_are_refused(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    shutil.copy(predictions / f"{B}_front.png", predictions / f"{B}_front.tif")
    found = problems({"m": predictions}, labels, tmp_path / "out")
    assert any(f"image '{B}' has several files" in problem for problem in found)


def test_other_names_need_a_resolution(tmp_path):
    predictions, labels = one_image(tmp_path, "COl_7", row(8), row(5))
    (found,) = problems({"m": predictions}, labels, tmp_path / "out")
    assert "'COl_7' is no name of a CaFFe image" in found
    assert "--resolution METRES" in found
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels, "--resolution", "20")
    (image,) = read_rows(tmp_path / "out" / "images.csv")
    assert [image[key] for key in ("glacier", "date", "season", "resolution", "mean")] == [
        *("unknown", "", "unknown", "20", "60.0")
    ]


def test_a_given_resolution_does_not_replace_that_of_a_name(tmp_path):
    predictions, labels = one_image(tmp_path, B, row(8), row(5))
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels, "--resolution", "20")
    assert read_rows(tmp_path / "out" / "images.csv")[0]["mean"] == "21.0"


def test_a_subset_of_the_labels_may_be_predicted(tmp_path):
    predictions, labels = write_images_a_b_c(tmp_path)
    (predictions / f"{C}_front.png").unlink()
    evaluated(tmp_path / "out", "-p", predictions, "-g", labels, "--subset")
    assert read_summary(tmp_path / "out")["prediction"]["all"]["images"] == 2


def test_missing_folders_are_named(tmp_path):
    _, labels = write_images_a_b_c(tmp_path)
    with pytest.raises(MissingInputError, match=r"nowhere, .*nothing"):
        evaluate_fronts({"m": tmp_path / "nowhere"}, labels, tmp_path / "out", boxes=tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    found = problems({"m": tmp_path / "empty"}, labels, tmp_path / "out", subset=True)
    assert found == [f"{tmp_path / 'empty'}: no file found, expected <stem>_front.png"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"source": "fronts"}, "--from fronts: expected front or zone"),
        ({"compat": "other"}, "--compat other: expected caffe"),
        ({"resolution": 0}, "--resolution 0: expected"),
        ({"min_length": -1}, "--min-length -1: expected"),
        ({"worst": -1}, "--worst -1: expected"),
        ({"bridged_gap": -1}, "--bridged-gap -1: expected"),
    ],
)
def test_options_out_of_range_are_refused_before_anything_is_read(tmp_path, options, expected):
    with pytest.raises(InputError, match=expected):
        evaluate_fronts({"m": tmp_path / "p"}, tmp_path / "g", tmp_path / "out", **options)


def test_errors_go_to_standard_error(tmp_path, capsys):
    assert main(["-p", str(tmp_path / "p"), "-g", str(tmp_path / "g"), "-o", str(tmp_path / "out")]) == 1
    assert "evaluate_fronts: error: no such folder" in capsys.readouterr().err
