"""Age edits of held-out photographs with the weights that are being trained."""

from __future__ import annotations

import logging
import math
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from lightning.pytorch.utilities.seed import isolate_rng

from faceforward.callbacks.edit_plan import EditedPhoto, EditPlan
from faceforward.callbacks.ema import average_of
from faceforward.callbacks.ranks import refuse_shards, share
from faceforward.datamodules.listing import list_photos
from faceforward.datamodules.photos import PhotoDataset
from faceforward.diffusion.editing import edit
from faceforward.diffusion.inversion import DirectInversion
from faceforward.diffusion.model import LatentDiffusion
from faceforward.diffusion.prompts import PromptTemplate
from faceforward.diffusion.schedule import NoiseSchedule
from faceforward.diffusion.settings import EditChanges
from faceforward.errors import ConfigurationError, UnusablePhotoError
from faceforward.faces.detect import default_detector
from faceforward.faces.face import take_face
from faceforward.modules.denoising import DenoisingModule
from faceforward.records import Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lightning import Callback, LightningModule, Trainer

    from faceforward.diffusion.settings import EditSettings
    from faceforward.records import Gender

logger = logging.getLogger(__name__)


@dataclass(eq=False)
class _Source:
    """A photograph to edit: its latents `(1, C, h, w)`, scaled, and its pixels once they are known."""

    place: int
    age: float
    gender: Gender | None
    latents: torch.Tensor
    pixels: np.ndarray | None = None


@contextmanager
def left_as_it_was(module: DenoisingModule) -> Iterator[None]:
    """Evaluation mode for a while; modes, precision and random numbers are then what they were.

    A compiled UNet runs as it was written meanwhile: with other attention it would be compiled anew.
    """
    modes = [(part, part.training) for part in module.modules()]
    dtype = module.vae.dtype
    compiled = getattr(module.unet, "_compiled_call_impl", None) is not None
    plainly = torch.compiler.set_stance("force_eager") if compiled else nullcontext()
    with isolate_rng(), plainly:
        module.eval()
        if dtype != torch.float32:  # Stable Diffusion's autoencoder overflows in half precision
            module.vae.float()
        try:
            yield
        finally:
            if dtype != torch.float32:
                module.vae.to(dtype)
            for part, training in modes:
                part.training = training


