"""fit, checkpoint, resume and export of every trained module, through the real YAML and the real CLI."""

import json
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline

from faceforward.cli import FaceforwardCLI
from faceforward.errors import ConfigurationError
from faceforward.modules.autoencoder import Autoencoder, color_matrices, gradient_loss
from faceforward.modules.schedules import WarmupCosine
from faceforward.modules.specialization import Specialization
from faceforward.modules.text_to_image import TextToImage
from tiny_training import collections, latents
from training_data import write_archive

CONFIGS = Path(__file__).parents[2] / "configs" / "experiment"
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers:UserWarning"),
    pytest.mark.filterwarnings("ignore:.*smaller than the logging interval:UserWarning"),
    pytest.mark.filterwarnings("ignore:Found .* in eval mode:UserWarning"),
    pytest.mark.filterwarnings(
        "ignore:Precision bf16-mixed is not supported by the model summary:UserWarning"
    ),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory:UserWarning"),
]


@pytest.fixture
def archive(tmp_path, astronaut):
    return write_archive(tmp_path / "faces.zip", astronaut)


def data_of(config, archive):
    if config == "autoencoder.yaml":
        return f"--data.init_args.archive={archive}", "--data.init_args.exclude=null"
    return (collections(archive),)


def fit(config, root, archive, steps, *extra):
    """The shipped experiment at tiny size; returns the CLI after the fit."""
    arguments = [
        "fit", "-c", str(CONFIGS / config),
        *data_of(config, archive),
        "--data.init_args.batch_size=4", f"--trainer.default_root_dir={root}", f"--trainer.max_steps={steps}",
        "--trainer.val_check_interval=1", "--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false", *extra,
    ]  # fmt: skip
    return FaceforwardCLI(args=arguments)


def latent_arguments(tiny_vae, root):
    return f"--data.init_args.vae={tiny_vae}", f"--data.init_args.cache_dir={root}/cache"


def test_decoder_trains_while_the_encoder_stays(tmp_path, archive, tiny_vae):
    extra = (f"--model.init_args.init_from={tiny_vae}", "--data.init_args.size=32")
    cli = fit("autoencoder.yaml", tmp_path / "run", archive, 2, *extra)
    before = AutoencoderKL.from_pretrained(tiny_vae)
    for (name, old), new in zip(before.named_parameters(), cli.model.vae.parameters(), strict=True):
        frozen = name.startswith(("encoder.", "quant_conv."))
        assert torch.equal(old, new) == frozen, name
    exported = AutoencoderKL.from_pretrained(tmp_path / "run" / "vae")
    assert exported.config.scaling_factor == before.config.scaling_factor
    assert "val/psnr" in cli.trainer.logged_metrics


def test_base_then_specialisation(tmp_path, archive, tiny_vae):
    """The two stages in a row; the second starts from what the first exported."""
    data = latent_arguments(tiny_vae, tmp_path)
    base = fit(
        "base_diffusion.yaml", tmp_path / "base", archive, 2, f"--model.init_args.new_over={tiny_vae}", *data
    )
    pipeline = tmp_path / "base" / "pipeline"
    assert StableDiffusionPipeline.from_pretrained(pipeline).tokenizer.model_max_length == 24
    assert all(torch.isfinite(p).all() for p in base.model.parameters())
    init = f"--model.init_args.init_from={pipeline}"
    special = fit("specialize_faces128.yaml", tmp_path / "special", archive, 1, init, *data)
    assert {"train/loss_general", "train/loss_aged"} <= special.trainer.logged_metrics.keys()
    index = json.loads((tmp_path / "special" / "pipeline" / "model_index.json").read_text())
    assert index["_class_name"] == "StableDiffusionPipeline"


def test_checkpoint_resumes_where_it_was(tmp_path, archive, tiny_vae):
    extra = (f"--model.init_args.new_over={tiny_vae}", *latent_arguments(tiny_vae, tmp_path))
    first = fit("base_diffusion.yaml", tmp_path / "run", archive, 2, *extra)
    checkpoint = tmp_path / "run" / "checkpoints" / "last.ckpt"
    saved = torch.load(checkpoint, weights_only=True)
    assert not [name for name in saved["state_dict"] if name.startswith("vae.")]
    average = first.trainer.callbacks[0].model
    assert average.optimization_step == 2
    second = fit("base_diffusion.yaml", tmp_path / "run", archive, 3, *extra, f"--ckpt_path={checkpoint}")
    assert second.trainer.global_step == 3
    assert second.trainer.callbacks[0].model.optimization_step == 3


