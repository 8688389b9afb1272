"""What learns, what is exported, and what is refused, on tiny real models."""

import importlib.util
import random

import pytest
import torch
from diffusers import AutoencoderKL, StableDiffusionPipeline
from lightning import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from faceforward.diffusion.encoders import encoder_differences
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import PromptTemplate, saved_template
from faceforward.errors import ConfigurationError, TrainingError, WeightsUnavailableError
from faceforward.modules.specialization import Specialization
from tiny_training import QUIET, latents, specialization, tiny_trainer
from training_data import write_archive

pytestmark = QUIET


def batch(size=3, channels=4, side=8):
    torch.manual_seed(3)
    return {
        "moments": torch.randn(size, 2 * channels, side, side),
        "age": torch.tensor([4, 31, 70][:size]),
        "gender": ["female", None, "male"][:size],
        "seed": torch.arange(size),
    }


def quiet(module):
    module.log_dict = lambda *args, **kwargs: None
    return module


@pytest.fixture
def lora(tiny_sd):
    module = quiet(Specialization(init_from=str(tiny_sd), train="lora", lora_rank=3, lora_alpha=6))
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if "lora_B" in name:  # zero at the start: nothing would be seen
            torch.nn.init.normal_(parameter, std=0.3)
    return module


def test_lora_learns_alone(lora):
    lora.training_step(batch(), 0).backward()
    reached = {name for name, p in lora.named_parameters() if p.grad is not None}
    assert reached
    assert all("lora_" in name for name in reached)
    assert {name.split(".lora_")[0].rsplit("attn", 1)[1] for name in reached} == {
        f"{block}.{layer}" for block in (1, 2) for layer in ("to_q", "to_k", "to_v", "to_out.0")
    }


def test_lora_file_is_what_diffusers_and_we_read(lora, tiny_sd, tmp_path):
    lora.export(tmp_path)
    names = {"pytorch_lora_weights.safetensors", "lora_base.json"}
    names |= {"edit_settings.json", "prompt_template.json"}
    assert {path.name for path in tmp_path.iterdir()} == names
    inputs = (torch.randn(2, 4, 8, 8), torch.tensor([7, 700]), torch.randn(2, 24, 64))
    with torch.no_grad():
        expected = lora.unet(*inputs).sample
        plain = load_pipeline(tiny_sd).unet(*inputs).sample
        ours = load_pipeline(tiny_sd, lora=tmp_path).unet(*inputs).sample
        pipeline = StableDiffusionPipeline.from_pretrained(tiny_sd)
        pipeline.load_lora_weights(tmp_path)
        theirs = pipeline.unet(*inputs).sample
    torch.testing.assert_close(ours, expected, atol=5e-4, rtol=0)
    torch.testing.assert_close(theirs, expected, atol=5e-4, rtol=0)
    assert (plain - expected).abs().max() > 0.1


def test_lora_of_another_model_is_named(lora, tiny_vae, tmp_path):
    from faceforward.diffusion.small import new_pipeline

    lora.export(tmp_path / "lora")
    other = new_pipeline(
        AutoencoderKL.from_pretrained(tiny_vae), block_out_channels=(64, 64), head_channels=16, text_width=64,
        text_layers=1,
    )  # fmt: skip
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ConfigurationError, match="has other weights"):
        load_pipeline(tmp_path / "other", lora=tmp_path / "lora")
    (tmp_path / "lora" / "lora_base.json").unlink()  # as of an older version
    with pytest.raises(ConfigurationError, match="is of another model"):
        load_pipeline(tmp_path / "other", lora=tmp_path / "lora")


def test_missing_lora_is_named(tiny_sd, tmp_path):
    with pytest.raises(WeightsUnavailableError, match=r"cannot be read: .*none of pytorch_lora_weights"):
        load_pipeline(tiny_sd, lora=tmp_path)
    from safetensors.torch import save_file

    save_file({"text_encoder.x": torch.zeros(1)}, tmp_path / "pytorch_lora_weights.safetensors")
    with pytest.raises(ConfigurationError, match="nothing called x here"):
        load_pipeline(tiny_sd, lora=tmp_path)


