"""Cameras turned by a generator's renderings."""

import json

import pytest
import torch

from faceforward.eg3d import cameras
from faceforward.eg3d.generator import TriPlaneGenerator
from faceforward.eg3d.image_encoder import ImageEncoder
from faceforward.eg3d.pair import save_pair
from faceforward.eg3d.views import Orbit, picture
from faceforward.errors import ConfigurationError
from faceforward.faces.mtcnn import MTCNNDetector
from faceforward.faces.refine import AnalysisBySynthesis
from faceforward.modules.camera_estimator import CameraEstimator
from faceforward.records import Photo
from tiny_crops import TINY


@pytest.fixture(scope="module")
def tiny_pair(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pair")
    torch.manual_seed(0)
    encoder = ImageEncoder(TINY.w, resolution=8, widths=(4, 8), hidden=8)
    save_pair(TriPlaneGenerator(TINY), encoder, folder)
    return str(folder)


def test_cameras_find_back_over_what_a_generator_shows():
    """On average: the encoder, which is told a wrong camera, may turn the head instead."""
    refinement = AnalysisBySynthesis()
    generator = refinement.heads.generator
    truth = cameras.at_radius(cameras.labels(cameras.look_at(0, 0)))
    start = cameras.at_radius(cameras.labels(cameras.look_at(8, 0)))
    errors = []
    for seed in range(1, 5):
        z = torch.randn(1, generator.config.z, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():  # as infer.py does
            ws = generator.map(z, Orbit().cameras([(0.0, 0.0)]), truncation=0.7)
            crop = picture(generator.render(generator.planes(ws), truth, ws).raw)
            refined = refinement.refine(crop, start[0])
        errors.append(cameras.rotation_error(cameras.pose(refined.label), cameras.pose(truth)).item())
        assert refined.losses[0, -1] < refined.losses[0, 0]
    assert sum(errors) / len(errors) < 8 - 2


def test_settings_tell_weights_and_options(tiny_pair):
    settings = AnalysisBySynthesis(tiny_pair, steps=3).settings()
    assert json.loads(json.dumps(settings)) == settings
    assert settings != AnalysisBySynthesis(tiny_pair, steps=4).settings()
    assert settings["weights"] != AnalysisBySynthesis().settings()["weights"]


def test_the_estimator_says_what_was_turned(tiny_pair, astronaut):
    backends = {"detector": MTCNNDetector(), "size": 64}
    photo = Photo(id="a", file="a.png", pixels=astronaut)
    plain = CameraEstimator(**backends)
    refining = CameraEstimator(**backends, refinement=AnalysisBySynthesis(tiny_pair, steps=2))
    assert refining.settings(face=None) != plain.settings(face=None)
    before, after = (module.predict_step(photo, 0).estimate for module in (plain, refining))
    assert before.refined is None
    turned = cameras.rotation_error(cameras.pose(before.label), cameras.pose(after.label))
    assert after.refined == pytest.approx(turned.item(), abs=1e-3)
    assert (after.crop == before.crop).all()


def test_what_cannot_refine(tmp_path):
    with pytest.raises(ConfigurationError, match="-1 steps"):
        AnalysisBySynthesis(steps=-1)
    with pytest.raises(ConfigurationError, match=r"generator\.safetensors"):
        AnalysisBySynthesis(str(tmp_path))