def test_validation_leaves_the_raw_weights(tmp_path, archive, tiny_vae):
    extra = (f"--model.init_args.new_over={tiny_vae}", *latent_arguments(tiny_vae, tmp_path))
    cli = fit("base_diffusion.yaml", tmp_path / "run", archive, 2, *extra)
    average = cli.trainer.callbacks[0].model
    raw = [p for p in cli.model.parameters() if p.requires_grad]
    assert any(not torch.equal(a, b) for a, b in zip(average.shadow_params, raw, strict=True))
    exported = StableDiffusionPipeline.from_pretrained(tmp_path / "run" / "pipeline").unet
    shadow = dict(
        zip(
            [n for n, p in cli.model.named_parameters() if p.requires_grad],
            average.shadow_params,
            strict=True,
        )
    )
    torch.testing.assert_close(exported.conv_in.weight, shadow["unet.conv_in.weight"])


def test_checkpoint_of_another_model_is_refused(tiny_sd):
    module = TextToImage(init_from=str(tiny_sd))
    with pytest.raises(ConfigurationError, match="of another model"):
        module.on_load_checkpoint({"state_dict": {"vae.x": torch.zeros(1)}})


def test_one_starting_point_is_asked_for(tiny_sd, tiny_vae):
    with pytest.raises(ConfigurationError, match="give one of"):
        TextToImage()
    with pytest.raises(ConfigurationError, match="give one of"):
        TextToImage(init_from=str(tiny_sd), new_over=str(tiny_vae))


def test_double_prompt_is_the_papers(tiny_sd):
    import random

    module = Specialization(init_from=str(tiny_sd))
    assert module.pair(32, "female", random.Random(0)) == (
        "photo of a person",
        "photo of a 32 year old person",
    )


@pytest.mark.parametrize(
    ("prompts", "message"),
    [([("a", "no age")], "has no {age}"), ([("a {name}", "{age}")], "templates know {age} and {word} only")],
)
def test_templates_that_cannot_work_are_refused(tiny_sd, prompts, message):
    with pytest.raises(ConfigurationError, match=message):
        Specialization(init_from=str(tiny_sd), prompts=prompts)


def test_gradients_reach_only_what_should_learn(tiny_sd, tmp_path, archive, tiny_vae):
    data = latents(archive, tiny_vae, tmp_path / "cache")
    data.prepare_data()
    data.setup("fit")
    module = Specialization(init_from=str(tiny_sd))
    module.log_dict = lambda *args, **kwargs: None
    module.training_step(next(iter(data.train_dataloader())), 0).backward()
    reached = {name.split(".")[0] for name, p in module.named_parameters() if p.grad is not None}
    assert reached == {"unet"}
    assert not module.text_encoder.training
    assert not module.vae.training


def test_gradient_loss_sees_edges_not_offsets():
    image = torch.rand(1, 3, 16, 16)
    assert gradient_loss(image + 0.1, image).item() == pytest.approx(0, abs=1e-6)
    assert gradient_loss(image.flip(-1), image) > 0.1


def test_psnr_of_a_perfect_autoencoder_is_not_needed_for_the_kl_free_decoder(tiny_vae):
    module = Autoencoder(str(tiny_vae), train_encoder=False)
    assert {n.split(".")[1] for n, p in module.named_parameters() if p.requires_grad} == {
        "decoder",
        "post_quant_conv",
    }


def test_schedule_warms_up_holds_and_decays():
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = WarmupCosine(optimizer, total_steps=10, warmup_steps=2, decay_steps=4)
    rates = []
    for _ in range(11):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    assert rates[:7] == [0.5, 1, 1, 1, 1, 1, 1]
    assert rates[8] == pytest.approx(0.5)
    assert rates[10] == pytest.approx(0)


def test_color_changes_keep_grey_and_turn_the_rest():
    matrices = color_matrices(50, hue=0.6, saturation=0.6, generator=torch.Generator().manual_seed(0))
    grey = torch.full((3,), 0.37)
    assert torch.allclose(matrices @ grey, grey.expand(50, 3), atol=1e-6)
    red = matrices @ torch.tensor([1.0, 0.0, 0.0])
    assert red.std(0).min() > 0.02
    still = color_matrices(5, hue=0.0, saturation=0.0, generator=torch.Generator().manual_seed(0))
    assert torch.allclose(still, torch.eye(3).expand(5, 3, 3), atol=1e-6)
