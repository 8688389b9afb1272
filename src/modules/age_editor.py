"""One photograph through all stages to its face at every target age (FADING, arXiv 2309.11321)."""

from __future__ import annotations

import dataclasses
import logging
import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import torch
from lightning import LightningModule
from tqdm import tqdm

from faceforward.datamodules.people import check_ages
from faceforward.diffusion.ageing import AgeRequest, FaceAger
from faceforward.diffusion.inversion import DirectInversion, Inversion, NullTextInversion
from faceforward.diffusion.lora import base_to_load
from faceforward.diffusion.pipeline import load_pipeline
from faceforward.diffusion.prompts import PromptTemplate, saved_template
from faceforward.diffusion.settings import EditChanges, saved_settings
from faceforward.errors import ConfigurationError
from faceforward.faces.age import AgeEstimator, DlibAgeEstimator
from faceforward.faces.detail import DetailTransfer
from faceforward.faces.detect import Detector, default_detector
from faceforward.faces.face import take_face
from faceforward.faces.faceres import FaceResAgeEstimator
from faceforward.faces.finish import LEAST_SIDE, MOST_SIDE, Finisher
from faceforward.faces.growth import Growth
from faceforward.faces.identity import DlibEmbedder, Embedder, distance
from faceforward.faces.mesh import FaceMesh
from faceforward.metrics.strangers import stranger_limits
from faceforward.modules.photo_steps import recorded
from faceforward.modules.provenance import describe, model_facts, named_backends
from faceforward.pretrained import resolve
from faceforward.records import CaseResult, Face, Photo

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from faceforward.diffusion.trajectory import OnStep
    from faceforward.records import AgeEdit, AgeEstimate, Gender

logger = logging.getLogger(__name__)

EMBEDDED = "face-ldm-128"