def test_training_a_lora_asks_for_peft(tiny_sd, monkeypatch):
    find = importlib.util.find_spec
    module = "faceforward.modules.denoising"
    monkeypatch.setattr(f"{module}.find_spec", lambda name: None if name == "peft" else find(name))
    with pytest.raises(ConfigurationError, match=r"faceforward\[lora\]"):
        Specialization(init_from=str(tiny_sd), train="lora")


@pytest.mark.parametrize(
    ("train", "parts"),
    [("unet", {"unet"}), ("unet+text_encoder", {"unet", "text_encoder"}), ("lora", {"unet"})],
)
def test_checkpoints_hold_what_learns(tiny_sd, train, parts):
    module = Specialization(init_from=str(tiny_sd), train=train)
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    names = set(checkpoint["state_dict"])
    assert names == {name for name, p in module.named_parameters() if p.requires_grad}
    assert {name.split(".")[0] for name in names} == parts
    module.on_load_checkpoint(checkpoint)


def test_checkpoints_of_other_models_are_refused(tiny_sd):
    module, lora = (
        Specialization(init_from=str(tiny_sd)),
        Specialization(init_from=str(tiny_sd), train="lora"),
    )
    checkpoint = {"state_dict": module.state_dict()}
    module.on_save_checkpoint(checkpoint)
    with pytest.raises(ConfigurationError, match="missing in it"):
        lora.on_load_checkpoint(checkpoint)
    misfit = {**checkpoint["state_dict"], "unet.conv_in.weight": torch.zeros(1)}
    with pytest.raises(ConfigurationError, match=r"another shape.*unet.conv_in.weight"):
        module.on_load_checkpoint({"state_dict": misfit})
    with pytest.raises(ConfigurationError, match=r"unknown or frozen here.*unet.extra"):
        module.on_load_checkpoint({"state_dict": {**checkpoint["state_dict"], "unet.extra": torch.zeros(1)}})
    both = Specialization(init_from=str(tiny_sd), train="unet+text_encoder")
    checkpoint = {"state_dict": both.state_dict()}
    both.on_save_checkpoint(checkpoint)
    with pytest.raises(ConfigurationError, match=r"unknown or frozen here.*text_encoder"):
        module.on_load_checkpoint(checkpoint)
    module.on_load_checkpoint({})  # a strategy that loads the weights itself


def test_half_precision_leaves_the_schedule(tiny_sd):
    module = Specialization(init_from=str(tiny_sd)).to(torch.bfloat16)
    assert module.alphas_cumprod.dtype == torch.float32
    assert module.alphas_cumprod[0] < 1


def test_arguments_that_cannot_work_are_refused(tiny_sd, tmp_path):
    import json
    import shutil

    with pytest.raises(ConfigurationError, match="prompts is empty"):
        Specialization(init_from=str(tiny_sd), prompts=[])
    with pytest.raises(ConfigurationError, match="caption_dropout is 2"):
        Specialization(init_from=str(tiny_sd), caption_dropout=2)
    shutil.copytree(tiny_sd, tmp_path / "sd")
    file = tmp_path / "sd" / "scheduler" / "scheduler_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "prediction_type": "sample"}))
    with pytest.raises(ConfigurationError, match="predicts samples"):
        Specialization(init_from=str(tmp_path / "sd"))


def test_general_prompts_are_dropped_in_training_only(tiny_sd):
    module = quiet(Specialization(init_from=str(tiny_sd), caption_dropout=1.0))
    seen = []
    context = module.context
    module.context = lambda prompts: seen.append(list(prompts)) or context(prompts)
    module.training_step(batch(), 0)
    with torch.no_grad():
        module.validation_step(batch(), 0)
    assert seen[0][:3] == [""] * 3
    assert seen[1][:3] == ["photo of a person"] * 3


def test_latents_of_another_autoencoder_are_refused(tiny_sd):
    module = quiet(Specialization(init_from=str(tiny_sd)))
    with pytest.raises(ConfigurationError, match=r"8 channels and the UNet takes 4.*data.init_args.vae"):
        module.training_step(batch(channels=8), 0)


@pytest.fixture
def other_vae(tiny_vae, tmp_path):
    """Equal in everything but one weight of the encoder."""
    vae = AutoencoderKL.from_pretrained(tiny_vae)
    with torch.no_grad():
        vae.encoder.conv_in.weight[0, 0, 0, 0] += 0.01
    vae.save_pretrained(tmp_path / "other-vae")
    return tmp_path / "other-vae"


