"""Pickles that would do harm, and a process that sees it if one does.

`python hostile.py FOLDER` loads every file of FOLDER under an audit hook that stops what would leave a trace.
It prints as JSON what came of each: what was said and what the hook saw; for those that would run something
also what it sees when `pickle` loads the same.
"""

import builtins
import codecs
import functools
import importlib
import io
import json
import marshal
import operator
import os
import pickle
import struct
import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path

import torch

from eg3d.official_layout import their_modules
from faceforward.eg3d.checkpoint import load_generator

WATCHED = (
    "exec",
    "compile",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "subprocess.Popen",
    "os.remove",
)


@dataclass(frozen=True)
class Case:
    """A file, a part of the message that refuses it, and whether `pickle` would run something."""

    data: bytes
    refusal: str
    runs: bool = True
    suffix: str = ".pkl"


class Call:
    """Reduces to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def storage(count=4):
    """Bytes of a storage as pickles of modules hold it: a torch file of the old kind."""
    stream = io.BytesIO()
    torch.save(torch.arange(float(count))._typed_storage(), stream, _use_new_zipfile_serialization=False)
    return stream.getvalue()


def tensor(offset, size, stride):
    held = torch.arange(4.0)._typed_storage()
    return Call(torch._utils._rebuild_tensor_v2, held, offset, size, stride, False, OrderedDict())


def text(value):
    return pickle.BINUNICODE + struct.pack("<I", len(value)) + value.encode()


def named(module, name):
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def executing(canary):
    """What runs something, by functions that are called."""
    touch = f"touch {canary}"
    write = f"open({canary!r}, 'w')"
    functions = {
        "os_system": (os.system, touch),
        "exec": (exec, write),
        "eval": (eval, write),
        "open": (open, canary, "w"),
        "popen": (subprocess.Popen, ["touch", canary]),
        "check_output": (subprocess.check_output, ["touch", canary]),
        "remove": (os.remove, canary),
    }
    return {
        name: Case(pickle.dumps({"G_ema": Call(*call)}), f"{call[0].__module__}.{call[0].__name__}")
        for name, call in functions.items()
    }


def indirect(canary):
    """What runs something by a detour."""
    touch = f"touch {canary}"
    system = pickle.dumps(Call(os.system, touch))
    chain = (  # getattr(import_module("os"), "system")(touch)
        b"\x80\x02" + named("builtins", "getattr") + named("importlib", "import_module") + text("os")
        + b"\x85R" + text("system") + b"\x86R" + text(touch) + b"\x85R."
    )  # fmt: skip
    zipped = io.BytesIO()
    torch.save({"weight": Call(os.system, touch)}, zipped)
    return {
        "getattr_chain": Case(chain, "builtins.getattr"),
        "nested_reduce": Case(
            pickle.dumps(OrderedDict(G_ema=[Call(set, (Call(os.system, touch),))])), "posix.system"
        ),
        "instance": Case(b"(" + text(touch) + b"ios\nsystem\n.", "os.system"),
        "object": Case(b"(" + named("os", "system") + text(touch) + b"o.", "os.system"),
        "pickle_in_pickle": Case(pickle.dumps(Call(pickle.loads, system)), "_pickle.loads"),
        "escape_in_storage": Case(pickle.dumps(Call(torch.storage._load_from_bytes, system)), "posix.system"),
        "partial": Case(
            pickle.dumps(Call(functools.partial(eval, f"open({canary!r}, 'w')"))), "functools.partial"
        ),
        "new_object": Case(
            b"\x80\x02" + named("subprocess", "Popen") + text(touch) + b"\x85\x81.",
            "subprocess.Popen",
            runs=False,
        ),
        "dotted": Case(
            b"\x80\x04" + text("torch.storage") + text("sys.modules") + b"\x93.",
            "torch.storage.sys.modules",
            False,
        ),
        "state_dict": Case(zipped.getvalue(), "posix.system", runs=False, suffix=".pt"),
    }


def bending():
    """What runs nothing by itself and bends something for later."""
    encoded = pickle.dumps(Call(codecs.encode, "harm", "rot13"))
    state = b"}" + text("__code__") + b"Nsb."
    return {
        "codecs_encode": Case(encoded, "_codecs.encode", runs=False),
        "codecs_decode": Case(
            pickle.dumps(Call(codecs.decode, b"harm", "hex")), "_codecs.decode", runs=False
        ),
        "protocol_2_bytes": Case(pickle.dumps({"G_ema": b"\xff"}, 2), "_codecs.encode", runs=False),
        "copyreg": Case(
            b"\x80\x02" + named("copyreg", "add_extension") + b".", "copyreg.add_extension", False
        ),
        "extension": Case(b"\x80\x02\x82\x01.", "opcode", runs=False),
        "reconstructor": Case(pickle.dumps(Case(b"", ""), 0), "copy_reg._reconstructor", False),
        "import": Case(
            pickle.dumps(Call(importlib.import_module, "antigravity")), "importlib.import_module", False
        ),
        "attrgetter": Case(pickle.dumps(operator.attrgetter("system")), "operator.attrgetter", runs=False),
        "marshal": Case(pickle.dumps(Call(marshal.loads, b"N")), "marshal.loads", runs=False),
        "type": Case(pickle.dumps(builtins.type), "builtins.type", runs=False),
        "persistent_id": Case(b"\x80\x04" + text("a") + b"Q.", "persistent id", runs=False),
        "function_state": Case(
            b"\x80\x02" + named("torch._utils", "_rebuild_parameter") + state,
            "a state for torch._utils",
            False,
        ),
        "dictionary_state": Case(b"\x80\x02}" + state, "a state for a dict", runs=False),
        "tensor_state": Case(
            pickle.dumps({"G_ema": tensor(0, (4,), (1,))})[:-3] + state, "a state for a Tensor", runs=False
        ),
        "called_value": Case(b"\x80\x02})R.", "a dict as a function", runs=False),
        "called_class": Case(
            b"\x80\x02" + named("dnnlib.util", "EasyDict") + b")R.", "EasyDict as a function", runs=False
        ),
    }


def oversized(good):
    """What claims more than there is.

    Args:
        good: A file in the official layout.
    """
    held = storage()
    claims = held[:-24] + struct.pack("<q", 2**40) + held[-16:]
    load = functools.partial(Call, torch.storage._load_from_bytes)
    nested = b"\x80\x02" + b")" + b"\x85" * 50_000
    cases = {
        "offset": (pickle.dumps(tensor(2, (3,), (1,))), "reaches outside its storage of 4 numbers"),
        "stride": (pickle.dumps(tensor(0, (2,), (2**40,))), "reaches outside"),
        "negative": (pickle.dumps(tensor(-1, (2,), (1,))), "a shape in it is none"),
        "shape": (pickle.dumps(tensor(0, (2**20, 2**20), (0, 0))), "reaches outside"),
        "rank": (pickle.dumps(tensor(0, (1,) * 100, (0,) * 100)), "a shape in it is none"),
        "storage_claim": (pickle.dumps(load(claims)), "lies in 16 bytes"),
        "storage_cut": (pickle.dumps(load(held[:-1])), "lies in 15 bytes"),
        "storage_tail": (pickle.dumps(load(held + b"\0")), "lies in 17 bytes"),
        "storage_name": (
            pickle.dumps(load(held.replace(b"FloatStorage", b"FloatTensors"))),
            "torch.FloatTensors",
        ),
        "storage_nothing": (pickle.dumps(load(b"")), "cut off"),
        "bytes": (b"\x80\x04\x8e" + struct.pack("<Q", 2**60), "cut off"),
        "string": (b"\x80\x04X" + struct.pack("<I", 2**32 - 1) + b"a", "cut off"),
        "name": (b"\x80\x02c" + b"a" * 10_000, "too long"),
        "memo": (b"\x80\x04}r\xff\xff\xff\xff.", "no G_ema"),
        "memo_missing": (b"\x80\x04j\xff\xff\xff\xff.", "damaged"),
        "stack": (b"\x80\x04R.", "damaged"),
        "tuple": (b"\x80\x04N\x87.", "damaged"),
        "mark": (b"\x80\x04t.", "damaged"),
        "deep_key": (nested.join([b"\x80\x04}", b"Ns."]).replace(b"\x80\x02", b""), "is no key"),
        "list_in_set": (b"\x80\x04\x8f(]\x90.", "is no key"),
        "items_of_nothing": (b"\x80\x04N]a.", "damaged"),
        "odd_items": (b"\x80\x04}(Nu.", "damaged"),
        "protocol": (b"\x80\x09}.", "protocol is 9"),
        "objects": (
            b"\x80\x04" + named("numpy", "dtype") + text("O") + b"\x85R.",
            "something else than numbers",
        ),
        "empty_file": (b"", "cut off"),
        "no_end": (good[:-1], "cut off"),
        **{f"cut_{part}": (good[: len(good) * part // 7], "cut off") for part in range(1, 7)},
    }
    return {name: Case(data, refusal, runs=False) for name, (data, refusal) in cases.items()}


def mistaken():
    """What calls the right functions with values of wrong kinds."""
    doubled = b")" + b"".join(b"q" + bytes([count]) + b"h" + bytes([count]) + b"\x86" for count in range(60))
    module = named("torch_utils.persistence", "_reconstruct_persistent_obj")
    empty = named("numpy.core.multiarray", "_reconstruct") + b")R" + b"(K\x01K\x01\x85K\x05\x89C\x01bt"
    cases = {
        "endless_name": (module + b"}" + text("class_name") + doubled + b"s\x85R.", "has no name"),
        "number_of_no_type": (
            named("numpy.core.multiarray", "scalar") + b"K\x05C\x01a\x86R.",
            "have no type",
        ),
        "array_of_no_type": (empty.replace(b")R", b"K\x00K\x00K\x00\x87R") + b"b.", "have no type"),
        "bytes_of_no_type": (
            named("numpy.core.numeric", "_frombuffer") + b"(C\x01aK\x00K\x01\x85" + text("C") + b"tR.",
            "have no type",
        ),
        "module_of_nothing": (module + b"N\x85R.", "damaged"),
    }
    return {
        name: Case(b"\x80\x04" + data if data[:1] != b"\x80" else data, refusal, runs=False)
        for name, (data, refusal) in cases.items()
    }


def corpus(canary, good=b"\x80\x04" * 50):
    """Every case by its name.

    Args:
        canary: File that would be written.
        good: A file in the official layout, to be cut off.
    """
    return {**executing(canary), **indirect(canary), **bending(), **oversized(good), **mistaken()}


class Stopped(BaseException):
    """Something was about to leave a trace."""


def watch(seen):
    """Note and stop writing, running and removing, and note every class or function that pickle looks up."""

    def hook(event, arguments):
        writes = event == "open" and any(sign in str(arguments[1] or "") for sign in "wax+")
        writes = writes or (
            event == "open" and arguments[1] is None and arguments[2] & (os.O_WRONLY | os.O_RDWR)
        )
        if event == "pickle.find_class":
            seen.append(f"names {arguments[1]}")
        if event in WATCHED or writes:
            seen.append(event)
            raise Stopped(event)

    sys.addaudithook(hook)


def outcome(load, path, seen):
    """What loading said and what was seen meanwhile."""
    seen.clear()
    try:
        load(path)
        said = "loaded"
    except BaseException as error:
        said = f"{type(error).__name__}: {error}"
    return {"said": said, "seen": list(seen)}


def by_pickle(path):
    """As everybody would load it."""
    with their_modules():
        return pickle.loads(path.read_bytes())


def main(folder):
    """See above."""
    seen, files = [], sorted(folder.iterdir())
    for path in files:  # what is imported on the way is imported before the hook is there
        outcome(load_generator, path, seen)
    watch(seen)
    found = {path.stem: outcome(load_generator, path, seen) for path in files}
    for name, case in corpus("").items():  # only those: some of the others end the process or take all memory
        if case.runs:
            found[name]["pickle"] = outcome(by_pickle, folder / f"{name}{case.suffix}", seen)["seen"]
    found["official"]["pickle"] = outcome(by_pickle, folder / "official.pkl", seen)["seen"]
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
