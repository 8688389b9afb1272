"""`faceforward evaluate`: folders of any program, measured, compared, and what is refused."""

import csv
import json
import math
import sys

import numpy as np
import pytest
from PIL import Image

from faceforward.commands.evaluate import evaluate, main
from faceforward.errors import ConfigurationError
from faceforward.faces.crops import resized
from faceforward.faces.detect import default_detector
from faceforward.faces.mesh import FaceMesh
from faceforward.faces.reading import read_photo
from faceforward.metrics.calibration import AgePoint, Calibration
from faceforward.records import AgeEstimate
from faceforward.report.evaluation_pictures import Networks
from faceforward.report.visible_mark import visibly_marked

TARGETS = (30, 45, 60)


class Brightness:
    """A reader that sees bright faces as old ones: its truth is known."""

    name = "brightness"

    def __init__(self, shift=0.0):
        self.shift = shift

    def estimate(self, images):
        years = [float(image[..., 1].mean()) / 2 + self.shift for image in images]
        return [AgeEstimate(each, 5.0, gender="female", gender_probability=0.9) for each in years]


class Corner:
    """An embedder that sees the colour of the first corner, which the tests paint."""

    name = "corner"

    def embed(self, images):
        return np.stack([image[:4, :4].mean(axis=(0, 1)) for image in images]).astype(np.float32) / 255


@pytest.fixture(scope="module")
def crop(astronaut):
    """A face that is aligned like FFHQ, (256, 256, 3)."""
    return resized(astronaut[20:193, 139:312], 256)


@pytest.fixture(scope="module")
def networks():
    return Networks((Brightness(),), Corner(), FaceMesh(), default_detector)


def lit(crop, years, colour=(10, 10, 10)):
    """The face at a brightness that is read as an age, its corner painted for the person."""
    picture = crop.astype(np.float64) * (2 * years / crop[..., 1].mean())
    picture = np.clip(picture, 0, 255)
    picture[:8, :8] = colour
    return picture.astype(np.uint8)


def colour_of(person):
    return (20 * person + 10, 250 - 20 * person, 100)


