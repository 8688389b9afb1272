import threading

import pytest

from faceforward.callbacks.manifest import (
    OutputError,
    append_line,
    part_of,
    parts,
    read_lines,
    wait_for_ranks,
    write_lines,
)


def test_lines_are_appended_and_the_last_of_a_case_counts(tmp_path):
    path = tmp_path / "manifest.jsonl"
    write_lines(path, [{"id": "a", "status": "failed"}])
    append_line(path, {"id": "b", "status": "done"})
    append_line(path, {"id": "a", "status": "done"})
    assert {case: line["status"] for case, line in read_lines(path).items()} == {"a": "done", "b": "done"}


def test_what_a_killed_run_cut_off_does_not_count(tmp_path):
    path = tmp_path / "manifest.jsonl"
    path.write_text('{"id": "a"}\n[]\n{"status": 1}\n{"id": "b", "sta')
    assert list(read_lines(path)) == ["a"]
    with pytest.raises(FileNotFoundError):
        read_lines(tmp_path / "none")


def test_the_first_rank_waits_as_long_as_others_write(tmp_path):
    manifest = tmp_path / "manifest.jsonl"
    write_lines(part_of(manifest, 0, finished=True), [])
    growing = part_of(manifest, 1, finished=False)
    looks = []

    def sleep(seconds):
        looks.append(seconds)
        append_line(growing, {"id": str(len(looks))})
        if len(looks) == 3:
            growing.rename(part_of(manifest, 1, finished=True))

    finished = wait_for_ranks(manifest, 2, patience=5.0, sleep=sleep)
    assert [path.name for path in finished] == ["manifest.rank0.jsonl", "manifest.rank1.jsonl"]
    assert finished == parts(manifest)
    assert len(read_lines(finished[1])) == 3


def test_a_rank_that_is_silent_is_named(tmp_path):
    with pytest.raises(OutputError, match=r"manifest.rank0.jsonl is missing"):
        wait_for_ranks(tmp_path / "manifest.jsonl", 2, patience=-1.0, sleep=threading.Event().wait)