def test_model_and_data_share_one_autoencoder(tiny_sd, other_vae, astronaut, tmp_path):
    data = latents(write_archive(tmp_path / "faces.zip", astronaut), other_vae, tmp_path / "cache")
    module = specialization(tiny_sd)
    said = rf"autoencoder {other_vae}, and {tiny_sd}, .* 1 tensors .* first encoder\.conv_in\.weight\. Set"
    with pytest.raises(ConfigurationError, match=said):
        tiny_trainer(tmp_path, []).fit(module, data)
    assert not (tmp_path / "cache").exists()  # nothing was encoded in vain
    with pytest.raises(ConfigurationError, match=said):
        tiny_trainer(tmp_path, []).validate(module, data, verbose=False)
    data.trainer = None
    data.prepare_data()
    data.prepare_data = lambda: None  # as on the other ranks
    with pytest.raises(ConfigurationError, match=said):
        tiny_trainer(tmp_path, []).fit(module, data)


def test_half_precision_and_another_decoder_are_the_same_latent_space(tiny_vae, other_vae, tmp_path):
    mine, theirs = (AutoencoderKL.from_pretrained(tiny_vae) for _ in range(2))
    torch.nn.init.zeros_(theirs.decoder.conv_out.weight)
    assert encoder_differences(mine, theirs) == []
    assert encoder_differences(mine, theirs.half()) == []
    assert encoder_differences(mine.bfloat16(), theirs) == []
    other = AutoencoderKL.from_pretrained(other_vae)
    assert encoder_differences(theirs, other) == ["encoder.conv_in.weight"]
    del other.quant_conv
    assert "quant_conv.bias" in encoder_differences(theirs, other)


def test_ages_are_learnt_as_they_are_edited(tiny_sd, tmp_path):
    """As two digits where `words` says so, in prompts and in the template that is exported."""
    module = Specialization(init_from=str(tiny_sd), words=PromptTemplate(age_digits=2))
    assert module.pair(7, None, random.Random(0))[1] == "photo of a 07 year old person"
    module.export(tmp_path / "model")
    assert saved_template(tmp_path / "model").prompt(7, None) == "photo of a 07 year old person"


def test_padding_is_left_out_of_both_terms(tiny_sd):
    """What stands in padded cells changes nothing that is learnt in the last layer of the UNet."""
    module = Specialization(init_from=str(tiny_sd))
    module.log_dict = lambda *args, **kwargs: None
    channels = module.unet.config.in_channels
    batch = {
        "moments": torch.randn(2, 2 * channels, 8, 8, generator=torch.Generator().manual_seed(0)),
        "age": torch.tensor([7, 40]),
        "gender": [None, "male"],
        "seed": torch.tensor([3, 4]),
    }
    whole = module.training_step(batch, 0)
    none = module.training_step({**batch, "padding": torch.zeros(2, 8, 8)}, 0)
    torch.testing.assert_close(whole, none)
    half = torch.zeros(2, 8, 8)
    half[:, :, :4] = 1
    mirrored = module.training_step({**batch, "padding": 1 - half}, 0)
    masked = module.training_step({**batch, "padding": half}, 0)
    torch.testing.assert_close((masked + mirrored) / 2, whole)
    assert not torch.isclose(masked, whole, rtol=1e-3)


def test_words_and_templates_are_data(tiny_sd):
    module = Specialization(
        init_from=str(tiny_sd),
        prompts=[("photo of a Korean {word}", "photo of a {age} year old Korean {word}")],
        words=PromptTemplate(child_until=12, girl="girl", woman="lady"),
    )
    assert module.pair(13, "female", random.Random(0)) == (
        "photo of a Korean lady",
        "photo of a 13 year old Korean lady",
    )


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method. is deprecated:DeprecationWarning")
def test_compiling_keeps_the_names(tiny_sd):
    plain = Specialization(init_from=str(tiny_sd))
    compiled = Specialization(init_from=str(tiny_sd), compile=True)
    assert compiled.state_dict().keys() == plain.state_dict().keys()


