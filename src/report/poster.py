"""A poster, A4, Korean and English: the photograph then, the estimate now, and whom to call."""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import segno
from PIL import Image
from reportlab.lib.colors import Color, HexColor
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from faceforward.atomic import atomic_file
from faceforward.errors import ConfigurationError
from faceforward.report.case import RESULT, aged_kind
from faceforward.report.kept import intact
from faceforward.report.metadata import LABELS, Mark, jpeg_bytes
from faceforward.report.verdict import faults_of_record
from faceforward.version import __version__

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

FONT = "FaceforwardSansKR"
MARGIN = 36.0  # points
INK, FAINT, RED, ORANGE = HexColor("#16191d"), HexColor("#5b6570"), HexColor("#b21818"), HexColor("#b0520e")
PICTURE = 900  # longest side of a picture in the file, pixels: 250 dpi at its size on paper

#: Whom to call in Korea: the police, and the centre for missing children and persons.
CONTACT = "경찰 112  ·  실종아동찾기센터 182"
#: Rows of the table: attribute of `PosterFacts`, Korean, English.
ROWS = (
    ("name", "이름", "Name"),
    ("born", "생년월일", "Born"),
    ("missing_since", "실종일", "Missing since"),
    ("place", "실종 장소", "Last seen"),
    ("features", "특징", "Features"),
)
NOTICE = (
    "오른쪽 사진은 인공지능이 만든 추정이며 실제 사진이 아닙니다. 신원의 증거가 될 수 없습니다.",
    "The right picture is an estimate made with a model, not a photograph, and no evidence of identity. The "
    "person may look different.",
)


@dataclass(frozen=True)
class PosterFacts:
    """What the poster says in words; what is not known is a line to write on.

    Attributes:
        name: Of the person.
        born: Date or year of birth.
        missing_since: Date.
        place: Where the person was last seen.
        features: What to know the person by.
        taken: Year or date of the photograph.
        year: Year that the estimate is for.
        contact: Whom to call.
        link: Address that the QR code leads to; empty for none.
    """

    name: str = ""
    born: str = ""
    missing_since: str = ""
    place: str = ""
    features: str = ""
    taken: str = ""
    year: int | None = None
    contact: str = field(default=CONTACT)
    link: str = ""


def write_poster(path: Path, case: Path, age: int, facts: PosterFacts, *, anyway: bool = False) -> None:
    """Write a poster of one estimate.

    Args:
        path: The PDF.
        case: Folder of a case, as `infer age` writes it.
        age: Which of its ages.
        facts: What is said in words.
        anyway: Also where the estimate is marked "do not use".

    Raises:
        ConfigurationError: The case is not complete, has no such age, the estimate is not to be used, or a
            word has letters that the font lacks.
        OSError: The file cannot be written.
    """
    record = intact(case, RESULT)
    if record is None or record["damaged"]:
        raise ConfigurationError(f"{case} is not a complete case: give a folder cases/NAME of `infer age`")
    edit = record["ages"].get(str(age))
    if edit is None:
        there = ", ".join(record["ages"])
        raise ConfigurationError(f"{case} has no estimate at age {age}; it has {there}")
    faults = faults_of_record(record)[age]
    if faults and not anyway:
        raise ConfigurationError(
            f"the estimate at age {age} is marked not to be used: {'; '.join(f.text for f in faults)}. "
            "Choose another age or photograph; --anyway prints it nevertheless"
        )
    _require_letters(facts)
    model = record["settings"]["model"]
    pictures = (
        _jpeg(case / "face.png", Mark("photograph", "")),
        _jpeg(
            case / edit["file"], Mark(aged_kind(record["settings"]), f"Estimate at age {age}.", model["name"])
        ),
    )
    with atomic_file(path) as partial:
        canvas = Canvas(str(partial), pagesize=A4, pageCompression=1)
        canvas.setTitle("사람을 찾습니다 / Missing person")
        canvas.setSubject(LABELS["composite"])
        canvas.setCreator(f"faceforward {__version__}")
        canvas.setAuthor("")
        canvas.setKeywords("compositeWithTrainedAlgorithmicMedia")
        _Page(canvas).draw(pictures, record, age, facts)
        canvas.save()


