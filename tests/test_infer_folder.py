"""A folder of good and broken photographs through infer.py: every file that it leaves, and what they say."""

import json
from pathlib import Path

import piexif
import pytest
from PIL import Image

from corpus import write_broken_files
from tiny_inference import arguments, case_files, files, manifest, run

KINDS = 12
GPS = {
    "0th": {piexif.ImageIFD.Make: b"SecretMaker", piexif.ImageIFD.Orientation: 1},
    "Exif": {piexif.ExifIFD.BodySerialNumber: b"SERIAL-0815", piexif.ExifIFD.CameraOwnerName: b"Mr Owner"},
    "GPS": {piexif.GPSIFD.GPSLatitudeRef: b"N", piexif.GPSIFD.GPSLatitude: ((48, 1), (51, 1), (30, 1))},
}
PRIVATE = (b"SecretMaker", b"SERIAL-0815", b"Mr Owner", b"Exif\0\0", b"eXIf")


@pytest.fixture(scope="module")
def photographs(tmp_path_factory, astronaut):
    """12 entries of which each is broken in another way, and 3 good photographs."""
    folder = tmp_path_factory.mktemp("in") / "photos"
    kept = {}
    for name, kind in write_broken_files(folder).items():
        if kind in kept.values():
            path = folder / name
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        else:
            kept[name] = kind
    assert len(kept) == KINDS
    image = Image.fromarray(astronaut)
    image.save(folder / "한글 photo.jpg", exif=piexif.dump(GPS), quality=95)
    image.save(folder / "<b>.png")
    image.save(folder / "c.webp")
    return folder


@pytest.fixture(scope="module")
def first(photographs, tiny_sd, tmp_path_factory):
    """One run over everything."""
    output = tmp_path_factory.mktemp("out")
    done = run(*arguments(tiny_sd, photographs, output))
    return done, output


@pytest.mark.slow
class TestFolder:
    CASES = ("한글_photo", "_b_", "c")

    def test_every_entry_has_its_line(self, first, photographs):
        done, output = first
        assert done.returncode == 1, done.stderr
        lines = manifest(output)
        assert len(lines) == KINDS + 3
        assert [Path(line["file"]).name for line in lines] == sorted(
            path.name for path in photographs.iterdir()
        )
        good = [line for line in lines if line["status"] == "done"]
        assert {line["id"] for line in good} == set(self.CASES)
        for line in good:
            assert line["reason"] is None
            assert line["reused"] is False
            assert line["targets"] == [20, 40]
            assert line["seconds"] > 0
            assert 15 < line["age"] < 60
            assert line["gender"] == "female"
        for line in lines:
            if line["status"] != "done":
                assert line["status"] == "skipped", line
                assert len(line["reason"]) > 15
                assert "Traceback" not in line["reason"]
        keys = {"id", "file", "status", "reason", "reused", "age", "gender", "targets", "seconds"}
        assert all(set(line) == keys for line in lines)

    def test_exact_set_of_files(self, first):
        _, output = first
        expected = {"manifest.jsonl", "report.html"}.union(
            *(case_files(case, (20, 40)) for case in self.CASES)
        )
        assert files(output) == expected

    def test_pictures_are_aligned_alike_and_marked(self, first):
        _, output = first
        for path in output.rglob("*.png"):
            with Image.open(path) as image:
                image.load()
                side = {"aged": 512, "raw": 32}.get(
                    path.parent.name, 512 if path.name == "face.png" else None
                )
                assert side is None or image.size == (side, side)
                xmp = image.text["XML:com.adobe.xmp"]
                if path.name in ("face.png", "source.png"):
                    assert "not synthetic" in image.text["Description"]
                    assert "lgorithmicMedia" not in xmp
                elif path.parent.name in ("aged", "photo"):
                    assert "compositeWithTrainedAlgorithmicMedia" in xmp
                    assert "a model has changed" in image.text["Description"]
                elif path.name == "sheet.png":
                    assert "compositeWithTrainedAlgorithmicMedia" in xmp
                else:
                    assert "digitalsourcetype/trainedAlgorithmicMedia" in xmp
                    assert "not a photograph" in image.text["Description"]

    def test_place_and_camera_never_get_through(self, first, photographs):
        _, output = first
        assert b"SERIAL-0815" in (photographs / "한글 photo.jpg").read_bytes()
        for path in output.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                assert not any(secret in content for secret in PRIVATE), path
                if path.suffix == ".png":
                    with Image.open(path) as image:
                        assert not image.getexif()

    def test_result_says_how_it_was_made(self, first):
        _, output = first
        result = json.loads((output / "cases" / "c" / "result.json").read_text("utf-8"))
        assert result["face"]["detector"]
        assert result["source"]["age_origin"] == "estimated"
        assert result["settings"]["inversion"] == {"class": "DirectInversion", "steps": 4}
        assert len(result["settings"]["model"]["sha256"]) == 64
        assert result["inversion"]["psnr_db"] > 0
        assert result["unet_evaluations"] > 0
        assert {"torch", "diffusers", "faceforward"} <= set(result["versions"])
        for age in ("20", "40"):
            assert result["ages"][age]["prompt"] == f"photo of {age} year old woman"
            assert result["ages"][age]["estimated_age"]["years"] > 0
            assert result["ages"][age]["identity_distance"] >= 0

    def test_report_is_whole_and_safe(self, first):
        _, output = first
        page = (output / "report.html").read_text("utf-8")
        assert page.count("data:image/jpeg;base64,") == 9
        assert "<b>.png" not in page
        assert "&lt;b&gt;.png" in page
        assert "한글 photo.jpg" in page
        assert "3 with estimates, 12 without" in page

    def test_second_run_reuses_unless_told_otherwise(self, first, photographs, tiny_sd):
        _, output = first
        before = {path: path.stat().st_mtime_ns for path in (output / "cases").rglob("*.png")}
        again = run(*arguments(tiny_sd, photographs, output))
        assert again.returncode == 1
        assert {line["id"] for line in manifest(output) if line["reused"]} == set(self.CASES)
        assert before == {path: path.stat().st_mtime_ns for path in (output / "cases").rglob("*.png")}
        assert "in an earlier run" in (output / "report.html").read_text("utf-8")

        forced = run(*arguments(tiny_sd, photographs / "c.webp", output, "--overwrite"))
        assert forced.returncode == 0, forced.stderr
        lines = manifest(output)
        assert len(lines) == KINDS + 3
        assert [line["id"] for line in lines if line["status"] == "done" and not line["reused"]] == ["c"]
        assert files(output / "cases") >= {name.removeprefix("cases/") for name in case_files("c", (20, 40))}
