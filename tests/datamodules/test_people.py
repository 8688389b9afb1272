import datetime

import pytest

from faceforward.datamodules.people import Facts, check_ages, read_date, read_facts, read_people
from faceforward.errors import ConfigurationError, UnusablePhotoError

TODAY = datetime.date(2025, 6, 1)


def _facts(**row):
    return read_facts(row, today=TODAY)


def test_check_ages_sorts_and_drops_duplicates():
    assert check_ages([60, 20, 60, 0, 100]) == (0, 20, 60, 100)


@pytest.mark.parametrize(("ages", "words"), [([], "no target age"), ([-1], "0 to 100"), ([20, 101], "101")])
def test_check_ages_refuses(ages, words):
    with pytest.raises(ConfigurationError, match=words):
        check_ages(ages)


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("1991-05-07", (1991, 5, 7)),
        ("1991.5.7.", (1991, 5, 7)),
        ("1991/05", (1991, 5, 15)),
        (" 1991 ", (1991, 7, 1)),
    ],
)
def test_dates_as_people_write_them(text, date):
    assert read_date(text) == datetime.date(*date)


@pytest.mark.parametrize("text", ["07.05.1991", "91", "1991-13-01", "yesterday"])
def test_other_dates_are_refused(text):
    with pytest.raises(ValueError, match=r"date|month"):
        read_date(text)


def test_age_from_birth_and_taken():
    assert _facts(birth="1985-06-02", taken="1991-06-01").age == 5
    assert _facts(birth="1985-06-01", taken="1991-06-01").age == 6
    assert _facts(age="5.5", birth="1985-06-02", taken="1991").age == 5.5


def test_today_is_the_age_now():
    assert _facts(birth="1985-06-02", targets="today").targets == (39,)
    assert _facts(age="6", taken="1991-06-01", targets="20;Today; 20").targets == (20, 40)


def test_everything_may_be_unknown():
    assert _facts() == Facts()
    assert _facts(age="", gender="", targets="", face="") == Facts()
    assert _facts(gender="여", face="2", targets="20 40") == Facts(None, "female", (20, 40), 2)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"age": "12세"}, "age '12세': write years in digits"),
        ({"face": "1.0"}, "face '1.0': write a whole number"),
        ({"age": "nan"}, "age nan"),
        ({"age": "130"}, "from 0 to 100"),
        ({"birth": "soon"}, "birth 'soon': write a date"),
        ({"birth": "1991", "taken": "1985"}, "before the birth"),
        ({"age": "20", "birth": "1985", "taken": "1991"}, "make it 6"),
        ({"gender": "x"}, "gender"),
        ({"face": "0"}, "counted from 1"),
        ({"targets": "20;x"}, "'x'"),
        ({"targets": "20;400"}, "400"),
        ({"targets": "today"}, "needs birth"),
        ({"birth": "1910", "targets": "today"}, "114"),
        ({"(too many)": "40"}, "more cells"),
    ],
)
def test_bad_lines_are_said(row, words):
    with pytest.raises(UnusablePhotoError, match=words):
        _facts(**row)


@pytest.mark.parametrize(
    ("raw", "gender"),
    [
        (b"File , Gender\na.jpg, female \n\n", "female"),
        ("\ufefffile;gender\na.jpg;female\n".encode(), "female"),
        ("file\tgender\na.jpg\tfemale\n".encode("utf-16"), "female"),
        ("file,gender\r\na.jpg,여자\r\n".encode("cp949"), "여자"),
    ],
)
def test_csv_as_spreadsheets_write_it(tmp_path, raw, gender):
    (tmp_path / "p.csv").write_bytes(raw)
    assert read_people(tmp_path / "p.csv") == [{"file": "a.jpg", "gender": gender}]


def test_short_and_long_lines(tmp_path):
    (tmp_path / "p.csv").write_text("file,age,targets\na.jpg\nb.jpg,3,20,40\n")
    short, long = read_people(tmp_path / "p.csv")
    assert short == {"file": "a.jpg", "age": "", "targets": ""}
    with pytest.raises(UnusablePhotoError, match="more cells"):
        read_facts(long, today=TODAY)


def test_unknown_columns_are_said(tmp_path, caplog):
    (tmp_path / "p.csv").write_text("file,note\na.jpg,from grandmother\n")
    read_people(tmp_path / "p.csv")
    assert "note" in caplog.text


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("file,agee,sex", r"'agee' \(do you mean 'age'\?\), 'sex' \(do you mean 'gender'\?\)"),
        ("file,나이,성별", r"'나이' \(do you mean 'age'\?\), '성별' \(do you mean 'gender'\?\)"),
        ("file,brith", "do you mean 'birth'"),
        ("filename,age", "do you mean 'file'"),
    ],
)
def test_what_a_column_says_is_not_lost_because_of_its_name(tmp_path, header, words):
    (tmp_path / "p.csv").write_text(f"{header}\na.jpg,7,f\n", "utf-8")
    with pytest.raises(ConfigurationError, match=words):
        read_people(tmp_path / "p.csv")


def test_a_column_beside_the_one_it_resembles_is_left_out(tmp_path):
    (tmp_path / "p.csv").write_text("file,age,ages,sex,gender\na.jpg,7,x,x,f\n")
    with pytest.raises(ConfigurationError, match=r"columns 'ages' \(do you mean 'targets'\?\)\."):
        read_people(tmp_path / "p.csv")


@pytest.mark.parametrize("start", [b"PK\x03\x04", b"\xd0\xcf\x11\xe0"])
def test_a_workbook_under_the_name_of_a_csv(tmp_path, start):
    (tmp_path / "p.csv").write_bytes(start + bytes(range(256)))
    with pytest.raises(ConfigurationError, match=r"workbook of Excel.*CSV UTF-8"):
        read_people(tmp_path / "p.csv")


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        (b"", "no column 'file'"),
        (b"child,age\na,3\n", "no column 'file'"),
        (b"file,age\n", "names no photograph"),
        (b'file\n"a', "not a CSV"),
        (b"file\n\xff\xff\x81", "neither UTF-8"),
    ],
)
def test_no_csv(tmp_path, raw, words):
    (tmp_path / "p.csv").write_bytes(raw)
    with pytest.raises(ConfigurationError, match=words):
        read_people(tmp_path / "p.csv")


def test_csv_that_cannot_be_opened(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_people(tmp_path)
