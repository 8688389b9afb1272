"""Null-text inversion: one unconditional embedding per step, so that guidance keeps the photograph."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from faceforward.diffusion.trajectory import OnStep, Trajectory, check_finite, check_single, ddim_latents
from faceforward.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from diffusers import UNet2DConditionModel

    from faceforward.diffusion.model import LatentDiffusion
    from faceforward.diffusion.schedule import DDIMSteps


@contextmanager
def frozen(unet: UNet2DConditionModel, *, checkpointing: bool) -> Iterator[None]:
    """No weight asks for a gradient, activations are recomputed if wished; all is put back afterwards."""
    learning = [parameter for parameter in unet.parameters() if parameter.requires_grad]
    switches = {
        module: module.gradient_checkpointing
        for module in unet.modules()
        if hasattr(module, "gradient_checkpointing")
    }
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        if checkpointing:
            unet.enable_gradient_checkpointing()
        else:
            unet.disable_gradient_checkpointing()
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, switch in switches.items():
            module.gradient_checkpointing = switch


class NullTextInversion:
    """Null-text inversion (Mokady et al., arXiv 2211.09794, algorithm 1), with the published settings.

    One step costs one conditional evaluation, three per inner step (a backward pass counts 2) and one
    to walk on with the optimised embedding. The path that it walks is the source branch of every later edit,
    so an edit needs the source's conditional pass only, for its attention maps.

    Args:
        steps: DDIM steps.
        guidance_scale: At which the photograph must come back: the edit's. None is 7.5, and `AgeEditor` puts
            its edit's in.
        inner_steps: At most so many optimiser steps per DDIM step.
        lr: Adam's learning rate at the noisiest step; it falls by `lr / lr_decay` a step.
        lr_decay: See `lr`; above `steps`.
        early_stop: The inner loop ends below `early_stop + i early_stop_increment` at step `i`.
        early_stop_increment: See `early_stop`.
        checkpointing: Recompute activations in the backward pass: less memory, a third more time.

    Raises:
        ConfigurationError: The learning rate would fall to zero before the end, or there is no inner step.
    """

    name = "null-text"

    def __init__(
        self,
        *,
        steps: int = 50,
        guidance_scale: float | None = None,
        inner_steps: int = 10,
        lr: float = 1e-2,
        lr_decay: int = 100,
        early_stop: float = 1e-5,
        early_stop_increment: float = 2e-5,
        checkpointing: bool = True,
    ) -> None:
        if lr_decay < steps:
            raise ConfigurationError(f"lr_decay is {lr_decay}: give at least the number of steps, {steps}")
        if inner_steps < 1:
            raise ConfigurationError(f"inner_steps is {inner_steps}: give at least 1")
        self.steps = steps
        self.guidance_scale = guidance_scale
        self.inner_steps = inner_steps
        self.lr = lr
        self.lr_decay = lr_decay
        self.early_stop = early_stop
        self.early_stop_increment = early_stop_increment
        self.checkpointing = checkpointing

    @property
    def guidance(self) -> float:
        """The guidance that counts."""
        return 7.5 if self.guidance_scale is None else self.guidance_scale

    def agree(self, scale: float) -> None:
        """Take an edit's guidance, where none was given.

        Args:
            scale: Of the edit.

        Raises:
            ConfigurationError: Another one was given.
        """
        if self.guidance_scale is None:
            self.guidance_scale = scale
        if self.guidance_scale != scale:
            raise ConfigurationError(
                f"null-text inversion was set to guidance {self.guidance_scale:g} and the edit to {scale:g}; "
                "the photograph only comes back when inversion.guidance_scale and edit.guidance_scale are "
                "the same"
            )

    def invert(
        self, model: LatentDiffusion, latents: torch.Tensor, prompt: str, *, on_step: OnStep | None = None
    ) -> Trajectory:
        """Invert one photograph; see `Inversion.invert`.

        Raises:
            ConfigurationError: Gradients are impossible under `torch.inference_mode`.
        """
        check_single(latents)
        self._need_gradients(model)
        embedding, empty = model.encode_prompts([prompt, ""]).split(1)
        steps = model.schedule.steps(self.steps)
        planned = 2 * self.steps
        wanted = ddim_latents(model, steps, latents, embedding, on_step=on_step, planned=planned)
        return self.optimise(model, steps, wanted[:, 0], prompt, embedding, empty, on_step=on_step)

    def optimise(
        self,
        model: LatentDiffusion,
        steps: DDIMSteps,
        wanted: torch.Tensor,
        prompt: str,
        embedding: torch.Tensor,
        empty: torch.Tensor,
        *,
        on_step: OnStep | None = None,
    ) -> Trajectory:
        """Optimise the unconditional embeddings along the latents of a DDIM inversion.

        Args:
            model: The diffusion model.
            steps: From noise to image.
            wanted: `(T + 1, C, h, w)` of `ddim_latents`.
            prompt: Describes the photograph.
            embedding: `(1, N, D)` of the prompt.
            empty: `(1, N, D)` where the first step starts: the embedding of the empty text.
            on_step: Progress; the DDIM inversion counts as the first half.

        Raises:
            ConfigurationError: Gradients are impossible under `torch.inference_mode`.
            FloatingPointError: The latents stopped being numbers.
        """
        self._need_gradients(model)
        null = empty.clone()
        current = wanted[-1:].clone()
        path, nulls, losses, counts = [current], [], [], []
        with frozen(model.unet, checkpointing=self.checkpointing):
            for index, timestep in enumerate(steps.timesteps):
                with torch.no_grad():
                    conditional = model.predict(current, timestep, embedding)
                goal = wanted[len(steps) - 1 - index].unsqueeze(0)
                null, inner = self._fit(model, steps, index, current, conditional, goal, null)
                with torch.no_grad():
                    output = torch.lerp(model.predict(current, timestep, null), conditional, self.guidance)
                    current = steps.denoise(index, current, output)
                path.append(current)
                nulls.append(null)
                losses.extend(inner)
                counts.append(len(inner))
                if on_step is not None:
                    on_step(len(steps) + index + 1, 2 * len(steps))
        check_finite(current, "null-text inversion")
        return Trajectory(
            prompt=prompt,
            method=self.name,
            latents=wanted,
            embedding=embedding,
            unconditional=torch.cat(nulls),
            source="replayed",
            path=torch.cat(path[::-1]),
            losses=tuple(losses),
            inner_steps=tuple(counts),
            unet_evaluations=3 * len(steps) + 3 * len(losses),
        )

    def _fit(
        self,
        model: LatentDiffusion,
        steps: DDIMSteps,
        index: int,
        current: torch.Tensor,
        conditional: torch.Tensor,
        goal: torch.Tensor,
        start: torch.Tensor,
    ) -> tuple[torch.Tensor, list[float]]:
        """The inner loop of one step: the embedding, and the loss before each of its updates."""
        null = start.detach().clone().requires_grad_(True)
        optimizer = torch.optim.Adam([null], lr=self.lr * (1 - index / self.lr_decay))
        losses: list[float] = []
        with torch.enable_grad():
            for _ in range(self.inner_steps):
                unconditional = model.predict(current, steps.timesteps[index], null)
                output = torch.lerp(unconditional, conditional, self.guidance)
                loss = F.mse_loss(steps.denoise(index, current, output), goal)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                losses.append(loss.item())
                if losses[-1] < self.early_stop + index * self.early_stop_increment:
                    break
        return null.detach(), losses

    @staticmethod
    def _need_gradients(model: LatentDiffusion) -> None:
        if torch.is_inference_mode_enabled() or any(
            weight.is_inference() for weight in model.unet.parameters()
        ):
            raise ConfigurationError(
                "null-text optimises, which torch.inference_mode forbids: set trainer.inference_mode "
                "to false, load the model outside of inference mode, or take another inversion"
            )
