"""One photograph through all stages to its face at every target age (FADING, arXiv 2309.11321)."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from lightning import LightningModule
from tqdm import tqdm

from faceforward.datamodules.people import check_ages
from faceforward.diffusion.color import restore_colors
from faceforward.diffusion.editing import edit
from faceforward.diffusion.inversion import DirectInversion, Inversion, NullTextInversion
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import PromptTemplate, saved_template
from faceforward.diffusion.settings import EditChanges, saved_settings
from faceforward.errors import ConfigurationError
from faceforward.faces.age import AgeEstimator, DlibAgeEstimator
from faceforward.faces.align import align
from faceforward.faces.crops import resized
from faceforward.faces.detect import Detector, default_detector
from faceforward.faces.face import take_face
from faceforward.faces.identity import DlibEmbedder, Embedder, distance
from faceforward.faces.upscale import RealESRGANUpscaler, Upscaler
from faceforward.modules.photo_steps import recorded
from faceforward.modules.provenance import describe, model_facts, named_backends
from faceforward.pretrained import resolve
from faceforward.records import AgeEdit, CaseResult, Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faceforward.diffusion.trajectory import OnStep
    from faceforward.records import Face, Gender


EMBEDDED = "face-ldm-128"
SIZE = 512  # side of what people look at
LEAST_BATCH = 4  # source and one target, both with their unconditional rows


class AgeEditor(LightningModule):
    """Ages faces: `predict_step` takes a `Photo` and gives a `CaseResult`, or a `Rejected` that says why not.

    Nothing here draws a random number: the same photograph and settings give the same pictures.

    Args:
        target_ages: In years, for photographs that bring none of their own.
        pretrained: Folder or hub id of a Stable Diffusion 1.x or 2.x; None takes the model of this package.
        lora: Folder or file of a LoRA of the UNet, as `train: lora` exports it, to add to that model.
        precision: Of the UNet.
        inversion: How the photograph is turned into noise; None takes direct inversion.
        edit: What is to differ in how far the targets are held to the source: what it leaves open, as None
            leaves all, is taken from the settings beside the model, if its folder has some, else FADING's.
        template: Words of the prompts; None takes those that the model or LoRA was specialised with, if its
            folder says them, else FADING's.
        detector: Finds faces; None takes the best one that is here.
        age_estimator: Reads ages off faces; None takes dlib's.
        embedder: Compares faces; None takes dlib's.
        upscaler: Enlarges what a model below 512 pixels makes; None takes Real-ESRGAN.
        max_batch: Bound of the UNet's batch, at least 4; None edits all targets at once.

    Raises:
        ConfigurationError: A target age or a setting is out of range, or the guidance of null-text inversion
            is not the edit's.
        WeightsUnavailableError: Weights are missing.
    """

    def __init__(
        self,
        *,
        target_ages: list[int],
        pretrained: str | None = None,
        lora: str | None = None,
        precision: Literal["float32", "bfloat16", "float16"] = "float32",
        inversion: Inversion | None = None,
        edit: EditChanges | None = None,
        template: PromptTemplate | None = None,
        detector: Detector | None = None,
        age_estimator: AgeEstimator | None = None,
        embedder: Embedder | None = None,
        upscaler: Upscaler | None = None,
        max_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.target_ages = check_ages(target_ages)
        self.pretrained = pretrained
        self.inversion = inversion or DirectInversion()
        folder = resolve(pretrained or EMBEDDED)
        self.edit_settings = (edit or EditChanges()).over(saved_settings(folder))
        self.template = template or saved_template(lora, folder)
        if max_batch is not None and max_batch < LEAST_BATCH:
            raise ConfigurationError(f"max_batch is {max_batch}: one target needs up to {LEAST_BATCH}")
        self.max_batch = max_batch
        if isinstance(self.inversion, NullTextInversion):
            self.inversion.agree(self.edit_settings.guidance_scale)
        self.detector = detector or default_detector()
        self.age_estimator = age_estimator or DlibAgeEstimator()
        self.embedder = embedder or DlibEmbedder()
        self.upscaler = upscaler or RealESRGANUpscaler()
        self.diffusion = load_pipeline(folder, dtype=getattr(torch, precision), lora=lora)
        # Registered, so that Lightning moves them.
        self.unet, self.vae = self.diffusion.unet, self.diffusion.vae
        self.text_encoder = self.diffusion.text_encoder
        self._model = model_facts(self.diffusion, pretrained or EMBEDDED, lora=lora, precision=precision)

    def settings(
        self, *, age: float | None, gender: Gender | None, targets: Sequence[int] | None, face: int | None
    ) -> dict[str, Any]:
        """Everything that decides the result of a photograph beside its pixels, as JSON values.

        Args:
            age: Age in the photograph, when the user gave it.
            gender: When the user gave it.
            targets: The photograph's own target ages.
            face: Which face is taken.
        """
        return {
            "model": self._model,
            "inversion": describe(self.inversion),
            "edit": describe(self.edit_settings),
            "template": describe(self.template),
            **named_backends(
                detector=self.detector,
                age_estimator=self.age_estimator,
                embedder=self.embedder,
                upscaler=self.upscaler,
            ),
            "age": age,
            "gender": gender,
            "targets": list(targets or self.target_ages),
            "face": face,
        }

    def age(self, photo: Photo) -> CaseResult:
        """Age one photograph.

        Raises:
            UnusablePhotoError: There is no face in it, or no age is known.
        """
        start = time.perf_counter()
        targets = photo.targets or self.target_ages
        side = self.diffusion.image_size
        face = take_face(
            photo, self.detector, face=photo.face, size=max(SIZE, side), age_estimator=self.age_estimator
        )
        with self._bar(photo) as on_step:
            # Cut out anew at the model's size: resampled once, not twice.
            source, _ = align(photo.pixels, face.detection.landmarks, side)
            edited = self.edit(source, face, targets, on_step=on_step)
        pictures = [edited.images[age] for age in targets]
        descriptors = self.embedder.embed([edited.source, edited.reconstruction, *pictures])  # type: ignore[list-item]
        distances = distance(descriptors[1:], descriptors[:1])
        return CaseResult(
            photo=photo,
            face=face,
            edit=edited,
            aged={age: self.enlarge(picture) for age, picture in zip(targets, pictures, strict=True)},
            estimates=dict(zip(targets, self.age_estimator.estimate(pictures), strict=True)),
            identity=dict(zip(targets, map(float, distances[1:]), strict=True)),
            reconstruction_identity=float(distances[0]),
            seconds=time.perf_counter() - start,
            settings=self.settings(
                age=photo.age, gender=photo.gender, targets=photo.targets, face=photo.face
            ),
        )

    def edit(
        self, source: np.ndarray, face: Face, targets: Sequence[int], *, on_step: OnStep | None = None
    ) -> AgeEdit:
        """Invert one crop and edit it to all targets in one batch.

        Args:
            source: `(s, s, 3)` uint8 RGB at the model's size.
            face: Where age and gender come from.
            targets: Ages in years.
            on_step: Progress.

        Returns:
            Its pictures are `(s, s, 3)` uint8 RGB.

        Raises:
            ConfigurationError: See `editing.edit`.
            FloatingPointError: The latents stopped being numbers.
        """
        latents = self.diffusion.encode_image(source)
        prompt = self.template.prompt(face.age, face.gender)
        prompts = [self.template.prompt(age, face.gender) for age in targets]
        trajectory = self.inversion.invert(self.diffusion, latents, prompt, on_step=on_step)
        result = edit(
            self.diffusion,
            trajectory,
            prompts,
            self.edit_settings,
            words=self.template.words,
            reconstruct=True,
            max_batch=self.max_batch,
            on_step=on_step,
        )
        inverted = result.reconstruction
        assert inverted is not None  # asked for
        ceiling, back, *images = self.diffusion.decode_latents(torch.cat([latents, inverted, result.latents]))
        if self.edit_settings.restore_colors:
            images = list(restore_colors(np.stack(images), source, ceiling))
        return AgeEdit(
            images=dict(zip(targets, images, strict=True)),
            reconstruction=ceiling,
            inverted=back,
            inversion_psnr=psnr(back, ceiling),
            source_prompt=prompt,
            target_prompts=dict(zip(targets, prompts, strict=True)),
            unet_evaluations=trajectory.unet_evaluations + result.unet_evaluations,
            source=source,
        )

    def enlarge(self, picture: np.ndarray) -> np.ndarray:
        """A picture of the model, `(s, s, 3)` uint8 RGB, at 512 pixels; through the upscaler when smaller."""
        while picture.shape[0] < SIZE:
            picture = self.upscaler.upscale(picture)
        return resized(picture, SIZE)

    def on_predict_start(self) -> None:
        """Refuse null-text inversion where gradients are impossible.

        Raises:
            ConfigurationError: As said.
        """
        if isinstance(self.inversion, NullTextInversion) and self.trainer.predict_loop.inference_mode:
            raise ConfigurationError("null-text inversion optimises: add --trainer.inference_mode false")

    def predict_step(self, sample: Any, batch_idx: int) -> Any:
        """A `Photo` becomes its `CaseResult`; whatever goes wrong with it becomes its record.

        Raises:
            ConfigurationError: What was asked for cannot work for any photograph.
        """
        return recorded(sample, self.age)

    @contextmanager
    def _bar(self, photo: Photo) -> Iterator[OnStep]:
        """The steps within a photograph, on a terminal, where Lightning shows its own bar of photographs."""
        trainer = self._trainer
        shown = trainer is not None and trainer.is_global_zero and trainer.progress_bar_callback is not None
        with tqdm(desc=photo.id, leave=False, position=1, disable=None if shown else True) as bar:

            def on_step(done: int, planned: int) -> None:
                bar.total, bar.n = planned, done
                bar.refresh()

            yield on_step


def psnr(picture: np.ndarray, reference: np.ndarray) -> float:
    """Peak signal-to-noise ratio of two uint8 pictures of one shape in dB; infinite when they are equal."""
    error = np.mean((picture.astype(np.float64) - reference) ** 2)
    return float("inf") if error == 0 else float(10 * np.log10(255**2 / error))
