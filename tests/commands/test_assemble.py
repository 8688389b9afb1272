import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from faceforward.commands.assemble import assemble_half, main


@pytest.fixture
def other_decoder(tiny_vae, tmp_path):
    vae = AutoencoderKL.from_pretrained(tiny_vae)
    torch.nn.init.constant_(vae.decoder.conv_out.bias, 0.25)
    vae.save_pretrained(tmp_path / "vae")
    return tmp_path / "vae"


def test_half_precision_with_a_new_decoder_loads_in_plain_diffusers(tiny_sd, other_decoder, tmp_path):
    output = tmp_path / "out"
    output.mkdir()
    (output / "MODEL_CARD.md").write_text("kept")
    size = assemble_half(tiny_sd, output, vae=other_decoder)
    full = sum(f.stat().st_size for f in tiny_sd.rglob("*.safetensors"))
    assert size < 0.6 * full
    loaded = StableDiffusionPipeline.from_pretrained(output, dtype=torch.float32)
    assert loaded.vae.decoder.conv_out.bias[0] == 0.25
    assert (output / "MODEL_CARD.md").read_text() == "kept"
    assert not [f for f in output.rglob("*.json") if str(tiny_sd) in f.read_text()]
    assert {"vocab.json", "merges.txt"} <= {f.name for f in (output / "tokenizer").iterdir()}


def test_another_encoder_is_refused(tiny_sd, tiny_vae, tmp_path, capsys):
    vae = AutoencoderKL.from_pretrained(tiny_vae)
    torch.nn.init.ones_(vae.encoder.conv_in.weight)
    vae.save_pretrained(tmp_path / "vae")
    arguments = [
        "--pipeline",
        str(tiny_sd),
        "--vae",
        str(tmp_path / "vae"),
        "--output",
        str(tmp_path / "out"),
    ]
    assert main(arguments) == 2
    assert "is not the one" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_weights_beyond_float16_are_refused(tiny_sd, tmp_path, capsys):
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
    torch.nn.init.constant_(pipeline.unet.conv_in.weight, 1e6)
    pipeline.save_pretrained(tmp_path / "big")
    assert main(["--pipeline", str(tmp_path / "big"), "--output", str(tmp_path / "out")]) == 2
    assert "float16 cannot hold" in capsys.readouterr().err


def test_command_says_the_size(tiny_sd, tmp_path, capsys):
    assert main(["--pipeline", str(tiny_sd), "--output", str(tmp_path / "out")]) == 0
    assert "MiB of weights" in capsys.readouterr().out