def write(folder, crop, *, people=4, shift=0.0, targets=TARGETS):
    """Another program's folder: `<id>/<age>.png`, its sources in a CSV."""
    rows = []
    for person in range(people):
        home = folder / f"p{person}"
        home.mkdir(parents=True)
        Image.fromarray(lit(crop, 40, colour_of(person))).save(folder / f"source{person}.png")
        for target in targets:
            Image.fromarray(lit(crop, target + shift, colour_of(person))).save(home / f"{target:02d}.png")
        rows.append((f"p{person}", f"source{person}.png", f"person{person}", 40, "fm"[person % 2]))
    with (folder / "sources.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("id", "file", "person", "age", "gender"), *rows])
    return folder


def write_gallery(folder, crop, people=6, swap=0):
    folder.mkdir()
    rows = [("file", "person", "age")]
    for person in range(people):
        for age in (20, 58):
            name = f"{person}-{age}.png"
            Image.fromarray(lit(crop, 50, colour_of((person + swap) % people))).save(folder / name)
            rows.append((name, f"person{person}", age))
    with (folder / "gallery.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return folder


@pytest.fixture(scope="module")
def compared(tmp_path_factory, crop, networks):
    """Two folders, the second eight years too old, with a gallery; a broken picture and one of no face."""
    home = tmp_path_factory.mktemp("compared")
    first, other = write(home / "first", crop), write(home / "other", crop, shift=8.0)
    (other / "p0" / "45.png").write_bytes(b"\x89PNG broken")
    Image.fromarray(np.full((256, 256, 3), 90, np.uint8)).save(other / "p1" / "45.png")
    Image.fromarray(lit(crop, 50)).save(other / "p2" / "draft.png")
    gallery = write_gallery(home / "gallery", crop)
    flat = Calibration({"brightness": (AgePoint(45.0, 50, 50, 8.0, 7.0, 9.0, 8.0, 2.0),)}, "made up")
    content = evaluate(
        [first, other], home / "out", networks=networks, gallery=gallery, gallery_aligned=True,
        calibration=flat, aligned=True,
    )  # fmt: skip
    return home, content


def test_figures_are_those_that_were_planted(compared):
    _, content = compared
    first, other = (content["folders"][name]["figures"] for name in ("first", "other"))
    assert first["age/brightness/bias"]["value"] == pytest.approx(0, abs=0.5)
    assert other["age/brightness/bias"]["value"] == pytest.approx(8, abs=0.7)
    assert other["age/brightness/calibrated_mae"]["value"] == pytest.approx(0.3, abs=0.4)
    assert first["age/brightness/spearman"]["value"] > 0.9
    assert first["keeping/gender/brightness"]["value"] == 0.5
    assert first["identity/distance"]["value"] == pytest.approx(0, abs=1e-6)
    assert first["keeping/turn"]["value"] < 6
    assert first["identity/later/aged"]["count"] == 4  # at 60, of the photographs at 58
    (comparison,) = content["comparisons"]
    difference = comparison["differences"]["age/brightness/bias"]
    assert difference["low"] <= difference["value"] <= difference["high"]
    assert difference["value"] == pytest.approx(8, abs=1)
    assert difference["count"] == 10
    assert comparison["only_in_one"] == 0  # what failed is a row of its folder too


def test_everybody_is_found_in_the_gallery_beside_chance(compared):
    _, content = compared
    found = content["folders"]["first"]["figures"]
    assert found["retrieval/aged/rank1"]["value"] == found["retrieval/unchanged/rank1"]["value"] == 1
    assert content["gallery"]["people"] == 6
    assert content["gallery"]["chance"]["rank1"] == pytest.approx(1 / 6)


def test_what_failed_is_counted_and_shown(compared):
    home, content = compared
    failed = content["folders"]["other"]["failed"]
    assert failed["pictures"] == 2
    assert sum(failed["reasons"].values()) == 3
    told = " ".join(failed["reasons"])
    assert "no face was found" in told
    assert "damaged" in told
    assert "draft.png is not called after an age" in told
    assert content["folders"]["first"]["failed"]["reasons"] == {}
    page = (home / "out" / "report.html").read_text()
    assert "draft.png is not called after an age" in page


def test_small_groups_are_named_and_left_out(compared):
    groups = compared[1]["folders"]["first"]["groups"]
    assert groups["gender"] == {
        "female": {"people": 2, "left_out": True},
        "male": {"people": 2, "left_out": True},
    }


def test_files_hold_numbers_and_the_page_needs_nothing(compared):
    import pyarrow.parquet

    home, content = compared
    assert json.loads((home / "out" / "metrics.json").read_text()) == content
    rows = pyarrow.parquet.read_table(home / "out" / "per_image.parquet").to_pylist()
    assert len(rows) == 24
    (broken,) = [
        row for row in rows if row["folder"] == "other" and row["case"] == "p0" and row["target"] == 45
    ]
    assert "damaged" in broken["failed"]
    assert broken["age/brightness/mae"] is None
    assert "descriptor" not in rows[0]
    page = (home / "out" / "report.html").read_text()
    assert page.count("<svg") == page.count("</svg>") >= 4
    assert not [outside for outside in ("http://", "https://", "<script") if outside in page]
    assert page.count('src="') == page.count('src="data:image/jpeg;base64,') > 8
    assert "ESTIMATE AT" in page
    assert "made up" in page


def test_a_gallery_with_swapped_identities_finds_nobody(tmp_path, crop, networks):
    content = evaluate(
        [write(tmp_path / "a", crop, people=3, targets=(60,))], tmp_path / "out", networks=networks,
        gallery=write_gallery(tmp_path / "gallery", crop, swap=2), gallery_aligned=True, aligned=True,
    )  # fmt: skip
    found = content["folders"]["a"]["figures"]
    assert found["retrieval/aged/rank1"]["value"] == 0
    assert "age/brightness/calibrated_mae" not in found  # the package's table does not know this reader


def test_this_programs_own_cases_are_read(tmp_path, crop, networks):
    """cases/<id>/ with result.json; the manifest's photographs without a result are failures."""
    case = tmp_path / "out" / "cases" / "a"
    (case / "aged").mkdir(parents=True)
    Image.fromarray(lit(crop, 40)).save(case / "face.png")
    Image.fromarray(lit(crop, 60)).save(case / "aged" / "60.png")
    result = {
        "file": "photos/a.jpg", "input_sha256": "0" * 64,
        "source": {"age": 38.5, "age_origin": "given", "gender": "female", "gender_origin": "given"},
        "face": {"crop_side": 256, "crop_to_photograph": [[2, 0, 0], [0, 2, 0], [0, 0, 1]]},
    }  # fmt: skip
    (case / "result.json").write_text(json.dumps(result))
    lines = [{"id": "a", "status": "done"}, {"id": "b", "status": "skipped", "reason": "No face."}]
    (tmp_path / "out" / "manifest.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\nnot json\n")
    content = evaluate([tmp_path / "out"], tmp_path / "result", networks=networks)
    folder = content["folders"]["out"]
    assert (folder["photographs"], folder["pictures"]) == (1, 1)
    assert folder["failed"]["reasons"] == {"No face.": 1, "a line of it cannot be read": 1}
    assert folder["figures"]["keeping/gender/brightness"]["value"] == 1
    assert folder["figures"]["photographs/brightness/bias"]["value"] == pytest.approx(1.5, abs=0.5)
    assert folder["figures"]["age/brightness/mae"]["low"] is None  # one person tells nothing of others


def own_case(folder, crop, *, marked, people=2):
    """This program's folder; its pictures with or without the words at their lower edge."""
    for person in range(people):
        case = folder / "cases" / f"p{person}"
        (case / "aged").mkdir(parents=True)
        Image.fromarray(lit(crop, 40, colour_of(person))).save(case / "face.png")
        for target in TARGETS:
            aged = lit(crop, target, colour_of(person))
            aged = (
                visibly_marked(aged, target, fault="reads male" if target == 60 else "") if marked else aged
            )
            Image.fromarray(aged).save(case / "aged" / f"{target}.png")
        source = {"age": 40, "age_origin": "given", "gender": "female", "gender_origin": "given"}
        (case / "result.json").write_text(json.dumps({"source": source}))
    return folder


def test_the_visible_mark_changes_no_figure(tmp_path, crop, networks):
    plain, marked = (
        evaluate(
            [own_case(tmp_path / name, crop, marked=name == "marked")],
            tmp_path / f"{name}-out",
            networks=networks,
        )["folders"][name]
        for name in ("plain", "marked")
    )
    assert plain["figures"] == marked["figures"]
    assert plain["figures"]["keeping/psnr_outside"]["value"] < 40
    assert plain["groups"] == marked["groups"]


def test_other_programs_pictures_stay_as_they_are(tmp_path, crop, networks):
    """Dark rows below count where they are the picture's own."""
    folders = [write(tmp_path / name, crop, people=1) for name in ("whole", "dark")]
    for file in (tmp_path / "dark" / "p0").iterdir():
        pixels = np.array(Image.open(file))
        pixels[-14:] = 24
        Image.fromarray(pixels).save(file)
    content = evaluate(folders, tmp_path / "out", networks=networks, aligned=True)
    whole, dark = (content["folders"][name]["figures"]["age/brightness/bias"] for name in ("whole", "dark"))
    assert dark["value"] < whole["value"] - 0.5


def test_a_picture_that_is_read_in_part_is_a_counted_failure(tmp_path, crop, networks):
    folder = write(tmp_path / "a", crop, people=3, targets=(30,))
    rows = (folder / "sources.csv").read_text()
    for name, file in (("source0", folder / "source0.jpg"), ("30", folder / "p1" / "30.jpg")):
        Image.fromarray(lit(crop, 40)).save(file, quality=95)
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
        assert read_photo(file).readable is not None, name
    (folder / "p1" / "30.png").unlink()
    (folder / "sources.csv").write_text(rows.replace("source0.png", "source0.jpg"))
    failed = evaluate([folder], tmp_path / "out", networks=networks, aligned=True)["folders"]["a"]["failed"]
    assert (failed["photographs"], failed["pictures"]) == (1, 1)
    assert all("damaged or cut off" in reason for reason in failed["reasons"])


def test_an_estimated_age_judges_no_reader(tmp_path, crop, networks):
    case = tmp_path / "out" / "a"
    (case / "aged").mkdir(parents=True)
    Image.fromarray(lit(crop, 40)).save(case / "face.png")
    Image.fromarray(lit(crop, 45)).save(case / "aged" / "45.png")
    source = {"age": 40.0, "age_origin": "estimated", "gender": "female", "gender_origin": "estimated"}
    (case / "result.json").write_text(json.dumps({"source": source}))
    folder = evaluate([tmp_path / "out"], tmp_path / "result", networks=networks)["folders"]["out"]
    assert folder["estimated_age"] == 1
    assert not [name for name in folder["figures"] if name.startswith("photographs/")]
    assert "keeping/gender/brightness" not in folder["figures"]
    assert folder["figures"]["identity/near/distance"]["count"] == 1


def test_ages_that_are_missing_are_said(tmp_path, crop, networks):
    folder = write(tmp_path / "a", crop, people=2, targets=(30,))
    (folder / "sources.csv").write_text("id,file\np0,source0.png\np1,source1.png\n")
    content = evaluate([folder], tmp_path / "out", networks=networks, aligned=True)
    assert content["folders"]["a"]["without_age"] == 2
    figures = content["folders"]["a"]["figures"]
    assert "identity/near/share" not in figures
    assert math.isfinite(figures["age/brightness/mae"]["value"])


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path, crop, networks):
    folder = write(tmp_path / "a", crop, people=2, targets=(30,))
    one, two = (
        evaluate([folder], tmp_path / f"out{n}", networks=networks, aligned=True, processes=n) for n in (1, 2)
    )
    assert one["folders"] == two["folders"]


def test_without_pyarrow_the_rows_are_a_csv(tmp_path, crop, networks, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    evaluate([write(tmp_path / "a", crop, people=2)], tmp_path / "out", networks=networks, aligned=True)
    with (tmp_path / "out" / "per_image.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["target"] for row in rows[:3]] == ["30", "45", "60"]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda p: p.mkdir(), "holds no aged picture with its source"),
        (lambda p: None, "is not a folder"),
        (lambda p: (p / "x").mkdir(parents=True), "holds no aged picture with its source"),
        (lambda p: _lone(p), "its source is not known"),
        (lambda p: _told(p, "id,age\nx,old\n"), "age 'old' is not in years"),
        (lambda p: _told(p, "id,age\nx,3\nx,4\n"), "is there twice and told otherwise"),
        (lambda p: _told(p, "id,gender\nx,neither\n"), "is neither female nor male"),
        (lambda p: _told(p, "id,age\n"), "names no source"),
        (lambda p: _told(p, "id,age\n,3\n"), "names neither id nor file"),
    ],
)
def test_what_cannot_work_is_a_sentence_and_exit_2(tmp_path, capsys, make, said):
    make(tmp_path / "in")
    assert main([str(tmp_path / "in"), "--output", str(tmp_path / "out")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def _lone(folder):
    (folder / "x").mkdir(parents=True)
    Image.new("RGB", (64, 64)).save(folder / "x" / "30.png")


def _told(folder, text):
    _lone(folder)
    (folder / "sources.csv").write_text(text)


def test_folders_without_a_common_photograph_are_refused(tmp_path, crop, networks):
    first = write(tmp_path / "a", crop, people=1, targets=(30,))
    other = write(tmp_path / "b", crop, people=1, targets=(30,))
    (other / "p0").rename(other / "q0")
    (other / "sources.csv").write_text("id,file\nq0,source0.png\n")
    with pytest.raises(ConfigurationError, match="have no photograph in common"):
        evaluate([first, other], tmp_path / "out", networks=networks, aligned=True)


def test_a_folder_in_which_no_photograph_can_be_used_is_refused(tmp_path, crop, networks):
    folder = write(tmp_path / "a", crop, people=1, targets=(30,))
    (folder / "source0.png").unlink()
    with pytest.raises(ConfigurationError, match=r"no photograph of .* could be measured: the photograph"):
        evaluate([folder], tmp_path / "out", networks=networks, aligned=True)


def test_a_gallery_of_one_is_refused(tmp_path, crop, networks):
    folder = write(tmp_path / "a", crop, people=1, targets=(30,))
    one = write_gallery(tmp_path / "gallery", crop, people=1)
    with pytest.raises(ConfigurationError, match="photographs of 1 people"):
        evaluate([folder], tmp_path / "out", networks=networks, gallery=one)


def test_wrong_usage(tmp_path, capsys):
    out = ["--output", str(tmp_path / "out")]
    assert main(out) == 2
    assert "give a folder of aged pictures" in capsys.readouterr().err
    assert main(["a", "--calibrate", "b", *out]) == 2
    assert main(["a", "--processes", "0", *out]) == 2
    assert main(["a", "a", *out]) == 2
    assert "given twice" in capsys.readouterr().err
    assert main(["a", "--calibration", str(tmp_path / "none.json"), *out]) == 2
    assert main(["--help"]) == 0


def test_calibrate_writes_a_table_that_evaluate_takes(tmp_path, astronaut, capsys):
    """The shell's own way, with the package's readers."""
    rows = [("file", "age", "split")]
    (tmp_path / "real").mkdir()
    for k in range(24):
        Image.fromarray(resized(astronaut[20 + k : 193 + k, 139:312], 64)).save(
            tmp_path / "real" / f"{k}.png"
        )
        rows.append((f"{k}.png", 40 + k % 3, "train" if k < 22 else "val"))
    with (tmp_path / "real" / "labels.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows(rows)
    table = tmp_path / "table.json"
    arguments = ["--calibrate", str(tmp_path / "real"), "--output", str(table), "--split", "train"]
    assert main([*arguments, "--photos", "21"]) == 0
    readers = json.loads(table.read_text())["readers"]
    assert set(readers) == {"dlib-age-gender", "faceres"}
    assert [point["count"] for point in readers["faceres"]] == [21]
    assert main(["--calibrate", str(tmp_path / "real"), "--output", str(table), "--photos", "5"]) == 2
    assert "give more" in capsys.readouterr().err
    (tmp_path / "real" / "labels.csv").unlink()
    assert main(arguments) == 2
    assert "there are no labels in" in capsys.readouterr().err
