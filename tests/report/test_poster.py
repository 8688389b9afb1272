import json

import pytest
from PIL import Image

from case_records import make_result
from faceforward.commands.poster import main
from faceforward.errors import ConfigurationError
from faceforward.report.case import RESULT, write_case
from faceforward.report.poster import PosterFacts, write_poster

pdfium = pytest.importorskip("pypdfium2")


@pytest.fixture
def case(tmp_path):
    write_case(tmp_path, make_result("a", targets=(30, 60)), input_sha256="0" * 64)
    return tmp_path / "a"


def page_of(path):
    document = pdfium.PdfDocument(path)
    assert len(document) == 1
    return document, document[0]


def test_one_page_of_a4_with_both_pictures_and_embedded_letters(case, tmp_path):
    facts = PosterFacts(
        name="홍길순", missing_since="1991-05-07", taken="1991", year=2026, link="https://a.kr/1"
    )
    write_poster(tmp_path / "p.pdf", case, 30, facts, anyway=True)
    document, page = page_of(tmp_path / "p.pdf")
    assert [round(side) for side in page.get_size()] == [595, 842]
    words = page.get_textpage().get_text_range()
    for text in (
        "홍길순",
        "1991-05-07",
        "2026년 현재 추정 모습 (30세)",
        "ESTIMATE, NOT A PHOTOGRAPH",
        "112",
        "182",
    ):
        assert text in words
    kinds = [each.type for each in page.get_objects()]
    assert kinds.count(pdfium.raw.FPDF_PAGEOBJ_IMAGE) == 3  # two pictures, the code
    assert b"FontFile2" in (tmp_path / "p.pdf").read_bytes()
    assert "no evidence" in document.get_metadata_dict()["Subject"]


def test_nothing_known_leaves_lines_and_no_code(case, tmp_path):
    write_poster(tmp_path / "p.pdf", case, 60, PosterFacts(), anyway=True)
    _, page = page_of(tmp_path / "p.pdf")
    images = [each for each in page.get_objects() if each.type == pdfium.raw.FPDF_PAGEOBJ_IMAGE]
    assert len(images) == 2
    assert "60세 추정 모습" in page.get_textpage().get_text_range()


def test_long_words_stay_on_the_page(case, tmp_path):
    write_poster(tmp_path / "p.pdf", case, 30, PosterFacts(place="서울특별시 종로구 " * 20), anyway=True)
    _, page = page_of(tmp_path / "p.pdf")
    words = [each for each in page.get_objects() if each.type == pdfium.raw.FPDF_PAGEOBJ_TEXT]
    assert max(each.get_bounds()[2] for each in words) < 595 - 35


def test_what_is_not_to_be_used_is_not_printed(case, tmp_path, capsys):
    record = json.loads((case / RESULT).read_text())
    record["ages"]["30"]["identity_distance"] = 0.99
    record["settings"]["embedder"] = "dlib-recognition"
    (case / RESULT).write_text(json.dumps(record))
    arguments = [str(case), "--age", "30", "--output", str(tmp_path / "p.pdf")]
    assert main(arguments) == 2
    assert "--anyway" in capsys.readouterr().err
    assert not (tmp_path / "p.pdf").exists()
    assert main([*arguments, "--anyway"]) == 0
    assert (tmp_path / "p.pdf").exists()


def test_what_cannot_be_printed_is_said(case, tmp_path):
    with pytest.raises(ConfigurationError, match="has no estimate at age 31; it has 30, 60"):
        write_poster(tmp_path / "p.pdf", case, 31, PosterFacts())
    with pytest.raises(ConfigurationError, match="--name: the poster's font has no '洪'"):
        write_poster(tmp_path / "p.pdf", case, 30, PosterFacts(name="洪"), anyway=True)
    with pytest.raises(ConfigurationError, match="not a complete case"):
        write_poster(tmp_path / "p.pdf", tmp_path, 30, PosterFacts())
    Image.new("RGB", (8, 8)).save(case / "face.png")
    with pytest.raises(ConfigurationError, match="not a complete case"):
        write_poster(tmp_path / "p.pdf", case, 30, PosterFacts())