class ValidationEdits:
    """Makes the edits of a plan, each rank those of its share of the photographs.

    Nothing here is random, and the module is left as it was: its modes, its weights, its attention and every
    state of random numbers.

    Args:
        plan: What to edit, and how.
    """

    def __init__(self, plan: EditPlan) -> None:
        self.plan = plan
        self.count = 0
        self._sources: list[_Source] | None = None
        self._made: tuple[int, list[EditedPhoto]] | None = None

    def shared(self, trainer: Trainer, module: LightningModule, user: Callback) -> ValidationEdits:
        """One object for all callbacks that have the same plan in their attribute `edits`.

        Args:
            trainer: Of the run.
            module: What is trained.
            user: The callback that asks.

        Raises:
            ConfigurationError: The module is no `DenoisingModule`, or its weights are shared out among ranks.
        """
        name = type(user).__name__
        refuse_shards(trainer, name)
        if not isinstance(module, DenoisingModule):
            raise ConfigurationError(
                f"{name} edits with a diffusion model, and {type(module).__name__} trains none: "
                "leave the callback out of trainer.callbacks"
            )
        module.validated_settings = self._settings(module)
        self._sources = None  # another stage has others
        others = (getattr(c, "edits", None) for c in trainer.callbacks if c is not user)  # type: ignore[attr-defined]
        same = (e for e in others if isinstance(e, ValidationEdits) and e.plan == self.plan)
        return next(same, self)

    def available(self, trainer: Trainer) -> bool:
        """Whether there are photographs: `files`, or a held-out split that is not switched off."""
        limit = trainer.limit_test_batches if trainer.testing else trainer.limit_val_batches  # type: ignore[attr-defined]
        return self.plan.files is not None or (trainer.datamodule is not None and limit != 0)  # type: ignore[attr-defined]

    def make(self, trainer: Trainer, module: DenoisingModule, *, trial: bool = False) -> list[EditedPhoto]:
        """Edit this rank's share; at one step of the training it is done once, for all callbacks of a plan.

        Args:
            trainer: Of the run.
            module: What is trained.
            trial: Edit one photograph in two steps only, to see that it works.

        Returns:
            One record for each photograph of this rank; without those whose latents stopped being numbers.
        """
        if self._made is not None and self._made[0] == trainer.global_step and not trial:
            return self._made[1]
        average = average_of(trainer)
        weights = nullcontext()
        if average is not None:
            average.follow(trainer, module)
            weights = (average.averaged if self.plan.weights == "average" else average.live)(module)
        with weights, left_as_it_was(module):
            model = LatentDiffusion(
                module.unet,
                module.vae,
                module.text_encoder,
                module.tokenizer,
                NoiseSchedule.from_config(module.scheduler_config),
            )
            if self._sources is None:
                self._sources = self._read(trainer, module, model)
            sources = self._sources[:1] if trial else self._sources
            template = self.plan.template or getattr(module, "template", PromptTemplate())
            settings = self._settings(module)
            edited = self._edit(model, sources, template, settings, steps=2 if trial else self.plan.steps)
        if not trial:
            self._made = trainer.global_step, edited
        return edited

    def forget(self) -> None:
        """Let the edited pictures go."""
        self._made = None

    def _settings(self, module: DenoisingModule) -> EditSettings:
        """Those of the model from which the training started, with the plan's changes."""
        return (self.plan.settings or EditChanges()).over(module.edit_settings)

    def _edit(
        self,
        model: LatentDiffusion,
        sources: Sequence[_Source],
        template: PromptTemplate,
        settings: EditSettings,
        *,
        steps: int,
    ) -> list[EditedPhoto]:
        plan, edited = self.plan, []
        for start in range(0, len(sources), plan.max_batch):
            group = sources[start : start + plan.max_batch]
            prompts = [template.prompt(source.age, source.gender) for source in group]
            latents = torch.cat([source.latents for source in group]).to(model.device)
            try:
                trajectories = DirectInversion(steps=steps).invert_all(model, latents, prompts)
                for source, trajectory in zip(group, trajectories, strict=True):
                    targets = [template.prompt(age, source.gender) for age in plan.target_ages]
                    result = edit(
                        model,
                        trajectory,
                        targets,
                        settings,
                        words=template.words,
                        max_batch=plan.max_batch,
                    )
                    images = model.decode_latents(result.latents)
                    if source.pixels is None:
                        source.pixels = model.decode_latents(source.latents)[0]
                    aged = dict(zip(plan.target_ages, images, strict=True))
                    edited.append(EditedPhoto(source.place, source.age, source.pixels, aged))
            except FloatingPointError as error:
                logger.warning("photographs %s on were not edited: %s", group[0].place, error)
        return edited

    def _read(self, trainer: Trainer, module: DenoisingModule, model: LatentDiffusion) -> list[_Source]:
        """This rank's share of the photographs."""
        if self.plan.files is not None:
            return self._read_files(trainer, model, self.plan.files)
        data = trainer.datamodule  # type: ignore[attr-defined]
        loader = data.test_dataloader() if trainer.testing else data.val_dataloader()
        loader = loader[0] if isinstance(loader, list | tuple) else loader
        keys = self._spread(list(loader.sampler))
        mine = [(place, loader.dataset[keys[place]]) for place in share(len(keys), trainer)]
        sources = []
        for place, item in mine:
            if "moments" not in item:
                raise ConfigurationError(
                    f"the held-out batches of {type(data).__name__} hold no moments of an "
                    "autoencoder to edit: give photographs in edits.files"
                )
            mean = item["moments"].float().chunk(2)[0].unsqueeze(0)
            latents = mean * module.vae.config.scaling_factor
            sources.append(_Source(place, float(item["age"]), item["gender"], latents))
        return sources

    def _read_files(self, trainer: Trainer, model: LatentDiffusion, files: str) -> list[_Source]:
        entries = self._spread(list_photos(files))
        photos, detector = PhotoDataset(entries), default_detector()
        sources = []
        for place in share(len(entries), trainer):
            photo = photos[place]
            try:
                if not isinstance(photo, Photo):
                    raise UnusablePhotoError(getattr(photo, "reason", ""))
                face = take_face(photo, detector, size=model.image_size)
            except UnusablePhotoError as error:
                logger.warning("%s is not edited: %s", entries[place].file, error)
                continue
            latents = model.encode_image(face.pixels).cpu()
            sources.append(_Source(place, face.age, face.gender, latents, face.pixels))
        return sources

    def _spread(self, things: list) -> list:
        """The plan's number of things, evenly from first to last."""
        self.count = min(self.plan.photos, len(things))
        return [things[i] for i in np.linspace(0, len(things) - 1, self.count).round().astype(int)]


def warn_without_validation(trainer: Trainer, name: str, otherwise: str = "") -> None:
    """Say that a callback has nothing to do in this fit, where no validation falls within what is left of it.

    Args:
        trainer: Of the fit; its data is set up.
        name: Of the callback, which works at validations.
        otherwise: What else may be given, with a comma in front.
    """
    every = trainer.val_check_batch  # type: ignore[attr-defined]
    if not trainer.is_global_zero or not trainer.enable_validation or not every or math.isinf(every):
        return  # there is none at all, or the time or the end of the data decides
    batches, epochs = trainer.num_training_batches, trainer.check_val_every_n_epoch  # type: ignore[attr-defined]
    left = math.inf
    if trainer.max_steps != -1:
        left = (trainer.max_steps - trainer.global_step) * trainer.accumulate_grad_batches
    if trainer.max_epochs not in (None, -1):
        left = min(left, (trainer.max_epochs - trainer.current_epoch) * batches)
    done = 1 + (trainer.fit_loop.total_batch_idx if epochs is None else trainer.fit_loop.batch_idx)
    first = every - done % every  # from here on
    if epochs is not None:
        first += (-(trainer.current_epoch + 1) % epochs) * batches
    if 0 < left < first:
        remedy = (
            f"trainer.val_check_interval to at most {left}, counted in batches"
            if epochs is None
            else "trainer.val_check_interval to a smaller number of batches, with "
            "trainer.check_val_every_n_epoch: null"
        )
        logger.warning(
            "%s works at validations, and none falls within the %s batches of this run: the first would come "
            "after %s. Set %s%s",
            *(name, left, first, remedy, otherwise),
        )
