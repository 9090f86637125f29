"""Reading images.csv: what is kept, and what is wrong in it."""

from __future__ import annotations

import datetime
import math

import pytest

from evaluation.front_pictures.rows import by_glacier, one_row_per_case, read_rows
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError
from tests.evaluation.front_pictures.builders import cells, stem, write_table

A, B = stem("COL", "2011-11-13"), stem("JAC", "2009-02-01")


def problems(path):
    with pytest.raises(BadCasesError) as caught:
        read_rows(path)
    return "\n".join(caught.value.problems)


def test_a_row_holds_the_sums_over_both_directions(tmp_path):
    (row,) = read_rows(write_table(tmp_path / "t.csv", [cells(A)]))
    assert (row.glacier, row.date, row.satellite, row.resolution) == ("COL", datetime.date(2011, 11, 13), "TDX", 7.0)
    assert (row.n_distances, row.sum_distances, row.mean, row.no_front) == (40, 600.0, 15.0, False)


@pytest.mark.parametrize("mean", ["", "nan", "inf", "0.0"])
@pytest.mark.parametrize("said", ["1", "True", "true"])
def test_an_image_without_front_has_no_error_whatever_stands_there(tmp_path, mean, said):
    row = cells(A, no_front=said, mean=mean, sum_pred_to_label="nan", sum_label_to_pred="")
    (read,) = read_rows(write_table(tmp_path / "t.csv", [row]))
    assert read.no_front
    assert math.isnan(read.mean)
    assert math.isnan(read.sum_distances)


def test_further_columns_do_not_matter(tmp_path):
    assert len(read_rows(write_table(tmp_path / "t.csv", [cells(A, penalty="3")]))) == 1


def test_some_glaciers_can_be_chosen(tmp_path):
    table = write_table(tmp_path / "t.csv", [cells(A), cells(B)])
    assert [row.case for row in read_rows(table, ["JAC"])] == [B]
    with pytest.raises(InputError, match="no glacier Crane; expected some of COL, JAC"):
        read_rows(table, ["Crane"])


def test_everything_wrong_is_told_in_one_go(tmp_path):
    rows = [
        cells(A, date="13.11.2011", resolution="0"),
        cells(B, mean="nan", n_pred="many"),
        cells(B, model="", no_front="maybe"),
    ]
    said = problems(write_table(tmp_path / "t.csv", rows))
    assert "row 2: date is '13.11.2011', expected YYYY-MM-DD" in said
    assert "row 2: resolution is '0'" in said
    assert "row 3: mean is 'nan'" in said
    assert "row 3: n_pred is 'many'" in said
    assert "row 4: no model" in said
    assert "row 4: no_front is 'maybe'" in said


def test_doubles_and_disagreements_are_told(tmp_path):
    said = problems(write_table(tmp_path / "t.csv", [cells(A), cells(A), cells(A, model="n", resolution="20")]))
    assert f"model 'm' has two rows for case {A!r}" in said
    assert f"case {A!r} has resolution 7.0 and 20.0" in said


def test_a_table_that_is_not_one_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"no\.csv: no such file"):
        read_rows(tmp_path / "no.csv")
    (tmp_path / "t.csv").write_text("case,mean\na,1\n")
    with pytest.raises(InputError, match="no column model, glacier"):
        read_rows(tmp_path / "t.csv")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a CSV file"):
        read_rows(tmp_path / "b.csv")
    table = write_table(tmp_path / "e.csv", [cells(A)])
    table.write_text(table.read_text().splitlines()[0] + "\n")
    with pytest.raises(InputError, match="no rows"):
        read_rows(table)


def test_images_are_taken_once_in_order_of_time(tmp_path):
    table = write_table(tmp_path / "t.csv", [cells(A), cells(B), cells(A, model="n")])
    assert [row.case for row in one_row_per_case(read_rows(table))] == [B, A]
    assert {glacier: len(rows) for glacier, rows in by_glacier(read_rows(table)).items()} == {"COL": 2, "JAC": 1}