def test_export_keeps_the_schedule(tiny_sd, tmp_path):
    import json
    import shutil

    shutil.copytree(tiny_sd, tmp_path / "sd")
    file = tmp_path / "sd" / "scheduler" / "scheduler_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "prediction_type": "v_prediction", "beta_end": 0.02}))
    module = Specialization(init_from=str(tmp_path / "sd"))
    assert module.prediction_type == "v_prediction"
    module.export(tmp_path / "out")
    schedule = load_pipeline(tmp_path / "out").schedule
    assert schedule.prediction_type == "v_prediction"
    assert schedule == load_pipeline(tmp_path / "sd").schedule


def test_a_hub_id_without_network_is_named():
    with pytest.raises(WeightsUnavailableError, match=r"no folder .*faceforward download someone/nothing"):
        Specialization(init_from="someone/nothing")


class Loud(Callback):
    """Spoils the latents of one step."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            batch["moments"].fill_(torch.nan)


@pytest.mark.parametrize("watched", [True, False])
def test_a_diverged_run_ends_in_words_and_spoils_no_checkpoint(
    tiny_sd, tiny_vae, astronaut, tmp_path, watched, monkeypatch
):
    archive = write_archive(tmp_path / "faces.zip", astronaut)
    module = specialization(tiny_sd)
    if not watched:  # as on a GPU between two steps that log
        refuse = Specialization._refuse_divergence
        monkeypatch.setattr(
            Specialization, "_refuse_divergence", lambda self, alone=False: None if alone else refuse(self)
        )
    keep = ModelCheckpoint(tmp_path / "kept", every_n_train_steps=1, save_top_k=-1, save_last=True)
    trainer = tiny_trainer(
        tmp_path, [Loud(2), keep], steps=5, enable_checkpointing=True, limit_val_batches=0,
        log_every_n_steps=1,
    )  # fmt: skip
    with pytest.raises(TrainingError, match=r"no number at step [23] .*Lower the learning rate"):
        trainer.fit(module, latents(archive, tiny_vae, tmp_path / "cache", 2))
    kept = sorted((tmp_path / "kept").glob("*.ckpt"))
    assert len(kept) == 3  # of steps 1 and 2, and the last
    for path in kept:
        state = torch.load(path, weights_only=True)["state_dict"]
        assert all(torch.isfinite(value).all() for value in state.values())


def test_edits_use_the_prompt_that_was_learnt(tiny_sd, tmp_path):
    from faceforward.modules.age_editor import AgeEditor

    pair = ("photo of a Korean {word}", "photo of {age} year old Korean {word}")
    words = PromptTemplate(woman="lady")
    Specialization(init_from=str(tiny_sd), prompts=[pair], words=words).export(tmp_path / "model")
    Specialization(init_from=str(tiny_sd), prompts=[pair], train="lora").export(tmp_path / "lora")
    editor = AgeEditor(target_ages=[30], pretrained=str(tmp_path / "model"))
    assert editor.template.prompt(40, "female") == "photo of 40 year old Korean lady"
    editor = AgeEditor(target_ages=[30], pretrained=str(tiny_sd), lora=str(tmp_path / "lora"))
    assert editor.template.prompt(40, "female") == "photo of 40 year old Korean woman"
    settings = editor.settings(age=None, gender=None, targets=None, face=None)
    assert settings["model"]["lora"] == "lora"
    editor = AgeEditor(target_ages=[30], pretrained=str(tmp_path / "model"), template=PromptTemplate())
    assert editor.template == PromptTemplate()
    assert AgeEditor(target_ages=[30], pretrained=str(tiny_sd)).template == PromptTemplate()
    (tmp_path / "model" / "prompt_template.json").write_text("{}, nothing")
    with pytest.raises(ConfigurationError, match=r"prompt_template.json holds no prompt template"):
        AgeEditor(target_ages=[30], pretrained=str(tmp_path / "model"))


def test_gender_is_left_untold_for_a_share(tiny_sd):
    module = Specialization(
        init_from=str(tiny_sd), prompts=[("photo of a {word}", "photo of {age} year old {word}")], neutral=0.5
    )
    prompts = {module.pair(30, "female", random.Random(seed)) for seed in range(20)}
    assert prompts == {(f"photo of a {word}", f"photo of 30 year old {word}") for word in ("woman", "person")}
    with pytest.raises(ConfigurationError, match="neutral is 2"):
        Specialization(init_from=str(tiny_sd), neutral=2)
