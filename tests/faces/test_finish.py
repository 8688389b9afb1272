import dataclasses

import numpy as np
import pytest

from case_records import make_result
from faceforward.diffusion.color import restore_colors
from faceforward.faces.detail import DetailTransfer
from faceforward.faces.finish import Enlarging
from faceforward.faces.mesh import Mesh
from faceforward.faces.upscale import LanczosUpscaler


@pytest.fixture(scope="module")
def case():
    return make_result(targets=(20, 60))


def test_enlarging_reaches_512_from_any_size():
    finisher = Enlarging(LanczosUpscaler())
    for side in (32, 100, 512, 768):
        assert finisher.enlarge(np.zeros((side, side, 3), np.uint8)).shape == (512, 512, 3)


def test_enlarging_gives_lost_colours_back(case):
    edit = dataclasses.replace(case.edit, reconstruction=case.edit.source // 2)
    plain, restored = (
        Enlarging(LanczosUpscaler(), restore_colors=wanted).finish(edit, case.face, case.photo)
        for wanted in (False, True)
    )
    assert plain.keys() == restored.keys() == {20, 60}
    wanted = restore_colors(edit.images[20][None], edit.source, edit.reconstruction)[0]
    np.testing.assert_array_equal(restored[20], Enlarging(LanczosUpscaler()).enlarge(wanted))
    assert (plain[20] != restored[20]).any()


def test_detail_transfer_works_in_the_frame_of_the_crop(case):
    grid = np.stack(np.meshgrid(np.linspace(150, 350, 26), np.linspace(150, 400, 18)), axis=-1).reshape(-1, 2)
    mesh = Mesh(np.concatenate([grid, np.zeros((468, 1))], axis=1).astype(np.float32), 0.9)
    face = dataclasses.replace(case.face, mesh=mesh)
    edit = dataclasses.replace(case.edit, references=dict.fromkeys((20, 60), case.edit.source))
    finished = DetailTransfer().finish(edit, face, case.photo)
    assert {picture.shape for picture in finished.values()} == {face.pixels.shape}
    shift = np.zeros((512, 512, 2), np.float32)
    shift[..., 0] = 6
    grown = dataclasses.replace(
        edit, images={20: edit.source}, references={20: edit.source}, fields={20: shift}
    )
    moved = DetailTransfer().finish(grown, face, case.photo)[20]
    assert np.abs(moved[:, :-10].astype(int) - face.pixels[:, 6:-4]).max() <= 2
    with pytest.raises(ValueError, match="mesh"):
        DetailTransfer().finish(edit, case.face, case.photo)
    with pytest.raises(ValueError, match="references"):
        DetailTransfer().finish(case.edit, face, case.photo)