class AgeEditor(LightningModule):
    """Ages faces: `predict_step` takes a `Photo` and gives a `CaseResult`, or a `Rejected` that says why not.

    A list of photographs is edited in one batch.

    Nothing here draws a random number: the same photograph and settings give the same pictures.

    Args:
        target_ages: In years, for photographs that bring none of their own.
        pretrained: Folder or hub id of a Stable Diffusion 1.x or 2.x; None takes the one that
            the LoRA was trained on, else the model of this package.
        lora: Folder or file of a LoRA of the UNet, as `train: lora` exports it, to add to that model.
        precision: Of the UNet.
        inversion: How the photograph is turned into noise; None takes direct inversion over the steps of
            the edit's settings.
        edit: What is to differ in how far the targets are held to the source: what it leaves open, as None
            leaves all, is taken from the settings beside the LoRA or model, if there are some, else FADING's.
        template: Words of the prompts; None takes those that the model or LoRA was specialised with, if its
            folder says them, else FADING's.
        detector: Finds faces; None takes the best one that is here.
        age_estimator: Reads ages off faces; None takes dlib's.
        judge: A second reader of ages, which chooses nothing; "faceres" takes the package's, None leaves it
            out (FaceRes' makers trained on research data).
        embedder: Compares faces; None takes dlib's.
        growth: Share of the change of the face's shape between the two ages, see `Growth`; 0 keeps the shape.
        finisher: Makes the pictures that people look at from the model's; None carries the change onto the
            photograph (`DetailTransfer`).
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
        judge: AgeEstimator | Literal["faceres"] | None = "faceres",
        embedder: Embedder | None = None,
        growth: float = 0.75,
        finisher: Finisher | None = None,
        max_batch: int | None = None,
    ) -> None:
        super().__init__()
        self.target_ages = check_ages(target_ages)
        self.pretrained = pretrained
        source = base_to_load(pretrained, lora, EMBEDDED)
        folder = resolve(source)
        self.edit_settings = (edit or EditChanges()).over(saved_settings(lora, folder))
        self.inversion = inversion or DirectInversion(steps=self.edit_settings.steps)
        self.template = template or saved_template(lora, folder)
        if isinstance(self.inversion, NullTextInversion):
            self.inversion.agree(self.edit_settings.guidance_scale)
        self.detector = detector or default_detector()
        self.age_estimator = age_estimator or DlibAgeEstimator()
        self.judge = FaceResAgeEstimator() if judge == "faceres" else judge
        self.embedder = embedder or DlibEmbedder()
        self.mesh = FaceMesh()
        self.growth = Growth(share=growth)
        self.finisher = finisher or DetailTransfer()
        self.diffusion = load_pipeline(folder, dtype=getattr(torch, precision), lora=lora)
        self.ager = FaceAger(
            self.diffusion,
            inversion=self.inversion,
            settings=self.edit_settings,
            template=self.template,
            growth=self.growth if growth else None,
            max_batch=max_batch,
        )
        # Registered, so that Lightning moves them.
        self.unet, self.vae = self.diffusion.unet, self.diffusion.vae
        self.text_encoder = self.diffusion.text_encoder
        self._model = model_facts(self.diffusion, source, lora=lora, precision=precision)

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
                **({} if self.judge is None else {"judge": self.judge}),
                embedder=self.embedder,
                mesh=self.mesh,
                growth=self.growth,
                finisher=self.finisher,
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
        face = self._face(photo)
        with self._bar(photo.id) as on_step:
            edited = self.ager.age_all([self._request(photo, face)], on_step=on_step)[0]
        return self._result(photo, face, edited, seconds=time.perf_counter() - start)

    def age_group(self, samples: Sequence[Any]) -> list[Any]:
        """Age several photographs in one batch.

        Args:
            samples: Photographs; anything else among them is a record already and stays what it is.

        Returns:
            For each a `CaseResult`, or a `Rejected`: one that cannot be used has no part in the batch. Where
            the batch as a whole fails, each photograph is done by itself.

        Raises:
            ConfigurationError: What was asked for cannot work for any photograph.
        """
        start = time.perf_counter()
        results = [recorded(sample, self._face) for sample in samples]
        faces = {
            place: (sample, found)
            for place, (sample, found) in enumerate(zip(samples, results, strict=True))
            if isinstance(sample, Photo) and isinstance(found, Face)
        }
        if not faces:
            return results
        try:
            with self._bar(", ".join(photo.id for photo, _ in faces.values())) as on_step:
                edits = self.ager.age_all([self._request(*pair) for pair in faces.values()], on_step=on_step)
        except ConfigurationError:
            raise
        except Exception:  # which of them it was shows when each is done alone
            logger.exception("a batch of %d photographs failed; each is done alone now", len(faces))
            return recorded(list(samples), self.age)  # type: ignore[no-any-return]
        seconds = (time.perf_counter() - start) / len(faces)
        for (place, (photo, face)), edited in zip(faces.items(), edits, strict=True):
            finish = partial(self._result, face=face, edited=edited, seconds=seconds)
            results[place] = recorded(photo, finish)
        return results

    def _request(self, photo: Photo, face: Face) -> AgeRequest:
        targets = tuple(photo.targets or self.target_ages)
        return AgeRequest(face.pixels, face.age, face.gender, targets, face.mesh)

    def _face(self, photo: Photo) -> Face:
        """The face in a photograph, at its own resolution, with its mesh."""
        face = take_face(
            photo,
            self.detector,
            face=photo.face,
            size=(LEAST_SIDE, MOST_SIDE),
            age_estimator=self.age_estimator,
            judge=self.judge,
        )
        landmarks = face.alignment.points_to_crop(face.detection.landmarks)
        return dataclasses.replace(face, mesh=self.mesh.fit(face.pixels, landmarks))

    def _result(self, photo: Photo, face: Face, edited: AgeEdit, *, seconds: float) -> CaseResult:
        """Finish the pictures, and measure what people will see."""
        start = time.perf_counter()
        aged = self.finisher.finish(edited, face, photo)
        pictures = list(aged.values())
        descriptors = self.embedder.embed([face.pixels, *pictures])
        distances = distance(descriptors[1:], descriptors[:1])
        small = self.embedder.embed([edited.reconstruction, edited.inverted])
        judged: dict[int, AgeEstimate] = {}
        if self.judge is not None:
            judged = dict(zip(aged, self.judge.estimate(pictures), strict=True))
        return CaseResult(
            photo=photo,
            face=face,
            edit=edited,
            aged=aged,
            estimates=dict(zip(aged, self.age_estimator.estimate(pictures), strict=True)),
            judged=judged,
            identity=dict(zip(aged, map(float, distances), strict=True)),
            identity_limits=stranger_limits(
                self.embedder.name, descriptors[0], dict(zip(aged, descriptors[1:], strict=True))
            ),
            reconstruction_identity=float(distance(small[1:], small[:1])[0]),
            seconds=seconds + time.perf_counter() - start,
            settings=self.settings(
                age=photo.age, gender=photo.gender, targets=photo.targets, face=photo.face
            ),
        )

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
        return self.age_group(sample) if isinstance(sample, list) else recorded(sample, self.age)

    @contextmanager
    def _bar(self, name: str) -> Iterator[OnStep]:
        """The steps within a photograph, on a terminal, where Lightning shows its own bar of photographs."""
        trainer = self._trainer
        shown = trainer is not None and trainer.is_global_zero and trainer.progress_bar_callback is not None
        with tqdm(desc=name, leave=False, position=1, disable=None if shown else True) as bar:

            def on_step(done: int, planned: int) -> None:
                bar.total, bar.n = planned, done
                bar.refresh()

            yield on_step
