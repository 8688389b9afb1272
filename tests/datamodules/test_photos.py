import datetime
import unicodedata

import pytest
from lightning import LightningModule, Trainer
from PIL import Image

from faceforward.datamodules.listing import case_ids, list_photos
from faceforward.datamodules.photos import PhotoDataset, Photos, Reused
from faceforward.errors import ConfigurationError
from faceforward.records import Photo, Rejected


@pytest.fixture
def folder(tmp_path, astronaut):
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(astronaut).resize((64, 64)).save(folder / "a.jpg")
    return folder


def test_ids_are_safe_and_unique():
    ids = case_ids(
        ["a b.jpg", "A_b.png", "x.y.jpg", ".b.jpg", "한글.jpg", "a.jpg", "a.jpg", "/tmp/é/../q*.jpg", ""]
    )
    assert len({case.casefold() for case in ids}) == 9
    assert ids[2:5] == ["x.y", "_b", "한글"]
    assert ids[7:] == ["q_", "_"]
    for case, stem in zip((*ids[:2], *ids[5:7]), ("a_b", "A_b", "a", "a"), strict=True):
        assert case.startswith(f"{stem}-")
        assert len(case) == len(stem) + 7
    assert case_ids([unicodedata.normalize("NFD", "한글.jpg")]) == ["한글"]
    assert len(case_ids(["가" * 100 + ".jpg"])[0].encode()) <= 150


def test_ids_do_not_depend_on_the_order():
    assert case_ids(["a.jpg", "a.png"]) == case_ids(["a.png", "a.jpg"])[::-1]


def test_folder_lists_every_entry_that_is_not_hidden(folder):
    (folder / "sub").mkdir()
    (folder / "sub" / "deep.jpg").touch()
    (folder / ".hidden.jpg").touch()
    (folder / "notes.txt").write_text("x")
    (folder / "link.jpg").symlink_to(folder / "gone.jpg")
    entries = list_photos(folder)
    assert [entry.id for entry in entries] == ["a", "link", "sub"]
    records = list(map(PhotoDataset(entries).__getitem__, range(3)))
    assert "--recursive" in records[2].reason
    assert isinstance(records[0], Photo)
    assert {record.status for record in records[1:]} == {"skipped"}
    assert records[0].file == str(folder / "a.jpg")


def test_folder_with_csv(folder):
    name = unicodedata.normalize("NFD", "é.jpg")
    (folder / name).touch()
    lines = [
        "file,birth,taken,targets,face",
        "é.jpg,1985-03-01,1991,today,2",
        "gone.jpg,,,,",
        "b.jpg,x,,,",
        ",1985,,,",
    ]
    (folder / "photos.csv").write_text("\n".join(lines), "utf-8")
    entries = list_photos(folder, today=datetime.date(2025, 1, 1))
    assert [entry.id for entry in entries] == ["é", "gone", "b", "_", "a"]
    assert entries[0].path.name == name
    assert entries[0].facts.targets == (39,)
    assert entries[0].facts.age == 6
    records = list(map(PhotoDataset(entries).__getitem__, range(5)))
    reasons = [record.reason for record in records[:4]]
    assert "empty" in reasons[0]
    assert "No such file" in reasons[1]
    assert "birth 'x': write a date" in reasons[2]
    assert "names no file" in reasons[3]
    assert records[4].face is None


def test_a_photograph_is_listed_once_however_the_csv_spells_it(folder):
    (folder / "b.jpg").touch()
    (folder / "photos.csv").write_text(f"file,age\n{folder / 'a.jpg'},6\n../photos/b.jpg,7\n", "utf-8")
    assert [entry.id for entry in list_photos(folder)] == ["a", "b"]


def test_a_name_that_no_disk_can_hold_is_a_record(folder):
    (folder / "photos.csv").write_text("file,age\n" + "x" * 300 + ".jpg,6\n", "utf-8")
    long, other = list_photos(folder)
    assert "File name too long" in PhotoDataset([long])[0].reason
    assert other.id == "a"


def test_results_are_no_photographs(folder):
    (folder / "out").mkdir()
    assert [entry.id for entry in list_photos(folder, output=folder / "out")] == ["a"]
    with pytest.raises(ConfigurationError, match="is the folder of the photographs"):
        list_photos(folder, output=folder.parent / "photos" / ".." / "photos")


def test_csv_names_the_photographs_and_nothing_else(folder):
    (folder / "b.jpg").touch()
    (folder / "people.csv").write_text("file,age,gender,face\na.jpg,6,f,\na.jpg,6,m,2\n")
    entries = list_photos(folder / "people.csv")
    assert len({entry.id for entry in entries}) == 2
    first, second = (PhotoDataset(entries, face=1)[i] for i in range(2))
    assert (first.age, first.gender, first.face, first.file) == (6, "female", 1, "a.jpg")
    assert (second.gender, second.face) == ("male", 2)


def test_single_file(folder):
    (entry,) = list_photos(folder / "a.jpg")
    assert entry.id == "a"


def test_nothing_there(tmp_path):
    with pytest.raises(ConfigurationError, match="empty"):
        list_photos(tmp_path)
    (tmp_path / ".hidden").touch()
    with pytest.raises(ConfigurationError, match=r"no photograph in the folder.*--recursive"):
        list_photos(tmp_path)
    with pytest.raises(ConfigurationError, match="no such file"):
        list_photos(tmp_path / "x")


def test_fault_in_a_decoder_becomes_a_record(folder, monkeypatch):
    def crash(path, id):
        raise MemoryError("too large")

    monkeypatch.setattr("faceforward.datamodules.photos.read_photo", crash)
    record = PhotoDataset(list_photos(folder))[0]
    assert record == Rejected(
        "a", str(folder / "a.jpg"), "failed", "reading it failed: MemoryError: too large"
    )


