import io

import numpy as np
from PIL import Image

from faceforward.report.metadata import Mark, jpeg_bytes, write_png


def test_synthetic_png_says_so_and_holds_nothing_else(tmp_path):
    pixels = np.full((8, 8, 3), 7, np.uint8)
    write_png(tmp_path / "a.png", pixels, Mark("synthetic", 'At <40> & "more".', "모델"))
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert set(image.text) == {"Description", "Software", "Source", "Disclaimer", "XML:com.adobe.xmp"}
        assert "not a photograph" in image.text["Description"]
        xmp = image.text["XML:com.adobe.xmp"]
        assert (
            'DigitalSourceType="http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"'
            in xmp
        )
        assert "At &lt;40&gt; &amp;" in xmp
        assert "모델" in xmp
        assert not image.getexif()
        np.testing.assert_array_equal(np.asarray(image), pixels)


def test_composite_and_photograph_are_told_apart(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    write_png(tmp_path / "c.png", pixels, Mark("composite", ""))
    write_png(tmp_path / "p.png", pixels, Mark("photograph", ""))
    with Image.open(tmp_path / "c.png") as image:
        assert "compositeWithTrainedAlgorithmicMedia" in image.text["XML:com.adobe.xmp"]
    with Image.open(tmp_path / "p.png") as image:
        assert "DigitalSourceType" not in image.text["XML:com.adobe.xmp"]
        assert "not synthetic" in image.text["Description"]
        assert "Disclaimer" not in image.text


def test_jpeg_of_the_report_is_small_and_marked():
    pixels = np.zeros((600, 600, 3), np.uint8)
    data = jpeg_bytes(pixels, Mark("synthetic", "At 40."), side=200)
    assert b"trainedAlgorithmicMedia" in data
    with Image.open(io.BytesIO(data)) as image:
        assert image.size == (200, 200)
        assert b"not a photograph" in image.info["comment"]
