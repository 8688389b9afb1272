"""Configurations as other systems write them."""

import pytest

from faceforward import infer, train

TEXT = "# 한글 주석\ntrainer:\n  max_steps: 1\n"


@pytest.mark.parametrize("encoding", ["cp949", "utf-16"])
@pytest.mark.parametrize("form", ["-c {}", "--config={}", "--trainer {}"])
def test_what_is_not_utf_8_is_said(tmp_path, capsys, encoding, form):
    path = tmp_path / "k.yaml"
    path.write_bytes(TEXT.encode(encoding))
    given = form.format(path).split()
    assert train.main(["fit", *given]) == 2
    assert infer.main(["age", *given, "--photos", "x", "--output", "y", "--target_ages", "20"]) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("k.yaml is not UTF-8 (line 1)" in line for line in said)