def test_face_counts_from_one(folder):
    with pytest.raises(ConfigurationError, match="from 1"):
        Photos(str(folder), face=0)


class _Seen(LightningModule):
    def __init__(self):
        super().__init__()
        self.records = []

    def predict_step(self, batch, batch_idx):
        self.records.append(batch)
        return 0


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
@pytest.mark.parametrize("workers", [0, 1])
def test_trainer_gets_records(folder, workers):
    (folder / "b.jpg").touch()
    (folder / "c.jpg").touch()
    photos = Photos(str(folder), num_workers=workers)
    photos.leave_out({"c"})
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_checkpointing=False, accelerator="cpu")
    seen = _Seen()
    trainer.predict(seen, datamodule=photos, return_predictions=False)
    assert [type(record) for record in seen.records] == [Photo, Rejected, Reused]


@pytest.mark.filterwarnings("ignore:The 'predict_dataloader' does not have many workers")
def test_groups_follow_the_list_and_are_left_out_whole(folder):
    for name in "bcde":
        (folder / f"{name}.jpg").touch()
    photos = Photos(str(folder), group=2)
    names = [entry.id for entry in photos.entries]
    assert len(names) == 5
    # The second group lacks one result, which an earlier run could make; the first only what it skipped.
    assert photos.leave_out({names[1], names[2], names[4]}, unusable={names[0]}) == {names[1], names[4]}
    trainer = Trainer(logger=False, enable_progress_bar=False, enable_checkpointing=False, accelerator="cpu")
    seen = _Seen()
    trainer.predict(seen, datamodule=photos, return_predictions=False)
    assert [[record.id for record in group] for group in seen.records] == [names[:2], names[2:4], names[4:]]
    assert [type(record) for group in seen.records for record in group][1::3] == [Reused, Reused]


def test_groups_need_a_photograph(folder):
    with pytest.raises(ConfigurationError, match="group is 0"):
        Photos(str(folder), group=0)
    assert Photos(str(folder)).group_size == 1


def test_only_the_ages_that_are_not_there_are_made(tmp_path, astronaut):
    for name in "abcd":
        Image.fromarray(astronaut).resize((64, 64)).save(tmp_path / f"{name}.png")
    photos = Photos(str(tmp_path), group=2)
    added = {case: ((20, 50), (50,)) for case in "abc"} | {"d": ((20, 50), ())}
    photos.leave_out({"d"}, targets=added)
    targets = [sample.targets for group in photos.predict_dataloader() for sample in group]
    assert targets == [(50,), (50,), (50,), (50,)]  # d again, as the group was when it was cut off
    photos.leave_out({"a"}, targets={"a": ((20, 50), ())})
    assert [sample.targets for sample in next(iter(photos.predict_dataloader()))] == [(20, 50), None]


def test_other_programs_files_are_no_photographs(folder, caplog):
    for name in ("a.json", "a.AAE", "a.MP4", "Thumbs.db", "a.jpg.xmp", "desktop.ini"):
        (folder / name).touch()
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "a.jpg").touch()
    with caplog.at_level("INFO"):
        photos = Photos(str(folder), recursive=True)
    assert [entry.id for entry in photos.entries] == ["a"]
    (line,) = [record.getMessage() for record in caplog.records if "left out" in record.getMessage()]
    assert ".json (1)" in line
    assert "@eaDir (1)" in line
    (folder / "a.jpg").unlink()
    with pytest.raises(ConfigurationError, match="there is no photograph in the folder"):
        list_photos(folder)


def test_folders_inside_are_read_where_asked(folder, astronaut):
    for name in ("1991/a.jpg", "1991/x/b.jpg", "1992/c.jpg", "out/d.jpg", ".thumbs/e.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    (folder / "1992" / "back").symlink_to(folder, target_is_directory=True)
    (folder / "photos.csv").write_text("file,age\n1991\\x\\b.jpg,7\n")
    entries = list_photos(folder, output=folder / "out", recursive=True)
    assert [entry.path.relative_to(folder).as_posix() for entry in entries] == [
        "1991/x/b.jpg",
        "a.jpg",
        "1991/a.jpg",
        "1992/c.jpg",
    ]
    assert entries[0].facts.age == 7  # as Windows writes it
    assert [entry.id for entry in entries][::3] == ["b", "c"]
    assert {entry.id[:2] for entry in entries[1:3]} == {"a-"}


def test_what_is_known_of_a_single_photograph(folder):
    (entry,) = Photos(str(folder / "a.jpg"), age=7, gender="F").entries
    assert (entry.facts.age, entry.facts.gender) == (7, "female")
    (entry,) = Photos(str(folder), gender="남").entries
    assert (entry.facts.age, entry.facts.gender) == (None, "male")
    with pytest.raises(ConfigurationError, match="the command line says age 130"):
        Photos(str(folder / "a.jpg"), age=130)
    with pytest.raises(ConfigurationError, match="the command line says gender 'x'"):
        Photos(str(folder / "a.jpg"), gender="x")
    (folder / "b.jpg").touch()
    with pytest.raises(ConfigurationError, match=r"several write a photos\.csv"):
        Photos(str(folder), age=7)


def test_lists_and_what_is_taken_for_one(folder):
    (folder / "list.tsv").write_text("file\tage\na.jpg\t7\n")
    assert list_photos(folder / "list.tsv")[0].facts.age == 7
    (folder / "people.xlsx").write_bytes(b"PK\x03\x04")
    with pytest.raises(ConfigurationError, match="spreadsheet: save it as 'CSV UTF-8"):
        list_photos(folder / "people.xlsx")