class _Page:
    """Draws from the top of the page down."""

    def __init__(self, canvas: Canvas) -> None:
        _register()
        self.canvas = canvas
        self.width, self.height = A4

    def draw(
        self, pictures: tuple[ImageReader, ImageReader], record: dict[str, Any], age: int, facts: PosterFacts
    ) -> None:
        """Everything on the page."""
        y = self._head()
        y = self._pictures(pictures, record, age, facts, y)
        y = self._table(facts, y)
        self._foot(record, facts, y)

    def text(
        self, x: float, y: float, words: str, size: float, colour: Color = INK, *, room: float = 0
    ) -> None:
        """One line, made smaller where it has no room."""
        width = pdfmetrics.stringWidth(words, FONT, size)
        if room and width > room:
            size *= room / width
        self.canvas.setFillColor(colour)
        self.canvas.setFont(FONT, size)
        self.canvas.drawString(x, y, words)

    def centred(self, x: float, y: float, words: str, size: float, colour: Color, room: float) -> None:
        """One line about a middle."""
        size *= min(1.0, room / max(pdfmetrics.stringWidth(words, FONT, size), 1e-6))
        self.text(x - pdfmetrics.stringWidth(words, FONT, size) / 2, y, words, size, colour)

    def _head(self) -> float:
        band = 84.0
        self.canvas.setFillColor(RED)
        self.canvas.rect(0, self.height - band, self.width, band, stroke=0, fill=1)
        white = HexColor("#ffffff")
        self.centred(self.width / 2, self.height - 48, "사람을 찾습니다", 36, white, self.width - 2 * MARGIN)
        self.centred(self.width / 2, self.height - 73, "MISSING PERSON", 16, white, self.width - 2 * MARGIN)
        return self.height - band - 18

    def _pictures(
        self,
        pictures: tuple[ImageReader, ImageReader],
        record: dict[str, Any],
        age: int,
        facts: PosterFacts,
        top: float,
    ) -> float:
        gap = 18.0
        side = (self.width - 2 * MARGIN - gap) / 2
        source = record["source"]
        then = f"{source['age']:.0f}"
        about = "약 " if source["age_origin"] == "estimated" else ""
        taken, year = (f"{facts.taken} " if facts.taken else ""), facts.year
        words = (
            (
                "사진  PHOTOGRAPH",
                f"{taken}사진 ({about}{then}세)",
                f"Photograph {taken}(age {then}{', estimated' * bool(about)})",
            ),
            (
                "추정 · 사진 아님  ESTIMATE, NOT A PHOTOGRAPH",
                f"{year}년 현재 추정 모습 ({age}세)" if year else f"{age}세 추정 모습",
                f"Estimated appearance in {year} (age {age})"
                if year
                else f"Estimated appearance at age {age}",
            ),
        )
        for place, (picture, (label, korean, english)) in enumerate(zip(pictures, words, strict=True)):
            x, colour = MARGIN + place * (side + gap), (INK, ORANGE)[place]
            self.canvas.drawImage(picture, x, top - side, side, side)
            self.canvas.setFillColor(colour)
            self.canvas.rect(x, top - side - 18, side, 18, stroke=0, fill=1)
            self.centred(x + side / 2, top - side - 13, label, 10, HexColor("#ffffff"), side - 8)
            self.canvas.setStrokeColor(colour)
            self.canvas.setLineWidth(2)
            self.canvas.rect(x, top - side - 18, side, side + 18, stroke=1, fill=0)
            self.text(x, top - side - 40, korean, 15, colour, room=side)
            self.text(x, top - side - 55, english, 10, FAINT, room=side)
        return top - side - 76

    def _table(self, facts: PosterFacts, top: float) -> float:
        column, room = 112.0, self.width - 2 * MARGIN - 112
        for name, korean, english in ROWS:
            self.text(MARGIN, top - 14, korean, 13)
            self.text(MARGIN, top - 26, english, 8, FAINT)
            lines = _wrapped(getattr(facts, name), 15, room)
            for number, line in enumerate(lines):  # more than one share the row
                size = 15 / max(1, 0.7 * len(lines))
                self.text(
                    MARGIN + column, top - 22 + 24 * (1 - (number + 0.8) / len(lines)), line, size, room=room
                )
            self.canvas.setStrokeColor(FAINT)
            self.canvas.setLineWidth(0.5)
            self.canvas.line(MARGIN + column, top - 26, self.width - MARGIN, top - 26)
            top -= 36
        return top - 6

    def _foot(self, record: dict[str, Any], facts: PosterFacts, top: float) -> None:
        code = 84.0 if facts.link else 0.0
        room = self.width - 2 * MARGIN - (code + 14 if code else 0)
        self.text(MARGIN, top - 24, facts.contact, 26, RED, room=room)
        self.text(
            MARGIN,
            top - 40,
            "보신 분은 연락해 주십시오.  If you have seen this person, please call.",
            10,
            room=room,
        )
        y = top - 62
        for words in NOTICE:
            for line in _wrapped(words, 8.5, room):
                self.text(MARGIN, y, line, 8.5)
                y -= 12
        settings, model = record["settings"], record["settings"]["model"]
        how = f"{record['made'][:10]}  faceforward {record['versions']['faceforward']}, {model['name']}"
        how += f", {settings.get('finisher', '')}; photograph {record['input_sha256'][:12]}"
        self.text(MARGIN, y - 2, how, 7, FAINT, room=room)
        if code:
            self.canvas.drawImage(_qr(facts.link), self.width - MARGIN - code, top - code - 4, code, code)


def _qr(link: str) -> ImageReader:
    stream = io.BytesIO()
    segno.make(link, error="m").save(stream, kind="png", scale=8, border=2)
    stream.seek(0)
    return ImageReader(stream)


def _jpeg(path: Path, mark: Mark) -> ImageReader:
    with Image.open(path) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    return ImageReader(io.BytesIO(jpeg_bytes(pixels, mark, side=PICTURE, quality=92)))


def _wrapped(words: str, size: float, room: float) -> list[str]:
    """The words in lines that have room."""
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pdfmetrics.stringWidth(longer, FONT, size) > room:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _register() -> None:
    if FONT not in pdfmetrics.getRegisteredFontNames():
        file = resources.files("faceforward") / "report" / "fonts" / f"{FONT}.ttf"
        pdfmetrics.registerFont(TTFont(FONT, io.BytesIO(file.read_bytes())))


def _require_letters(facts: PosterFacts) -> None:
    """Refuse what would be printed as empty boxes.

    Raises:
        ConfigurationError: A letter is not in the font.
    """
    _register()
    known = pdfmetrics.getFont(FONT).face.charToGlyph
    for name, value in vars(facts).items():
        lacking = sorted({letter for letter in str(value) if ord(letter) not in known})
        if lacking and name != "link":
            raise ConfigurationError(
                f"--{name}: the poster's font has no {' '.join(map(repr, lacking))}: write it in Hangul or "
                "Latin letters"
            )
