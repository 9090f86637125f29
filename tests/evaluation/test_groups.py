"""Groups of cases from tables, patterns and presets, and what is wrong with them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation.groups import Grouping, read_grouping
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError

CASES = ["site_A_01", "site_B_01", "site_A_02"]
CAFFE = ["COL_2011-11-13_TDX_7_1_092", "Mapple_2007-05-01_ENVISAT_20_3_117"]


def table(folder, text, name="sites.csv", encoding="utf-8"):
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def by_table(folder, text, column="site", cases=("a", "b"), **how):
    (grouping,) = read_grouping(f"{table(folder, text, **how)}:{column}", cases)
    return grouping


def problems(text, cases):
    with pytest.raises(BadCasesError) as raised:
        read_grouping(text, cases)
    return raised.value.problems


# Tables


def test_a_column_of_a_table_groups_the_cases(tmp_path):
    found = by_table(tmp_path, "case,site,age\na,north,3\nb,south,4\nc,south,5\n")
    assert found == Grouping("site", {"a": "north", "b": "south"})


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_tables_as_programs_write_them(tmp_path, encoding, delimiter, newline):
    lines = [["case", "größe", "site"], ["a", '"x y"', "Süd"], ["b", "", " Nord "], ["", "", ""]]
    text = newline.join(delimiter.join(cells) for cells in lines)
    assert by_table(tmp_path, text, encoding=encoding).of_case == {"a": "Süd", "b": "Nord"}


def test_decimal_commas_and_quotes_do_not_hide_the_separator(tmp_path):
    text = '"case";"pH, in water";"clay, %";"site"\n"a";"6,5";"12,1";"x;y"\n"b";"6,1";"13,2";"z"\n'
    assert by_table(tmp_path, text).of_case == {"a": "x;y", "b": "z"}
    assert by_table(tmp_path, text, column="pH, in water").of_case == {"a": "6,5", "b": "6,1"}
    assert by_table(tmp_path, "case;x, y, z\na;1\nb;2\n", column="x, y, z").of_case == {"a": "1", "b": "2"}


def test_cases_may_have_their_file_ending_and_dots(tmp_path):
    found = by_table(
        tmp_path, "case,site\na.nii.gz,1\nb.v2.TIF,2\nc.5,3\nd.png,4\n", cases=["a", "b.v2", "c.5", "d.png"]
    )
    assert found.of_case == {"a": "1", "b.v2": "2", "c.5": "3", "d.png": "4"}


def test_a_drive_letter_and_colons_are_no_separators(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table(tmp_path, "case,site: old\na,1\nb,2\n", name=r"C:\x.csv")
    assert read_grouping(r"C:\x.csv:site: old", ["a"]) == [Grouping("site: old", {"a": "1"})]


def test_an_unknown_column_is_answered_with_those_there_are(tmp_path):
    with pytest.raises(InputError, match=r"sites\.csv: no column 'plot'; the columns are 'case', 'site'"):
        by_table(tmp_path, "case,site\na,1\n", column="plot")
    with pytest.raises(InputError, match="no column 'case'; the columns are 'name', 'site'"):
        by_table(tmp_path, "name;site\na;1\n")
    with pytest.raises(InputError, match="several columns 'site'"):
        by_table(tmp_path, "case,site,site\na,1,2\n")


def test_a_table_without_a_column_asks_for_it(tmp_path):
    with pytest.raises(InputError, match=r"which column\? Give FILE:COLUMN"):
        read_grouping(str(table(tmp_path, "case,site\n")), ["a"])


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(MissingInputError, match=r"none\.csv: no such file"):
        read_grouping(f"{tmp_path / 'none.csv'}:site", ["a"])


def test_a_table_in_another_encoding_or_without_content_is_refused(tmp_path):
    with pytest.raises(InputError, match="not in UTF-8"):
        by_table(tmp_path, "case,site\na,Süd\n", encoding="latin-1")
    with pytest.raises(InputError, match="no column 'case'"):
        by_table(tmp_path, "")


def test_every_case_that_is_missing_or_has_no_group_is_named(tmp_path):
    path = table(tmp_path, "case,site\na,1\nb\nc,\n")
    found = problems(f"{path}:site", ["a", "b", "c", "d"])
    assert [f"{path}: case {case!r} is missing or has nothing in column 'site'" for case in "bcd"] == found


def test_a_case_with_two_groups_is_named_with_its_lines(tmp_path):
    path = table(tmp_path, "case,site\na,1\nb,1\na.nii.gz,2\nb,1\nc,1\nc,2\n")
    (found,) = problems(f"{path}:site", ["a", "b"])
    assert "case 'a' has '1' (line 2) and '2' (line 4)" in found


def test_rows_longer_than_the_header_are_named(tmp_path):
    path = table(tmp_path, "case,site\na,1,5\nb,2,,\nc,3,1\n")
    assert problems(f"{path}:site", ["a"]) == [f"{path}, line {line}: 3 cells, but the header has 2" for line in (2, 4)]


CELLS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=5)


@given(st.dictionaries(CELLS.map("case_{}".format), CELLS, min_size=1, max_size=5), st.sampled_from(",;\t"))
@settings(deadline=None, max_examples=50)
def test_what_is_written_is_read(tmp_path_factory, of_case, delimiter):
    quoted = [(case.replace('"', '""'), group.replace('"', '""')) for case, group in of_case.items()]
    text = "".join(f'"{case}"{delimiter}"{group}"\n' for case, group in [("case", "site"), *quoted])
    folder = tmp_path_factory.mktemp("table")
    assert by_table(folder, text, cases=of_case) == Grouping("site", of_case)


# Patterns


def test_named_groups_are_groupings():
    assert read_grouping(r"_(?P<site>[AB])_(?P<core>\d+)", CASES) == [
        Grouping("site", {"site_A_01": "A", "site_B_01": "B", "site_A_02": "A"}),
        Grouping("core", {"site_A_01": "01", "site_B_01": "01", "site_A_02": "02"}),
    ]


def test_without_names_the_first_group_counts_or_else_the_match():
    of_case = {"site_A_01": "A", "site_B_01": "B", "site_A_02": "A"}
    assert read_grouping(r"_([AB])_(\d)", CASES) == [Grouping(r"_([AB])_(\d)", of_case)]
    assert read_grouping("[AB]", CASES) == [Grouping("[AB]", of_case)]


def test_a_pattern_can_be_given_a_name():
    (found,) = read_grouping("site=_([AB])_", CASES)
    assert (found.name, found.of_case["site_B_01"]) == ("site", "B")
    (look_behind,) = read_grouping("(?<=_)[AB]", CASES)
    assert look_behind.name == "(?<=_)[AB]"
    with pytest.raises(InputError, match=r"--group-by .*by plot= and by the groups site of"):
        read_grouping("plot=(?P<site>[AB])", CASES)


def test_every_case_that_does_not_match_is_named():
    assert problems(r"A_(\d)|B", ["A_1", "B_1", "C_1"]) == [
        "case 'B_1': group 1 of 'A_(\\\\d)|B' matches nothing in its name",
        "case 'C_1': group 1 of 'A_(\\\\d)|B' matches nothing in its name",
    ]
    assert problems("(?P<a>A)|(?P<b>B)", ["A", "AB"]) == [
        "case 'A': group b of '(?P<a>A)|(?P<b>B)' matches nothing in its name",
        "case 'AB': group b of '(?P<a>A)|(?P<b>B)' matches nothing in its name",
    ]
    assert problems("[0-9]*", ["1a", "a1"]) == ["case 'a1': '[0-9]*' matches nothing in its name"]


def test_a_misspelt_preset_is_told_what_there_is():
    with pytest.raises(InputError, match=r"'cafe' is no preset \(caffe\) and no FILE.csv:COLUMN.*'site_A_01'"):
        read_grouping("cafe", CASES)


def test_an_invalid_pattern_is_refused_with_its_position():
    with pytest.raises(InputError, match=r"'\(\[AB\]' is no regular expression: .*position 0"):
        read_grouping("([AB]", CASES)


def test_doubled_cases_do_not_matter_and_no_cases_have_no_groups():
    assert read_grouping("[AB]", CASES + CASES) == read_grouping("[AB]", CASES)
    assert read_grouping("[AB]", []) == [Grouping("[AB]", {})]


# The preset of the benchmark


def test_the_preset_groups_by_all_parts_and_their_products():
    groupings = {grouping.name: grouping.of_case for grouping in read_grouping("caffe", CAFFE)}
    first, second = CAFFE
    assert groupings == {
        "glacier": {first: "COL", second: "Mapple"},
        "satellite": {first: "TDX", second: "ENVISAT"},
        "resolution": {first: "7", second: "20"},
        "season": {first: "winter", second: "winter"},
        "glacier × satellite": {first: "COL × TDX", second: "Mapple × ENVISAT"},
        "glacier × resolution": {first: "COL × 7", second: "Mapple × 20"},
        "glacier × season": {first: "COL × winter", second: "Mapple × winter"},
        "satellite × resolution": {first: "TDX × 7", second: "ENVISAT × 20"},
        "satellite × season": {first: "TDX × winter", second: "ENVISAT × winter"},
        "resolution × season": {first: "7 × winter", second: "20 × winter"},
    }


def test_6_and_12_metres_and_a_fraction_are_groups_of_their_own():
    cases = [f"JAC_2015-06-01_S1_{resolution}_2_1" for resolution in ("6", "12", "12.5", "7.0")]
    resolution = next(grouping for grouping in read_grouping("caffe", cases) if grouping.name == "resolution")
    assert list(resolution.of_case.values()) == ["6", "12", "12.5", "7"]


def test_every_name_that_is_none_of_the_benchmark_is_named():
    found = problems("caffe", [CAFFE[0], "case_1", "COL_2011-13-01_TDX_7_1_092"])
    assert [("'case_1'" in found[0], "'COL_2011-13-01_TDX_7_1_092'" in found[1])] == [(True, True)]
    assert len(found) == 2
