"""GIFs of retreat and training progress: number and order of frames, what they show, how long, in which colours."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
from PIL import Image, ImageSequence

from evaluation.front_pictures.animations import (
    HELD,
    Checkpoint,
    date_colours,
    mean_distance,
    progress_frames,
    retreat_frames,
    write_gif,
)
from evaluation.front_pictures.lines import dated_front
from nnunet_ext.errors import InputError
from tests.evaluation.front_pictures.builders import front_at

GREY = np.full((30, 40), 90, np.uint8)
YELLOW, MAGENTA, BLUE, CYAN = (255, 255, 0), (255, 0, 255), (0, 0, 255), (0, 255, 255)


@pytest.fixture(autouse=True)
def _small_frames(monkeypatch):
    monkeypatch.setattr("evaluation.front_pictures.animations.DPI", 50)


def flat(level):
    return np.full((8, 9, 3), level, np.uint8)


def frames_of(path):
    with Image.open(path) as gif:
        return [(np.array(frame.convert("RGB")), frame.info["duration"]) for frame in ImageSequence.Iterator(gif)]


def has(frame, colour):
    return bool((frame == colour).all(axis=-1).any())


def dated(column, date, satellite="TSX", shape=(30, 40)):
    return dated_front(front_at(column, shape), 10.0, datetime.date.fromisoformat(date), satellite)


def test_frames_keep_their_order_and_the_last_one_is_held(tmp_path):
    assert write_gif(tmp_path / "a.gif", [flat(10), flat(100), flat(200)], 0.25) == 3
    read = frames_of(tmp_path / "a.gif")
    assert [int(frame[0, 0, 0]) for frame, _ in read] == [10, 100, 200]
    assert [duration for _, duration in read] == [250, 250, HELD * 250]
    with Image.open(tmp_path / "a.gif") as gif:
        assert gif.info["loop"] == 0


def test_kept_colours_are_exact_however_rare_they_are(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3)).astype(np.uint8)
    noise[0, 0], noise[0, 1], noise[0, 2] = MAGENTA, (250, 5, 250), (255, 255, 255)
    write_gif(tmp_path / "a.gif", [noise], kept=[MAGENTA, YELLOW])
    ((frame, _),) = frames_of(tmp_path / "a.gif")
    assert tuple(frame[0, 0]) == MAGENTA
    assert tuple(frame[0, 2]) == (255, 255, 255)


@pytest.mark.parametrize("seconds", [0.0, -1.0, float("nan"), 0.01])
def test_a_time_that_viewers_do_not_keep_to_is_refused(tmp_path, seconds):
    with pytest.raises(InputError, match=r"at least 0\.02"):
        write_gif(tmp_path / "a.gif", [flat(1)], seconds)
    assert not list(tmp_path.iterdir())


def test_a_gif_needs_a_frame(tmp_path):
    with pytest.raises(InputError, match="no frames"):
        write_gif(tmp_path / "a.gif", [])


def test_retreat_has_a_frame_per_image_even_on_equal_days_and_without_front():
    nothing = dated_front(np.zeros((30, 40)), 10.0, datetime.date(2012, 1, 1), "S1")
    fronts = [dated(30, "2010-01-01"), dated(30, "2010-01-01"), nothing]
    frames = list(retreat_frames(fronts, "COL, label"))
    assert len(frames) == 3
    assert len({frame.shape for frame in frames}) == 1
    # The counter tells frames apart that show the same front.
    assert (frames[0] != frames[1]).any()
    assert (frames[1] != frames[2]).any()


def test_earlier_fronts_stay_in_the_picture():
    both = list(retreat_frames([dated(30, "2010-01-01"), dated(10, "2012-01-01")], "COL"))
    first, last = (
        date_colours([dated(30, "2010-01-01")])[0],
        date_colours([dated(1, "2010-01-01"), dated(1, "2012-01-01")]),
    )

    def dark(frame):
        return int((np.abs(frame[60:200, 40:220].astype(int) - first).sum(axis=-1) < 120).sum())

    assert dark(both[0]) > dark(both[1]) > 0
    assert len(last) > 30


def test_fronts_of_a_retreat_must_be_in_order():
    with pytest.raises(InputError, match="order of their dates"):
        list(retreat_frames([dated(30, "2012-01-01"), dated(10, "2010-01-01")], "COL"))


def test_as_many_images_as_fronts():
    with pytest.raises(InputError, match="1 fronts and 2 images"):
        list(retreat_frames([dated(30, "2012-01-01")], "COL", [None, None]))


def test_images_of_different_shape_give_frames_of_one_shape():
    fronts = [dated(30, "2010-01-01"), dated(10, "2012-01-01", shape=(50, 60))]
    frames = list(retreat_frames(fronts, "COL", [GREY, np.full((50, 60), 40, np.uint8)]))
    assert len({frame.shape for frame in frames}) == 1


def test_behind_a_front_lies_its_own_image_and_no_earlier_one():
    fronts, light = [dated(30, "2010-01-01"), dated(10, "2012-01-01")], np.full((30, 40), 250, np.uint8)
    after_light, after_none = (list(retreat_frames(fronts, "COL", [first, GREY]))[1] for first in (light, None))
    assert (after_light == after_none).all()


def test_progress_shows_each_checkpoint_beside_the_label(tmp_path):
    checkpoints = [Checkpoint("epoch 1", np.zeros((30, 40))), Checkpoint("epoch 9", front_at(20))]
    box = (slice(2, 28), slice(2, 38))
    frames = list(progress_frames(GREY, front_at(20), checkpoints, "COL_a", resolution=10.0, box=box))
    first, last = (frame[30:-40] for frame in frames)
    assert has(first, BLUE)
    assert not has(first, MAGENTA)
    assert has(last, MAGENTA)
    assert not has(last, BLUE)
    assert has(last, CYAN)


def test_progress_without_label_shows_only_predictions():
    (frame,) = progress_frames(GREY, None, [Checkpoint("e", front_at(20))], "COL_a", resolution=10.0)
    assert has(frame, YELLOW)
    assert not has(frame, BLUE)


def test_the_distance_in_a_frame_is_that_of_the_prediction_inside_the_box():
    both = front_at(23) + front_at(30)
    assert mean_distance(both, front_at(20), 10.0) == "mean distance 53 m"
    assert mean_distance(both, front_at(20), 10.0, (slice(0, 30), slice(21, 28))) == "mean distance 30 m"
    assert mean_distance(front_at(23), front_at(20), 10.0) == "mean distance 30 m"
    assert mean_distance(front_at(23), front_at(20), 0.2) == "mean distance 0.6 m"
    assert mean_distance(front_at(23), front_at(20), 10.0, (slice(0, 30), slice(0, 22))) == "no front predicted"
    assert mean_distance(front_at(23), np.zeros((30, 40)), 10.0) == "no front in the label"
    assert mean_distance(np.zeros((30, 40)), np.zeros((30, 40)), 10.0) == "no front"
