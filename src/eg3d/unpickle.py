"""A machine for pickles that makes plain values: nothing is imported or run because a pickle says so."""

from __future__ import annotations

import pickle
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO

STEPS = 2_000_000  # opcodes of one pickle, each of which may cost memory; an official file has 60,000
LONGEST_NAME = 300
SCALARS = (
    str,
    bytes,
    int,
    float,
    bool,
    type(None),
)  # what may be a key: hashing a deep tuple overflows C's stack
FAULTS = (  # what a value of a wrong kind leads to in an action
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
)


@dataclass(frozen=True)
class Name:
    """What stands for a class or function that a pickle mentions; it is never looked up."""

    name: str


@dataclass(frozen=True)
class Grammar:
    """What a pickle may say.

    Attributes:
        functions: What is done where it calls a name: a function of ours, given its arguments.
        classes: What is made where it makes an instance without arguments.
        names: Other names that it may mention.
        builders: Per exact type, what gives an instance its state.
        persistent: What is done with a persistent id.
    """

    functions: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    classes: Mapping[str, Callable[[], Any]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    builders: Mapping[type, Callable[[Any, Any], None]] = field(default_factory=dict)
    persistent: Callable[[Any], Any] | None = None


def refused(what: str) -> pickle.UnpicklingError:
    """The error for what no file of weights needs; `what` comes from the file and is made printable."""
    printable = what[:LONGEST_NAME].encode("unicode_escape").decode()
    return pickle.UnpicklingError(f"it names {printable}, which no generator needs")


def said(value: Any) -> str:
    """A name as it is, another value by its type."""
    return value.name if isinstance(value, Name) else f"a {type(value).__name__}"


class Machine:
    """Reads one pickle (protocols 2 to 5), from where the stream is to its end mark and not a byte further.

    Args:
        stream: Binary, in memory or a file.
        size: Bytes of the stream in all; nothing is read that claims to be longer.
        grammar: What is understood. Everything else is refused, by its name.
    """

    def __init__(self, stream: BinaryIO, size: int, grammar: Grammar) -> None:
        self.stream, self.size, self.grammar = stream, size, grammar
        self.stack: list[Any] = []
        self.below: list[list[Any]] = []  # the stacks under each open mark
        self.memo: dict[int, Any] = {}

    def load(self) -> Any:
        """The value.

        Raises:
            pickle.UnpicklingError: It says something that the grammar does not know, or is damaged.
        """
        try:
            for _ in range(STEPS):
                code = self.read(1)
                if code == pickle.STOP:
                    return self.stack.pop()
                if code not in ACTIONS:
                    raise pickle.UnpicklingError(f"opcode {code!r} has no place in a file of weights")
                ACTIONS[code](self)
        except FAULTS as error:
            raise pickle.UnpicklingError(f"it is damaged near byte {self.stream.tell()}: {error}") from error
        raise pickle.UnpicklingError(f"it has more than {STEPS} steps, which no file of weights needs")

    def read(self, count: int) -> bytes:
        """So many bytes; an error where there are fewer, before memory is taken for them."""
        left = self.size - self.stream.tell()
        if count > left:
            raise pickle.UnpicklingError(
                f"it is cut off: {count} more bytes are announced and {left} are left"
            )
        return self.stream.read(count)

    def number(self, form: str) -> Any:
        """One number in the form of `struct`."""
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def line(self) -> str:
        """Text to the end of the line."""
        text = self.stream.readline(LONGEST_NAME)
        if not text.endswith(b"\n"):
            raise pickle.UnpicklingError("it is cut off, or a name in it is too long")
        return text[:-1].decode()

    def close(self) -> list[Any]:
        """What was put down since the last mark."""
        items, self.stack = self.stack, self.below.pop()
        return items

    def open(self) -> None:
        """Begin a mark: what comes now is kept apart until `close`."""
        self.below.append(self.stack)
        self.stack = []

    def tuple_of(self, count: int) -> None:
        """The last values as one tuple."""
        if count > len(self.stack):
            raise IndexError("the stack is empty")
        first = len(self.stack) - count
        self.stack[first:] = [tuple(self.stack[first:])]

    def mention(self, module: Any, name: Any) -> None:
        """A class or function by name, known or refused at once, called or not."""
        whole = (
            f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "a value as a name"
        )
        grammar = self.grammar
        if whole not in grammar.functions and whole not in grammar.classes and whole not in grammar.names:
            raise refused(whole)
        self.stack.append(Name(whole))

    def instantiate(self) -> None:
        """Refuse the instance of a class in protocol 0, which no file of weights is in."""
        raise refused(f"{self.line()}.{self.line()}")

    def mention_from_stack(self) -> None:
        """The same, where module and name are values."""
        name, module = self.stack.pop(), self.stack.pop()
        self.mention(module, name)

    def call(self) -> None:
        """What the grammar does for the name of a function."""
        arguments, function = self.stack.pop(), self.stack.pop()
        known = self.grammar.functions.get(function.name) if isinstance(function, Name) else None
        if known is None or not isinstance(arguments, tuple):
            raise refused(f"{said(function)} as a function")
        self.stack.append(known(*arguments))

    def new(self) -> None:
        """What the grammar makes for the name of a class."""
        arguments, kind = self.stack.pop(), self.stack.pop()
        known = self.grammar.classes.get(kind.name) if isinstance(kind, Name) else None
        if known is None or arguments != ():
            raise refused(f"{said(kind)} as a class")
        self.stack.append(known())

    def build(self) -> None:
        """Give an instance its state, if the grammar knows its type."""
        state, target = self.stack.pop(), self.stack[-1]
        known = self.grammar.builders.get(type(target))
        if known is None:
            raise refused(f"a state for {said(target)}")
        known(target, state)

    def extend(self, items: list[Any]) -> None:
        """Add to a list or set."""
        target = self.stack[-1]
        if type(target) is set:
            target.update(map(scalar, items))
        elif type(target) is list:
            target.extend(items)
        else:
            raise TypeError("items are added to something else than a list or set")

    def store(self, items: list[Any]) -> None:
        """Set keys and values, in turns, in a dictionary."""
        target = self.stack[-1]
        if type(target) is not dict or len(items) % 2:
            raise TypeError("keys are set in something else than a dictionary")
        target.update(zip(map(scalar, items[::2]), items[1::2], strict=True))

    def persistent(self) -> None:
        """What the grammar makes of a persistent id."""
        if self.grammar.persistent is None:
            raise refused("a persistent id")
        self.stack.append(self.grammar.persistent(self.stack.pop()))

    def protocol(self) -> None:
        """Check the version."""
        version = self.number("<B")
        if not 2 <= version <= 5:
            raise pickle.UnpicklingError(f"its protocol is {version}: 2 to 5 can be read")


def scalar(value: Any) -> Any:
    """The value, if it may be a key.

    Raises:
        TypeError: It may not.
    """
    if type(value) not in SCALARS:
        raise TypeError(f"{type(value).__name__} is no key")
    return value


def _push(read: Callable[[Machine], Any]) -> Callable[[Machine], None]:
    def action(machine: Machine) -> None:
        value = read(machine)  # first: it may open or close a stack
        machine.stack.append(value)

    return action


def _text(form: str) -> Callable[[Machine], None]:
    return _push(lambda machine: machine.read(machine.number(form)).decode("utf-8", "surrogatepass"))


def _bytes(form: str) -> Callable[[Machine], None]:
    return _push(lambda machine: machine.read(machine.number(form)))


def _keep(index: Callable[[Machine], int]) -> Callable[[Machine], None]:
    return lambda machine: machine.memo.update({index(machine): machine.stack[-1]})


def _recall(form: str) -> Callable[[Machine], None]:
    return _push(lambda machine: machine.memo[machine.number(form)])


ACTIONS: dict[bytes, Callable[[Machine], None]] = {
    pickle.PROTO: Machine.protocol,
    pickle.FRAME: lambda machine: machine.number("<Q"),
    pickle.MARK: Machine.open,
    pickle.NONE: _push(lambda machine: None),
    pickle.NEWTRUE: _push(lambda machine: True),
    pickle.NEWFALSE: _push(lambda machine: False),
    pickle.BININT: _push(lambda machine: machine.number("<i")),
    pickle.BININT1: _push(lambda machine: machine.number("<B")),
    pickle.BININT2: _push(lambda machine: machine.number("<H")),
    pickle.LONG1: _push(
        lambda machine: int.from_bytes(machine.read(machine.number("<B")), "little", signed=True)
    ),
    pickle.BINFLOAT: _push(lambda machine: machine.number(">d")),
    pickle.SHORT_BINUNICODE: _text("<B"),
    pickle.BINUNICODE: _text("<I"),
    pickle.SHORT_BINBYTES: _bytes("<B"),
    pickle.BINBYTES: _bytes("<I"),
    pickle.BINBYTES8: _bytes("<Q"),
    pickle.BYTEARRAY8: _bytes("<Q"),
    pickle.EMPTY_TUPLE: _push(lambda machine: ()),
    pickle.EMPTY_LIST: _push(lambda machine: []),
    pickle.EMPTY_DICT: _push(lambda machine: {}),
    pickle.EMPTY_SET: _push(lambda machine: set()),
    pickle.TUPLE1: lambda machine: machine.tuple_of(1),
    pickle.TUPLE2: lambda machine: machine.tuple_of(2),
    pickle.TUPLE3: lambda machine: machine.tuple_of(3),
    pickle.TUPLE: _push(lambda machine: tuple(machine.close())),
    pickle.APPEND: lambda machine: machine.extend([machine.stack.pop()]),
    pickle.APPENDS: lambda machine: machine.extend(machine.close()),
    pickle.ADDITEMS: lambda machine: machine.extend(machine.close()),
    pickle.SETITEM: lambda machine: machine.store([machine.stack.pop(), machine.stack.pop()][::-1]),
    pickle.SETITEMS: lambda machine: machine.store(machine.close()),
    pickle.MEMOIZE: _keep(lambda machine: len(machine.memo)),
    pickle.BINPUT: _keep(lambda machine: machine.number("<B")),
    pickle.LONG_BINPUT: _keep(lambda machine: machine.number("<I")),
    pickle.BINGET: _recall("<B"),
    pickle.LONG_BINGET: _recall("<I"),
    pickle.GLOBAL: lambda machine: machine.mention(machine.line(), machine.line()),
    pickle.INST: Machine.instantiate,
    pickle.STACK_GLOBAL: Machine.mention_from_stack,
    pickle.REDUCE: Machine.call,
    pickle.NEWOBJ: Machine.new,
    pickle.BUILD: Machine.build,
    pickle.BINPERSID: Machine.persistent,
}
