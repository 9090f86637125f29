"""Steps of a training, and what is refused before anything is written."""

from __future__ import annotations

import json

import pytest
from nnunetv2.utilities.crossval_split import generate_crossval_split

from nnunet_ext.cluster.check_plans import check_plans
from nnunet_ext.cluster.dataset import find_dataset, number_of_folds, read_configurations
from nnunet_ext.cluster.splits import write_splits
from nnunet_ext.cluster.training import Training, training_steps
from nnunet_ext.errors import BadCasesError, InputError, MissingInputError
from tests.cluster.builders import toy_dataset

PLANS = {
    "2d": {"data_identifier": "p_2d"},
    "3d_fullres": {"data_identifier": "p_3d"},
    "3d_lowres": {"data_identifier": "p_low", "inherits_from": "3d_fullres", "next_stage": "3d_cascade_fullres"},
    "3d_cascade_fullres": {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"},
}
FIVE = tuple("01234")


def steps_of(*configurations, folds=FIVE, **more):
    training = Training(dataset=find_dataset("1"), configurations=configurations, folds=folds, **more)
    return {step.name: step for step in training_steps(training, lambda kind: {"preprocess": 3}.get(kind, 2))}


def problems_of(*configurations, folds=FIVE, **more):
    with pytest.raises(BadCasesError) as error:
        steps_of(*configurations, folds=folds, **more)
    return str(error.value)


def argv_of(step, index=0, command=0):
    return list(step.tasks[index].commands[command].argv)


@pytest.fixture
def planned(tmp_path, monkeypatch):
    toy_dataset(tmp_path, monkeypatch, plans=PLANS)
    return tmp_path


@pytest.fixture
def raw_only(tmp_path, monkeypatch):
    toy_dataset(tmp_path, monkeypatch)
    return tmp_path


def test_every_configuration_is_an_array_over_folds(planned):
    steps = steps_of("2d", "3d_fullres", folds=("0", "3"), trainer="nnUNetTrainer_5epochs", npz=True, device="cpu")
    assert list(steps) == ["train_2d", "train_3d_fullres"]
    assert [task.what for task in steps["train_2d"].tasks] == ["2d fold 0", "2d fold 3"]
    expected = "nnUNetv2_train Dataset001_Toy 2d 3 -tr nnUNetTrainer_5epochs -p nnUNetPlans -device cpu --npz"
    assert argv_of(steps["train_2d"], 1) == expected.split()
    assert steps["train_3d_fullres"].after == ()


def test_a_second_attempt_goes_on_with_the_checkpoint_of_its_fold(planned):
    command = steps_of("2d")["train_2d"].tasks[4].commands[0]
    assert command.again == ("--c",)
    fold = planned / "results" / "Dataset001_Toy" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_4"
    assert command.again_if == tuple(str(fold / f"checkpoint_{name}.pth") for name in ("final", "latest", "best"))


def test_a_dataset_without_plans_is_planned_and_preprocessed_first(raw_only):
    steps = steps_of("2d", "3d_lowres", "3d_cascade_fullres")
    expected = "nnUNetv2_plan_and_preprocess -d 1 --verify_dataset_integrity -c 2d 3d_lowres 3d_fullres -npfp 3 -np 3"
    assert argv_of(steps["preprocess"]) == [*expected.split(), "--no_pbar"]
    assert argv_of(steps["preprocess"], command=1)[2:] == (
        ["nnunet_ext.cluster.check_plans", "Dataset001_Toy", "nnUNetPlans", "2d", "3d_lowres", "3d_cascade_fullres"]
    )
    assert steps["train_2d"].after == ("preprocess",)


def test_plans_without_a_configuration_are_found_right_after_planning(planned):
    check_plans("Dataset001_Toy", "nnUNetPlans", ["2d", "3d_lowres"])
    with pytest.raises(InputError, match=r"nnUNetPlans\.json: the planner made no 3d_huge, only 2d, 3d_fullres"):
        check_plans("Dataset001_Toy", "nnUNetPlans", ["2d", "3d_huge"])
    with pytest.raises(InputError, match=r"no such plans; .* found: nnUNetPlans$"):
        check_plans("Dataset001_Toy", "nnUNetPlansCPU", ["2d"])


def test_folds_are_split_before_they_begin_at_the_same_moment(planned):
    (planned / "preprocessed" / "Dataset001_Toy" / "splits_final.json").unlink()
    steps = steps_of("3d_fullres", "2d")
    assert argv_of(steps["preprocess"])[2:] == [
        "nnunet_ext.cluster.splits",
        "Dataset001_Toy",
        "nnUNetPlans",
        "3d_fullres",
    ]
    assert steps["train_2d"].after == ("preprocess",)
    assert "preprocess" not in steps_of("2d", folds=("all",))


def test_the_split_is_that_of_a_stock_training(planned):
    """As nnU-Net 2.8.1's trainer splits ten cases."""
    folder = planned / "preprocessed" / "Dataset001_Toy"
    (folder / "splits_final.json").unlink()
    (folder / "p_2d" / "case.b2nd").unlink()
    for number in (3, 9, 1, 0, 2, 8, 5, 4, 7, 6):
        for ending in (".b2nd", "_seg.b2nd", ".pkl"):
            (folder / "p_2d" / f"c{number}{ending}").touch()
    write_splits("1", "nnUNetPlans", "2d")
    splits = json.loads((folder / "splits_final.json").read_text())
    expected = generate_crossval_split([f"c{number}" for number in range(10)], seed=12345, n_splits=5)
    assert splits == expected
    assert sorted(case for split in splits for case in split["val"]) == [f"c{number}" for number in range(10)]
    (folder / "splits_final.json").write_text("[]")
    write_splits("1", "nnUNetPlans", "2d")
    assert (folder / "splits_final.json").read_text() == "[]"


def test_too_few_cases_to_split_are_named(planned):
    (planned / "preprocessed" / "Dataset001_Toy" / "splits_final.json").unlink()
    with pytest.raises(InputError, match="1 preprocessed cases, expected at least 5"):
        write_splits("1", "nnUNetPlans", "2d")


def test_plans_that_are_there_are_kept_and_only_missing_data_is_made(planned):
    folder = planned / "preprocessed" / "Dataset001_Toy" / "p_3d"
    (folder / "case.b2nd").unlink()
    steps = steps_of("2d", "3d_cascade_fullres", "3d_lowres")
    expected = "nnUNetv2_preprocess -d 1 -plans_name nnUNetPlans -c 3d_fullres -np 3 --no_pbar"
    assert argv_of(steps["preprocess"]) == expected.split()


@pytest.mark.parametrize("fixture", ["planned", "raw_only"])
def test_a_cascade_waits_for_its_first_stage_whatever_the_order(fixture, request):
    request.getfixturevalue(fixture)
    steps = steps_of("3d_cascade_fullres", "3d_lowres")
    names = [name for name in steps if name != "preprocess"]
    assert names == ["train_3d_lowres", "train_3d_cascade_fullres"]
    assert steps["train_3d_cascade_fullres"].after == ("train_3d_lowres",)


def test_a_cascade_needs_all_folds_of_its_first_stage(planned):
    assert "needs 3d_lowres of all folds, and fold 2, 3, 4" in problems_of(
        "3d_cascade_fullres", "3d_lowres", folds=("0", "1")
    )
    for fold in (2, 3, 4):
        model = planned / "results" / "Dataset001_Toy" / "nnUNetTrainer__nnUNetPlans__3d_lowres"
        (model / f"fold_{fold}" / "validation").mkdir(parents=True)
        (model / f"fold_{fold}" / "validation" / "summary.json").touch()
    assert "train_3d_cascade_fullres" in steps_of("3d_cascade_fullres", "3d_lowres", folds=("0", "1"))


def test_a_fold_that_was_trained_before_is_not_overwritten(planned):
    fold = planned / "results" / "Dataset001_Toy" / "nnUNetTrainer__nnUNetPlans__2d" / "fold_1"
    fold.mkdir(parents=True)
    (fold / "checkpoint_best.pth").touch()
    message = problems_of("2d")
    assert "fold 1 trained already" in message
    assert "--c" in message
    assert argv_of(steps_of("2d", go_on=True)["train_2d"])[-1] == "--c"


def test_everything_that_does_not_fit_is_named_at_once(planned):
    message = problems_of("2d", "3d_huge", "x;y", folds=("0", "5", "-1", "01", "0"), trainer="nnUNetTrainr")
    parts = (
        "-c 3d_huge: not in",
        "-c 'x;y'",
        "-f 5",
        "-f -1",
        "-f 01",
        "-f: 0 given more than once",
        "-tr nnUNetTrainr",
    )
    for part in parts:
        assert part in message
    assert "closest: nnUNetTrainer" in message


@pytest.mark.parametrize("trainer", ["x; rm -rf ~", "nnUNetTrainer ", "../x", "-h"])
def test_a_trainer_that_is_no_name_is_refused(planned, trainer):
    assert "-tr" in problems_of("2d", trainer=trainer)


@pytest.mark.parametrize("trainer", ["nnUNetTrainer", "nnUNetTrainerEarlyStopping", "nnUNetTrainerMTL_7epochs"])
def test_trainers_of_nnunet_and_of_this_package_are_known(planned, trainer):
    assert "train_2d" in steps_of("2d", trainer=trainer)


def test_folds_follow_the_split_of_the_dataset(planned):
    splits = planned / "preprocessed" / "Dataset001_Toy" / "splits_final.json"
    splits.write_text(json.dumps([{}, {}, {}]))
    assert number_of_folds(find_dataset("1")) == 3
    splits.rename(planned / "raw" / "Dataset001_Toy" / "splits_final.json")
    assert number_of_folds(find_dataset("1")) == 3
    assert "expected a number from 0 to 2" in problems_of("2d", folds=("3",))
    assert "train_2d" in steps_of("2d", folds=("all",))


def test_other_plans_need_their_planner(raw_only):
    assert "-pl" in problems_of("2d", plans="nnUNetResEncUNetMPlans")
    steps = steps_of("2d", plans="nnUNetResEncUNetMPlans", planner="nnUNetPlannerResEncM")
    assert argv_of(steps["preprocess"])[4:6] == ["-pl", "nnUNetPlannerResEncM"]


@pytest.mark.parametrize(
    "name", ["x; rm -rf ~", "Dataset001_a b", "Dataset1_x", "../Dataset001_Toy", "Dataset001_$(x)", "-h"]
)
def test_a_dataset_that_is_no_name_is_refused(raw_only, name):
    with pytest.raises(InputError, match="-d"):
        find_dataset(name)


def test_a_dataset_that_is_not_there_is_named(raw_only):
    with pytest.raises(MissingInputError, match="-d 7"):
        find_dataset("7")
    with pytest.raises(MissingInputError, match="Dataset001_Other"):
        find_dataset("Dataset001_Other")


def test_an_id_of_two_datasets_is_refused(raw_only):
    (raw_only / "raw" / "Dataset001_Twin").mkdir()
    with pytest.raises(InputError, match="Dataset001_Toy, Dataset001_Twin"):
        find_dataset("001")
    assert find_dataset("Dataset001_Toy").number == 1


def test_a_variable_that_is_not_set_is_named(raw_only, monkeypatch):
    monkeypatch.delenv("nnUNet_results")
    with pytest.raises(InputError, match="nnUNet_results: not set"):
        find_dataset("1")


def test_configurations_inherit(planned):
    known = read_configurations(find_dataset("1"), "nnUNetPlans")
    assert known["3d_cascade_fullres"] == {"data_identifier": "p_3d", "previous_stage": "3d_lowres"}
    assert known["3d_lowres"]["data_identifier"] == "p_low"
    assert read_configurations(find_dataset("1"), "other") is None


def test_plans_that_inherit_in_circles_are_refused(tmp_path, monkeypatch):
    toy_dataset(tmp_path, monkeypatch, plans={"2d": {"inherits_from": "b"}, "b": {"inherits_from": "2d"}})
    with pytest.raises(InputError, match="circles"):
        steps_of("2d")
