"""What a user can get wrong about infer.py: exit status 2, before a model is loaded."""

from pathlib import Path

import pytest
import yaml
from PIL import Image

from faceforward.arguments import bracketed, named_config, refuse_linked
from faceforward.errors import ConfigurationError
from faceforward.infer import main
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
            ["--data.init_args.output=x"],
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
    @pytest.mark.parametrize("name", ["c.yaml", "settings.txt"])
    def test_long_form_in_yaml(self, tmp_path, monkeypatch, content, name):
        monkeypatch.chdir(tmp_path)
        Path("writer.yaml").write_text("output: x")
        Path(name).write_text(yaml.safe_dump(content))
        for given in (["-c", name], [f"--config={name}"], [f"-c{name}"]):
            with pytest.raises(ConfigurationError, match=r"would be ignored"):
                refuse_linked(given)

    def test_a_section_in_a_file_of_any_name(self, tmp_path):
        (tmp_path / "writer.cfg").write_text("output: x")
        with pytest.raises(ConfigurationError, match=r"in .*writer\.cfg\) would be ignored"):
            refuse_linked(["--writer", str(tmp_path / "writer.cfg")])

    @pytest.mark.parametrize(
        ("typed", "taken"),
        [
            (
                ["--target_ages", "20, 40", "--target_ages=60"],
                ["--target_ages", "[20, 40]", "--target_ages=[60]"],
            ),
            (["--target_ages", "[20]", "20"], ["--target_ages", "[20]", "20"]),
            (["--target-ages", "20", "40", "--face=1"], ["--target_ages", "[20,40]", "--face=1"]),
            (["--target_age", "20", "--target-age=40"], ["--target_ages", "[20]", "--target_ages=[40]"]),
            (["--target_ages=20", "40"], ["--target_ages=[20,40]"]),
            (["--target_ages", "20,", "40"], ["--target_ages", "[20,40]"]),
            (["--target-ages=[20]"], ["--target_ages=[20]"]),
            (["--photos", "target-ages", "--target_ages"], ["--photos", "target-ages", "--target_ages"]),
            (["--model.init_args.max-batch=4"], ["--model.init_args.max-batch=4"]),
        ],
    )
    def test_ages_as_people_type_them(self, typed, taken):
        assert bracketed(typed) == taken

    def test_help_begins_with_what_people_use(self, capsys):
        with pytest.raises(SystemExit):
            main(["age", "--help"])
        shown = capsys.readouterr().out
        lead = shown.index("Options that people use:")
        assert lead < shown.index("--photos PATH             a photograph") < shown.index("\noptions:")
        for option in ("--recursive", "--age 7 --gender female", "--model.init_args.lora"):
            assert option in shown[lead : shown.index("\noptions:")]

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
            ("--photos=", "--photos is empty"),
            ("--data.init_args.age=7", "would be ignored; give it as --age"),
            ("--output=", "--output is empty"),
            ("--output={tmp}", "is the folder of the photographs"),
            ("--photos={tmp}/" + "x" * 300, "File name too long"),
        ],
    )
    def test_refused_at_once(self, tmp_path, photo, capsys, changed, words):
        (tmp_path / "empty").mkdir()
        command = arguments("none", tmp_path, tmp_path / "out")[1:]
        assert main([*command, changed.format(tmp=tmp_path)]) == 2
        assert words in capsys.readouterr().err
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ("--target_ages=[20.5]", "--target_ages cannot be"),
            ("--target_ages=old", "--target_ages cannot be old: give whole years"),
            ("--face=x", "--face cannot be x: give a whole number"),
            ("--nonsense=1", "unrecognized"),
            ("--taget_ages=[20]", "Did you mean --target_ages?"),
            ("--over-write", "Did you mean --overwrite?"),
            ("--trainer.acelerator=cpu", "Did you mean --trainer.accelerator?"),
            ("--modle.init_args.growth=0", "Did you mean --model.init_args.growth?"),
            ("--model.init_args.strenght=2", "has no setting 'strenght'. It takes "),
            ("--ages=20", "Did you mean --target_ages?"),
            ("--sex=f", "Did you mean --gender?"),
            ("--age=x", "--age cannot be x: give the age"),
            ("--photos", "expected one argument"),
            ("--model.init_args.inversion=DirectInversion", "A class is named with its module"),
        ],
    )
    def test_refused_by_the_parser(self, tmp_path, photo, capsys, changed, words):
        with pytest.raises(SystemExit) as raised:
            main([*arguments("none", photo, tmp_path / "out")[1:], changed])
        assert raised.value.code == 2
        assert words in capsys.readouterr().err

    @pytest.mark.parametrize("missing", ["--photos", "--output"])
    def test_what_is_missing_is_said(self, tmp_path, photo, capsys, missing):
        command = arguments("none", photo, tmp_path / "out")[1:]
        with pytest.raises(SystemExit):
            main([argument for argument in command if not argument.startswith(missing)])
        assert f"{missing} is missing: give a" in capsys.readouterr().err

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ("edit.self_replace=-1", "edit.self_replace is -1.0: give a share from 0 to 1"),
            ("edit.guidance_scale=.nan", "edit.guidance_scale is nan: give a number from 0 on"),
            ("edit.age_weight=.inf", "edit.age_weight is inf: give a number"),
            ("edit.local_blend.pool=2", "local_blend.pool is 2: give an odd number"),
            ("max_batch=1", "max_batch is 1: one target needs up to 4"),
        ],
    )
    @pytest.mark.filterwarnings("ignore")
    def test_settings_that_cannot_work(self, tmp_path, photo, tiny_sd, capsys, changed, words):
        command = arguments(tiny_sd, photo, tmp_path / "out")[1:]
        assert main([*command, f"--model.init_args.{changed}"]) == 2
        assert words in capsys.readouterr().err

    @pytest.mark.parametrize(
        "given",
        [
            "detector=faceforward.faces.mtcnn.MTCNNDetector",
            "detector=faceforward.faces.retinaface.RetinaFaceDetector",
            "age_estimator=faceforward.faces.age.DlibAgeEstimator",
            "embedder=faceforward.faces.identity.DlibEmbedder",
            "finisher=faceforward.faces.finish.Enlarging",
            "finisher=faceforward.faces.detail.DetailTransfer",
            "growth=0.5",
            "judge=null",
            *(
                f"inversion=faceforward.diffusion.inversion.{name}Inversion"
                for name in ("DDIM", "NullText", "NegativePrompt", "Direct")
            ),
            "edit.guidance_scale=5",
            "edit={local_blend: null}",
            "edit.local_blend=none",
            "edit.local_blend.threshold=0.4",
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
