"""The inference door as people use it: the real command line on the real YAML, over a tiny real model."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest
from PIL import Image

from tiny_inference import ROOT, arguments, case_files, files, manifest, run


@pytest.mark.slow
def test_killed_run_goes_on_where_it_was_on_two_ranks(tmp_path, astronaut, tiny_sd):
    folder, output = tmp_path / "photos", tmp_path / "out"
    folder.mkdir()
    for name in "abcd":
        Image.fromarray(astronaut).save(folder / f"{name}.png")
    command = arguments(tiny_sd, folder, output)
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 240
    while not (output / "cases" / "a").exists():
        assert process.poll() is None, "it ended before the first case was there"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    complete = {path.name for path in (output / "cases").iterdir() if not path.name.startswith(".")}
    assert complete < set("abcd")
    (output / "cases" / ".b.faceforward-tmp" / "raw").mkdir(parents=True, exist_ok=True)

    done = run(*command, "--trainer.devices=2", "--trainer.strategy=ddp")
    assert done.returncode == 0, done.stderr
    lines = manifest(output)
    assert [line["id"] for line in lines] == list("abcd")
    assert {line["id"] for line in lines if line["reused"]} == complete
    expected = {"manifest.jsonl", "report.html"}.union(*(case_files(case, (20, 40)) for case in "abcd"))
    assert files(output) == expected
    assert not list((output / "cases").glob(".*"))


@pytest.mark.slow
def test_csv_and_null_text(tmp_path, astronaut, tiny_sd):
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    csv = tmp_path / "people.csv"
    csv.write_text("file,age,gender,targets\na.png,8,male,30;15\n")
    inversion = "--model.init_args.inversion=faceforward.diffusion.inversion.NullTextInversion"
    command = [arg for arg in arguments(tiny_sd, csv, tmp_path / "out") if "inversion" not in arg]
    command += [inversion, "--model.init_args.inversion.init_args={steps: 2, inner_steps: 1}"]
    done = run(*command, "--trainer.inference_mode=false")
    assert done.returncode == 0, done.stderr
    (line,) = manifest(tmp_path / "out")
    assert (line["age"], line["gender"], line["targets"]) == (8, "male", [15, 30])
    result = json.loads((tmp_path / "out" / "cases" / "a" / "result.json").read_text("utf-8"))
    assert result["source"]["age_origin"] == "given"
    assert result["ages"]["15"]["prompt"] == "photo of 15 year old boy"
    assert result["ages"]["30"]["prompt"] == "photo of 30 year old man"
    assert "shows a child" in (tmp_path / "out" / "report.html").read_text("utf-8")


def test_help_needs_no_weights():
    shown = run("infer.py", "--help")
    assert shown.returncode == 0
    for option in ("--photos", "--target_ages", "--output", "--face", "--overwrite"):
        assert re.search(rf"^  {option}\b", shown.stdout, re.MULTILINE)
