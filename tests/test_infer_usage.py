"""What a user can get wrong about infer.py: exit status 2, before a model is loaded."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from faceforward.errors import ConfigurationError
from faceforward.infer import main, named_config, refuse_linked
from tiny_inference import arguments


class TestWrongUsage:
    """Exit status 2, before a model is loaded."""

    @pytest.fixture
    def photo(self, tmp_path, astronaut):
        Image.fromarray(astronaut).save(tmp_path / "a.png")
        return tmp_path / "a.png"

    def test_named_config(self):
        assert named_config(["age", "--photos=x"])[0] == "-c"
        assert named_config(["age", "--photos=x"])[1].endswith("configs/infer/age.yaml")
        assert named_config(["-c", "x.yaml"]) == ["-c", "x.yaml"]
        with pytest.raises(ConfigurationError, match=r"there are: .*age"):
            named_config(["agee"])

    @pytest.mark.parametrize(
        "given",
        [
            ["--data.init_args.photos=x"],
            ["--data.photos", "x"],
            ["--data", "{init_args: {photos: x}}"],
            ["--model.init_args.target_ages=[20]"],
            ["--model.target_ages+=20"],
            ["--writer.output", "x"],
            ["--writer={overwrite: true}"],
            ["--data.init_args={face: 2}"],
        ],
    )
    def test_long_form_on_the_command_line(self, given):
        with pytest.raises(ConfigurationError, match=r"would be ignored; give it as --\w+"):
            refuse_linked(given)

    @pytest.mark.parametrize(
        "content",
        [
            {"data": {"class_path": "Photos", "init_args": {"photos": "x"}}},
            {"model.init_args.target_ages": [20]},
            {"writer": "writer.yaml"},
        ],
    )
    def test_long_form_in_yaml(self, tmp_path, monkeypatch, content):
        monkeypatch.chdir(tmp_path)
        Path("writer.yaml").write_text("output: x")
        Path("c.yaml").write_text(yaml.safe_dump(content))
        for given in (["-c", "c.yaml"], ["--config=c.yaml"]):
            with pytest.raises(ConfigurationError, match=r"yaml\) would be ignored"):
                refuse_linked(given)

    def test_short_forms_pass(self):
        refuse_linked(
            ["-c", "configs/infer/age.yaml", "--photos", "data.yaml", "--face=2", "--model.pretrained=x"]
        )
        refuse_linked(["--data", "{not: yaml: at all"])

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ("--photos={tmp}/nothing", "no such file or folder"),
            ("--photos={tmp}/empty", "the folder is empty"),
            ("--target_ages=[]", "no target age"),
            ("--target_ages=[20,130]", "from 0 to 100"),
            ("--data.init_args.photos=x", "would be ignored"),
        ],
    )
    def test_refused_at_once(self, tmp_path, photo, capsys, changed, words):
        (tmp_path / "empty").mkdir()
        command = arguments("none", photo, tmp_path / "out")[1:]
        assert main([*command, changed.format(tmp=tmp_path)]) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        "changed", ["--target_ages=[20.5]", "--target_ages=old", "--face=x", "--nonsense=1", "--photos"]
    )
    def test_refused_by_the_parser(self, tmp_path, photo, changed):
        with pytest.raises(SystemExit) as raised:
            main([*arguments("none", photo, tmp_path / "out")[1:], changed])
        assert raised.value.code == 2

    @pytest.mark.parametrize(
        "given",
        [
            "detector=faceforward.faces.mtcnn.MTCNNDetector",
            "detector=faceforward.faces.retinaface.RetinaFaceDetector",
            "age_estimator=faceforward.faces.age.DlibAgeEstimator",
            "embedder=faceforward.faces.identity.DlibEmbedder",
            "upscaler=faceforward.faces.upscale.RealESRGANUpscaler",
            *(
                f"inversion=faceforward.diffusion.inversion.{name}Inversion"
                for name in ("DDIM", "NullText", "NegativePrompt", "Direct")
            ),
            "edit.guidance_scale=5",
            "edit={local_blend: null}",
            "template.template=photo of {age} year old Korean {word}",
            "precision=bfloat16",
            "max_batch=8",
        ],
    )
    def test_every_part_is_chosen_on_the_command_line(self, tmp_path, photo, capsys, given):
        command = arguments("none", photo, tmp_path / "out")[1:]
        with pytest.raises(SystemExit) as stopped:
            main([*command, f"--model.init_args.{given}", "--print_config"])
        assert stopped.value.code == 0
        assert given.rpartition("=")[2].strip("{}") in capsys.readouterr().out

    def test_missing_model(self, tmp_path, photo, capsys):
        assert main(arguments(tmp_path / "no-model", photo, tmp_path / "out")[1:]) == 2
        assert "no-model" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore")  # Lightning's advice on devices and workers
    def test_output_that_cannot_be_written(self, tmp_path, photo, tiny_sd, capsys):
        (tmp_path / "file").touch()
        assert main(arguments(tiny_sd, photo, tmp_path / "file" / "out")[1:]) == 2
        assert "cannot be written" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore")
    def test_null_text_needs_gradients(self, tmp_path, photo, tiny_sd, capsys):
        inversion = "--model.init_args.inversion=faceforward.diffusion.inversion.NullTextInversion"
        command = arguments(tiny_sd, photo, tmp_path / "out")[1:]
        assert main([*command, inversion]) == 2
        assert "--trainer.inference_mode false" in capsys.readouterr().err

    @pytest.mark.filterwarnings("ignore")
    def test_fewer_photographs_than_processes(self, tmp_path, photo, tiny_sd, capsys):
        assert main([*arguments(tiny_sd, photo, tmp_path / "out")[1:], "--trainer.devices=2"]) == 2
        assert "cannot be shared among 2 processes" in capsys.readouterr().err
