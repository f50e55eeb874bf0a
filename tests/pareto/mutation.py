"""Mutated fronts: what damage, carelessness and malice make of a file, the same for the same seed."""

import importlib.resources
import json
import random

import jsonschema

from mpnas.errors import FrontFileError
from mpnas.pareto.objectives import wrong_names
from mpnas.pareto.schema import check_plain

ODD = [
    None, True, False, 0, -1, 7, 33, 10**15, 2**53, 2**63, 10**400, -0.0, 0.5, 1e30, 1e308, -1e30, 4.0,
    "", " ", "p000", "float", "search", "=1+1", "../x", "/etc/passwd", "C:\\x", "a\nb", "\t", "é\u202e",
    "[red]", "%s", "{0}", "x" * 2000, [], [[]], [[4, 10**15]], [1, "a"], {}, {"a": 1}, {"": {}}, {"bits": 8},
]
NUMBERS = [
    "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "1" * 400, "1" * 5000, "0.1e-400", "-0", "1e30",
]
UNICODE = [
    b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\x00", b"\x7f", b"\xe2\x80\xae", b"\\ud800",
    b"\\u0000",
]


def places(value, path=()):
    """The path of every value inside a document."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def _holder(front, path):
    for key in path[:-1]:
        front = front[key]
    return front


def flipped(data, draw):
    """A few bytes changed."""
    changed = bytearray(data)
    for _ in range(draw.randint(1, 4)):
        changed[draw.randrange(len(changed))] = draw.randrange(256)
    return bytes(changed)


def truncated(data, draw):
    """Cut short, or a piece cut out."""
    start, end = sorted(draw.sample(range(len(data)), 2))
    return draw.choice([data[:start], data[:start] + data[end:], data[start:]])


def swapped(data, draw):
    """One to three values replaced by odd ones."""
    front = json.loads(data)
    for _ in range(draw.randint(1, 3)):
        path = draw.choice(list(places(front))[1:])
        _holder(front, path)[path[-1]] = draw.choice(ODD)
    return json.dumps(front).encode()


def moved(data, draw):
    """A value put in the place of another one of the same type, so that much of it still fits."""
    front = json.loads(data)
    path = draw.choice(list(places(front))[1:])
    kind = type(_holder(front, path)[path[-1]])
    other = draw.choice([p for p in list(places(front))[1:] if type(_holder(front, p)[p[-1]]) is kind])
    _holder(front, path)[path[-1]] = json.loads(json.dumps(_holder(front, other)[other[-1]]))
    return json.dumps(front).encode()


def dropped(data, draw):
    """An entry left out, or one doubled in its list."""
    front = json.loads(data)
    path = draw.choice(list(places(front))[1:])
    holder = _holder(front, path)
    if isinstance(holder, list) and draw.random() < 0.5:
        holder.append(holder[path[-1]])
    else:
        del holder[path[-1]]
    return json.dumps(front).encode()


def huge(data, draw):
    """A number as JSON may write it and nobody can use it."""
    front = json.loads(data)
    of_number = [p for p in list(places(front))[1:] if type(_holder(front, p)[p[-1]]) in (int, float)]
    path = draw.choice(of_number)
    _holder(front, path)[path[-1]] = "HERE"
    return json.dumps(front).replace('"HERE"', draw.choice(NUMBERS)).encode()


def nested(data, draw):
    """Deep nesting in the place of a value."""
    front = json.loads(data)
    path = draw.choice(list(places(front))[1:])
    _holder(front, path)[path[-1]] = "HERE"
    depth = draw.choice([10, 30, 60, 900, 50_000])
    left, right = draw.choice([("[", "]"), ('{"a":', "}")])
    return json.dumps(front).replace('"HERE"', left * depth + "1" + right * depth, 1).encode()


def doubled(data, draw):
    """A key that comes twice."""
    keys = [key for key in (b'"seed":', b'"points":', b'"bits":', b'"schema":', b'"mean":') if key in data]
    key = draw.choice(keys)
    return data.replace(key, key + b" 1, " + key, 1)


def misspelt(data, draw):
    """Bytes that are no UTF-8, or text that is no clean text."""
    quote = draw.choice([i for i, byte in enumerate(data) if byte == ord('"')])
    return data[: quote + 1] + draw.choice(UNICODE) + data[quote + 1:]


KINDS = [
    flipped, truncated, swapped, swapped, swapped, moved, moved, dropped, huge, nested, doubled, misspelt,
]


def mutants(data, count, seed=0, kinds=KINDS):
    """`count` mutated copies of the bytes of a front, the kinds in turn."""
    draw = random.Random(seed)
    return [kinds[index % len(kinds)](data, draw) for index in range(count)]


TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", lambda _, value: type(value) is int)
STRICT = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=TYPES)
SCHEMA = json.loads(importlib.resources.files("mpnas.pareto").joinpath("schema.json").read_text("utf-8"))


def fits_slowly(document, schema=SCHEMA):
    """Whether a value is plain data and follows a schema, said by jsonschema."""
    try:
        check_plain(document, "it")
    except FrontFileError:
        return False
    return STRICT(schema).is_valid(document)


def let_in(data):
    """Whether bytes are a front, told without what `load` uses to be quick."""

    def once(pairs):
        if len(dict(pairs)) < len(pairs):
            raise ValueError("twins")
        return dict(pairs)

    try:
        document = json.loads(data.decode(), object_pairs_hook=once)
    except (ValueError, RecursionError):
        return False
    return fits_slowly(document) and not list(wrong_names(document))
