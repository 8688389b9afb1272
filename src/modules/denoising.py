"""What the modules that train a latent diffusion model share: its parts, prompts, loss and export."""

from __future__ import annotations

import dataclasses
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Literal

import torch
from diffusers import AutoencoderKL
from diffusers.models.attention_processor import AttnProcessor
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable

from faceforward.callbacks.ranks import agree_on_loss, together
from faceforward.datamodules.moments import refuse_other_latents
from faceforward.diffusion.losses import Draws, denoising_loss, draw
from faceforward.diffusion.model import embed_prompts
from faceforward.diffusion.pipeline import LORA_NAME, load_pipeline, save_lora
from faceforward.diffusion.portable import make_portable
from faceforward.diffusion.schedule import NoiseSchedule
from faceforward.diffusion.settings import EditSettings, saved_settings
from faceforward.diffusion.small import assemble, new_pipeline
from faceforward.errors import ConfigurationError, TrainingError
from faceforward.modules.base import TrainedModule, adamw
from faceforward.pretrained import resolve

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

Trained = Literal["unet", "unet+text_encoder", "lora"]
LORA_TARGETS = ("to_q", "to_k", "to_v", "to_out.0")


class DenoisingModule(TrainedModule):
    """A Stable Diffusion model whose UNet, and text encoder if wished, learn to denoise; the VAE is frozen.

    Batches: `moments` `(B, 2C, h, w)` float32 of the autoencoder (means, then log-variances, unscaled),
    `age` `(B,)` int64 years, `gender` list of `female`, `male` or None, `seed` `(B,)` int64: everything that
    is random about a sample follows from its seed. With `padding` `(B, h, w)` in [0, 1], the share of each
    cell that is not photograph, the loss is of the photograph alone.

    Args:
        init_from: diffusers Stable Diffusion directory, hub id or registered name (`face-ldm-128-base`) to
            start from.
        new_over: Instead of `init_from`: diffusers `AutoencoderKL` folder over which a small model with fresh
            weights is made; it needs `train: unet+text_encoder`.
        train: What learns. `lora` adds low-rank matrices to the UNet's attention (arXiv 2106.09685) and
            leaves all else alone; it needs the extra `lora`.
        lora_rank: Of those matrices.
        lora_alpha: Their strength times the rank; None is the rank.
        min_snr_gamma: Min-SNR weighting (arXiv 2303.09556); None is the plain loss.
        attention: `fused` is PyTorch's; `plain` keeps the maps. Over latents of 16 x 16 on a CPU, plain steps
            are a fifth to a third shorter (the fused kernel's backward is slow there).
        gradient_checkpointing: Keep the blocks' inputs only and compute each block again in the backward
            pass: less memory for a quarter more time.
        compile: `torch.compile` the UNet.
        optimizer: See `TrainedModule`.
        lr_scheduler: See `TrainedModule`.

    Raises:
        ConfigurationError: Neither or both of `init_from` and `new_over` are given; weights are missing, no
            Stable Diffusion 1.x or 2.x, or fresh and not all trained; the model predicts samples; or peft is
            not installed.
    """

    def __init__(
        self,
        *,
        init_from: str | None = None,
        new_over: str | None = None,
        train: Trained = "unet",
        lora_rank: int = 16,
        lora_alpha: int | None = None,
        min_snr_gamma: float | None = None,
        attention: Literal["fused", "plain"] = "fused",
        gradient_checkpointing: bool = False,
        compile: bool = False,
        optimizer: OptimizerCallable = adamw,
        lr_scheduler: LRSchedulerCallable | None = None,
    ) -> None:
        super().__init__(optimizer=optimizer, lr_scheduler=lr_scheduler)
        if (init_from is None) == (new_over is None):
            raise ConfigurationError(
                "give one of init_from (a Stable Diffusion to train on) and new_over (a VAE)"
            )
        if init_from is not None:
            model = load_pipeline(resolve(init_from))
            self.scheduler_config, schedule = model.scheduler_config, model.schedule
        else:
            if train != "unet+text_encoder":
                raise ConfigurationError(
                    f"new_over makes fresh weights, and train: {train} would leave some of them as they were "
                    "drawn, in no checkpoint: give train: unet+text_encoder"
                )
            model = new_pipeline(AutoencoderKL.from_pretrained(new_over, dtype=torch.float32))
            self.scheduler_config = model.scheduler.config
            schedule = NoiseSchedule.from_config(self.scheduler_config)
        self.origin = init_from or new_over
        self.edit_settings = EditSettings() if init_from is None else saved_settings(resolve(init_from))
        #: What an export carries: the settings of its validation, once a callback that edits has said them.
        self.validated_settings = self.edit_settings
        self.learns = train
        self.min_snr_gamma = min_snr_gamma
        # Contiguous: on CPUs torch's GroupNorm of channels-last bfloat16 takes ten times as long.
        self.unet = model.unet.requires_grad_(train != "lora")
        self.text_encoder = model.text_encoder.requires_grad_(train == "unet+text_encoder")
        self.vae = model.vae.requires_grad_(False)
        self.tokenizer = model.tokenizer
        self.prediction_type = schedule.prediction_type
        if self.prediction_type == "sample":
            raise ConfigurationError(
                f"{init_from} predicts samples; training knows models that predict epsilon or v_prediction"
            )
        # No buffer: half-precision modules and DeepSpeed would round it, and 0.99915 would become 1.
        self.alphas_cumprod = torch.tensor(schedule.alphas_cumprod, dtype=torch.float32)
        self._finite: torch.Tensor | bool = True
        if attention == "plain":
            self.unet.set_attn_processor(AttnProcessor())
        if train == "lora":
            self._add_lora(lora_rank, lora_alpha)
        if gradient_checkpointing:
            self.unet.enable_gradient_checkpointing()
        if compile:
            self.unet.compile()  # in place: the weights keep their names
        self.strict_loading = False
        self.train()

    def _add_lora(self, rank: int, alpha: int | None) -> None:
        if not find_spec("peft"):
            raise ConfigurationError("train: lora needs the package peft: pip install 'faceforward[lora]'")
        from peft import LoraConfig  # late: an extra

        self.unet.add_adapter(
            LoraConfig(
                r=rank,
                lora_alpha=rank if alpha is None else alpha,
                init_lora_weights="gaussian",
                target_modules=list(LORA_TARGETS),
            ),
            adapter_name=LORA_NAME,
        )

    def train(self, mode: bool = True) -> DenoisingModule:
        """Switch what learns; frozen parts stay in evaluation mode."""
        super().train(mode)
        self.vae.eval()
        if self.learns != "unet+text_encoder":
            self.text_encoder.eval()
        return self

    def setup(self, stage: str) -> None:
        """Compare the model's autoencoder with the one that the data's latents are of.

        Raises:
            ConfigurationError: They are not the same.
        """
        weights = getattr(self.trainer.datamodule, "autoencoder", None)
        if weights is not None:
            refuse_other_latents(self, weights)

    def learnt(self) -> dict[str, torch.Tensor]:
        """The trained tensors: checkpoints leave the frozen parts out."""
        return {
            name.replace("_fsdp_wrapped_module.", ""): parameter  # FSDP's checkpoints have the plain names
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the frozen parts out of the checkpoint; a diverged run does not replace a good one.

        Raises:
            TrainingError: A loss was no number.
        """
        self._refuse_divergence()
        trained = self.learnt()
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}

    def draws(self, batch: dict[str, Any], times: int = 1) -> Draws:
        """What this batch's seeds draw, `times` timesteps and noises for each sample.

        Raises:
            ConfigurationError: The latents are of another autoencoder.
        """
        moments = batch["moments"]
        if moments.shape[1] != 2 * self.unet.config.in_channels:
            raise ConfigurationError(
                f"the latents have {moments.shape[1] // 2} channels and the UNet takes "
                f"{self.unet.config.in_channels}: they are of another autoencoder. Set data.init_args.vae to "
                "the model that model.init_args.init_from names"
            )
        shape = (moments.shape[1] // 2, *moments.shape[2:])
        drawn = draw(batch["seed"].tolist(), shape, len(self.alphas_cumprod), times)
        return Draws(*(getattr(drawn, f.name).to(moments.device) for f in dataclasses.fields(drawn)))

    def latents(self, moments: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """A sample of the posterior, scaled for the UNet.

        Args:
            moments: `(B, 2C, h, w)` means, then log-variances.
            noise: `(B, C, h, w)` standard normal.
        """
        mean, log_variance = moments.chunk(2, dim=1)
        std = (0.5 * log_variance.clamp(-30, 20)).exp()
        return (mean + std * noise) * self.vae.config.scaling_factor

    def context(self, prompts: Sequence[str]) -> torch.Tensor:
        """Text embeddings `(B, N, D)` of padded prompts; equal prompts are encoded once."""
        unique = list(dict.fromkeys(prompts))
        with torch.set_grad_enabled(self.learns == "unet+text_encoder" and torch.is_grad_enabled()):
            embeddings = embed_prompts(self.tokenizer, self.text_encoder, unique)
        return embeddings[[unique.index(prompt) for prompt in prompts]]

    def losses(
        self,
        latents: torch.Tensor,
        prompts: Sequence[str],
        timesteps: torch.Tensor,
        noise: torch.Tensor,
        padding: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Denoising loss of each sample, `(B,)`; see `denoising_loss`."""
        return denoising_loss(
            self.unet,
            latents,
            self.context(prompts),
            timesteps,
            noise,
            self.alphas_cumprod.to(latents.device),
            prediction_type=self.prediction_type,
            min_snr_gamma=self.min_snr_gamma,
            padding=padding,
        )

    def on_before_backward(self, loss: torch.Tensor) -> None:
        """End a run that has diverged.

        On CPUs at once; elsewhere, where to look makes the device wait, when figures are logged anyway, and
        before anything is saved.

        Raises:
            TrainingError: A loss was no number.
        """
        self._finite = torch.isfinite(loss.detach()) & self._finite
        if agree_on_loss(self):
            with together(self.trainer, "a step"):
                self._refuse_divergence(alone=True)

    def _refuse_divergence(self, *, alone: bool = False) -> None:
        """Raise where a loss was no number, on this rank or, unless `alone`, on any."""
        finite = bool(self._finite)
        if not alone and self._trainer is not None and self._trainer.world_size > 1:
            finite = self._trainer.strategy.reduce_boolean_decision(finite, all=True)
        if not finite:
            raise TrainingError(
                f"the loss is no number at step {self.global_step} (epoch {self.current_epoch}) or shortly "
                "before: nothing more is learnt from here. Lower the learning rate, set "
                "trainer.gradient_clip_val, or take bf16-mixed instead of 16-mixed; then go on from the last "
                "checkpoint with --ckpt_path"
            )

    def export(self, folder: Path) -> None:
        """Write a diffusers Stable Diffusion directory, or for a LoRA the file that diffusers reads.

        Raises:
            TrainingError: A loss was no number.
        """
        self._refuse_divergence(alone=True)
        if self.learns == "lora":
            save_lora(self.unet, folder, base=self.origin)
            return
        assemble(
            self.vae, self.text_encoder, self.tokenizer, self.unet, self.scheduler_config
        ).save_pretrained(folder)
        make_portable(folder)
