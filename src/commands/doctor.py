"""`faceforward doctor`: what is on this machine, what is missing and how to get it."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from faceforward.pretrained import damaged_files, locate
from faceforward.registry import GENERATORS, GOAE, REGISTRY, cache_directory
from faceforward.version import __version__


@dataclass(frozen=True)
class Backend:
    """A part of the way from photograph to ages, and what it runs on.

    Attributes:
        job: What it does, in words.
        choices: Weights in the order in which the default takes them.
        modules: For each choice, the Python modules that must import.
        needed: Whether the default way fails without it.
    """

    job: str
    choices: tuple[str, ...]
    modules: dict[str, tuple[str, ...]]
    needed: bool = True


@dataclass(frozen=True)
class Finding:
    """What was found about one set of weights.

    Attributes:
        job: What it is for.
        name: Registry name.
        state: `here`, `missing`, `damaged` (digest or header wrong) or `broken` (a library does not import).
        used: Whether the default takes it: the first whose weights are there, working or not.
        path: Where it lies, or None.
        checked: Whether digests are known and were compared.
        licence: Of the weights.
        advice: What to do about it; empty when all is well.
    """

    job: str
    name: str
    state: str
    used: bool
    path: str | None
    checked: bool
    licence: str
    advice: str


BACKENDS = (
    Backend(
        "face detector",
        ("retinaface", "mtcnn"),
        {"retinaface": ("retinaface", "onnxruntime"), "mtcnn": ("onnxruntime", "cv2")},
    ),
    Backend("diffusion model", ("face-ldm-128",), {"face-ldm-128": ("diffusers", "transformers")}),
    Backend("face mesh", ("face-mesh",), {"face-mesh": ("onnxruntime",)}),
    Backend("growth of the face's shape", ("face-growth",), {"face-growth": ("scipy",)}),
    Backend("age and gender", ("dlib-age-gender",), {"dlib-age-gender": ("onnxruntime",)}),
    Backend("second reading of age", ("faceres",), {"faceres": ("onnxruntime",)}),
    Backend("identity", ("dlib-recognition",), {"dlib-recognition": ("dlib",)}),
    Backend("the person's outline", ("person-mask",), {"person-mask": ("onnxruntime",)}, False),
    Backend("camera estimation", ("mean-face",), {"mean-face": ()}, False),
    Backend("enlargement", ("realesrgan-x4plus",), {"realesrgan-x4plus": ("ncnn",)}),
    Backend(
        "full-size diffusion model",
        ("stable-diffusion-1.5",),
        {"stable-diffusion-1.5": ("diffusers",)},
        False,
    ),
    Backend("unspecialised model", ("face-ldm-128-base",), {"face-ldm-128-base": ("diffusers",)}, False),
    Backend("3D generator", GENERATORS, dict.fromkeys(GENERATORS, ()), False),
    Backend("photographs into a 3D generator", (GOAE,), {GOAE: ()}, False),
)


def main(argv: Sequence[str] | None = None) -> int:
    """Look around and report.

    Args:
        argv: The words after `faceforward doctor`; None means the process's own.

    Returns:
        0 when a photograph can be aged with the defaults, 1 when it cannot, 2 for wrong usage.
    """
    parser = argparse.ArgumentParser(prog="faceforward doctor", description=__doc__)
    parser.add_argument("--json", action="store_true", help="for programs")
    try:
        options = parser.parse_args(argv)
    except SystemExit as stop:  # argparse has said why; 0 after --help
        return int(stop.code or 0)
    machine, findings = describe_machine(), examine()
    ready = is_ready(findings)
    if options.json:
        report = {"ready": ready, "machine": machine, "backends": [asdict(finding) for finding in findings]}
        sys.stdout.write(json.dumps(report, indent=2) + "\n")
    else:
        sys.stdout.write(_text(machine, findings, ready))
    return 0 if ready else 1


def describe_machine() -> dict[str, str]:
    """Return what decides how fast it will be and where things go."""
    import torch
    from huggingface_hub.constants import HF_HUB_CACHE

    devices = [
        f"cuda:{index} {torch.cuda.get_device_name(index)}, "
        f"{torch.cuda.get_device_properties(index).total_memory / 2**30:.0f} GiB"
        for index in range(torch.cuda.device_count())
    ]
    if torch.backends.mps.is_available():
        devices.append("mps (Apple)")
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "faceforward": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "device": "; ".join(devices) or "CPU only",
        "processors": f"{count} usable, torch takes {torch.get_num_threads()} threads",
        "cache": str(cache_directory()),
        "hub cache": HF_HUB_CACHE,
    }


def examine() -> list[Finding]:
    """Look for every backend: weights present and undamaged, libraries importable."""
    findings = []
    for backend in BACKENDS:
        taken = False
        for name in backend.choices:
            state, advice = _state(name, backend.modules[name])
            path = locate(name)
            used = backend.needed and path is not None and not taken
            taken = taken or used
            findings.append(
                Finding(
                    job=backend.job,
                    name=name,
                    state=state,
                    used=used,
                    path=str(path) if path else None,
                    checked=bool(path and REGISTRY[name].sha256),
                    licence=REGISTRY[name].licence,
                    advice=advice,
                )
            )
    return findings


def is_ready(findings: Sequence[Finding]) -> bool:
    """Tell whether every needed part has something to run on."""
    return not _lacking(findings)


def _state(name: str, modules: Sequence[str]) -> tuple[str, str]:
    if locate(name) is None:
        return "missing", REGISTRY[name].how
    damaged = ", ".join(damaged_files(name))
    if damaged:
        return "damaged", f"{damaged} is damaged or not the file we know; delete it and: {REGISTRY[name].how}"
    for module in modules:
        try:
            importlib.import_module(module)
        except (ImportError, OSError) as error:  # OSError: a shared library that does not load
            return "broken", f"import {module} fails ({error}); reinstall it"
    return "here", ""


def _lacking(findings: Sequence[Finding]) -> list[str]:
    working = {finding.job for finding in findings if finding.used and finding.state == "here"}
    return [backend.job for backend in BACKENDS if backend.needed and backend.job not in working]


def _text(machine: dict[str, str], findings: Sequence[Finding], ready: bool) -> str:
    lines = [f"{key:12} {value}" for key, value in machine.items()]
    lines.append("")
    for finding in findings:
        mark = "used" if finding.used and finding.state == "here" else finding.state
        lines.append(f"[{mark:^7}] {finding.job}: {finding.name}")
        if finding.path:
            lines.append(
                f"{'':10}{finding.path}{'' if finding.checked else ' (no digest known: not checked)'}"
            )
        lines.append(f"{'':10}licence: {finding.licence}")
        if finding.advice:
            lines.append(f"{'':10}get it: {finding.advice}")
    lines += [
        "",
        "Ready: a photograph can be aged with the defaults."
        if ready
        else f"Not ready: nothing to run on for: {', '.join(_lacking(findings))}.",
    ]
    return "\n".join(lines) + "\n"
