"""Reads what W&B keeps of a run here: `run-*.wandb`, protobuf records in LevelDB's log format."""

import json
from collections.abc import Iterator
from pathlib import Path

from wandb.proto.wandb_internal_pb2 import Record

BLOCK = 32768
HEADER = 7  # of the file and of each part: checksum 4, length 2, kind 1
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def read_records(path: Path) -> Iterator[Record]:
    """Every record of a run, in order."""
    data, place, parts = path.read_bytes(), HEADER, b""
    assert data[:4] == b":W&B"
    while place + HEADER <= len(data):
        left = BLOCK - place % BLOCK
        if left < HEADER:  # the rest of a block is too short for a part
            place += left
            continue
        length = int.from_bytes(data[place + 4 : place + 6], "little")
        kind = data[place + 6]
        parts += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (FULL, LAST):
            record = Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def read_run(path: Path) -> dict:
    """Config, history (a dict for each step), tags, project and the files that would be sent."""
    run = {"config": {}, "history": [], "files": [], "tags": [], "project": None, "output": 0, "metadata": ""}
    for record in read_records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            run["project"], run["tags"] = record.run.project, list(record.run.tags)
            run["metadata"] += f"{record.run.host} {record.run.git} "
            updates = record.run.config.update
        elif kind == "config":
            updates = record.config.update
        else:
            updates = ()
        for item in updates:
            run["config"]["/".join(item.nested_key) or item.key] = json.loads(item.value_json)
        if kind == "history":
            run["history"].append(
                {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            )
        elif kind == "files":
            run["files"] += [file.path for file in record.files.files]
        elif kind in ("output", "output_raw"):
            run["output"] += 1
        elif kind == "environment":
            run["metadata"] += str(record.environment)
    return run
