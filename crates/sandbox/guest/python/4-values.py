# --- What JSON can hold ---

SMALLEST_INT, LARGEST_INT = -(1 << 63), (1 << 64) - 1
HINTS = {
    bytes: 'use base64.b64encode(...).decode()', bytearray: 'use base64.b64encode(...).decode()',
    memoryview: 'use base64.b64encode(...).decode()', set: 'use sorted(...) or list(...)',
    frozenset: 'use sorted(...) or list(...)', complex: 'use its real and imag',
    types.GeneratorType: 'use list(...)', range: 'use list(...)', map: 'use list(...)',
    filter: 'use list(...)', zip: 'use list(...)', type({}.keys()): 'use list(...)',
    type({}.values()): 'use list(...)', type({}.items()): 'use list(...)',
    types.CoroutineType: 'await it', asyncio.Task: 'await it', asyncio.Future: 'await it',
}
ISO = (datetime.datetime, datetime.date, datetime.time)
iso_of = {kind: kind.isoformat for kind in ISO}
Enum, UUID = enum.Enum, uuid.UUID
uuid_text = UUID.__str__
fields_of = dataclasses.fields
join = ''.join


class NotJson(ValueError):
    """A value that JSON cannot hold: where it is, and what it is."""

    def __init__(self, why):
        self.why, self.path = why, []

    def __str__(self):
        return f'{join(reversed(self.path))} {self.why}'.lstrip()


def encode(value):
    """The value as JSON."""
    parts = []
    try:
        encode_into(value, parts.append, set())
    except RecursionError:
        raise NotJson('is nested too deeply') from None
    return bytes_of(join(parts))


def encode_into(value, add, inside):
    kind = type(value)
    if kind is str:
        add(escaped(value))
    elif value is None:
        add('null')
    elif value is True:
        add('true')
    elif value is False:
        add('false')
    elif kind is int:
        if not SMALLEST_INT <= value <= LARGEST_INT:
            raise NotJson('is an int of more than 64 bits; use str(...)')
        add(int.__repr__(value))
    elif kind is float:
        # Not a number and the infinities are null, as in JavaScript.
        add(float.__repr__(value) if value - value == 0 else 'null')
    elif kind is dict:
        encode_members(value.items(), value, add, inside)
    elif kind is list or kind is tuple:
        encode_items(value, value, add, inside)
    else:
        encode_other(value, kind, add, inside)


def enter(value, inside):
    if id(value) in inside:
        raise NotJson('contains itself')
    inside.add(id(value))


def encode_items(items, value, add, inside):
    enter(value, inside)
    before, at = '[', 0
    for item in items:
        add(before)
        before = ','
        try:
            encode_into(item, add, inside)
        except NotJson as error:
            error.path.append(f'[{at}]')
            raise
        at += 1
    add(']' if at else '[]')
    inside.discard(id(value))


def encode_members(members, value, add, inside):
    enter(value, inside)
    before, names = '{', None
    for key, item in members:
        name = key
        if type(key) is not str:
            name = name_of(key)
            if names is None:
                names = {it for it in value if type(it) is str}
            if name in names:
                raise NotJson(f'has the key {name!r} twice: as text and as {type(key).__name__}')
            names.add(name)
        add(before)
        add(escaped(name))
        add(':')
        before = ','
        try:
            encode_into(item, add, inside)
        except NotJson as error:
            error.path.append(f'[{name!r}]')
            raise
    add('}' if before == ',' else '{}')
    inside.discard(id(value))


def name_of(key):
    """A key of an object, as json.dumps writes it."""
    if isinstance(key, Enum):
        key = key.value
    if isinstance(key, str):
        return str.__add__('', key)
    if key is None:
        return 'null'
    if isinstance(key, bool):
        return 'true' if key else 'false'
    if isinstance(key, int):
        return int.__repr__(key)
    if isinstance(key, float):
        return float.__repr__(key)
    for iso in ISO:
        if isinstance(key, iso):
            return iso_of[iso](key)
    if isinstance(key, UUID):
        return uuid_text(key)
    raise NotJson(f'has a key of type {type(key).__name__}; keys are text')


def encode_other(value, kind, add, inside):
    if isinstance(value, Enum):
        return encode_into(value.value, add, inside)
    if isinstance(value, str):
        return add(escaped(str.__add__('', value)))
    if isinstance(value, int):
        return encode_into(int.__add__(value, 0), add, inside)
    if isinstance(value, float):
        return encode_into(float.__mul__(value, 1.0), add, inside)
    if isinstance(value, dict):
        return encode_members(value.items(), value, add, inside)
    if isinstance(value, (list, tuple)):
        return encode_items(value, value, add, inside)
    for iso in ISO:
        if isinstance(value, iso):
            return add(escaped(iso_of[iso](value)))
    if isinstance(value, UUID):
        return add(escaped(uuid_text(value)))
    if hasattr(kind, '__dataclass_fields__'):
        named = {field.name: getattr(value, field.name) for field in fields_of(value)}
        return encode_members(named.items(), value, add, inside) if named else add('{}')
    # Numbers and arrays of numpy, without importing it.
    if kind.__module__ == 'numpy' and callable(getattr(value, 'tolist', None)):
        plain = value.tolist()
        if type(plain) is not kind:
            return encode_into(plain, add, inside)
    hint = HINTS.get(kind)
    if hint is None:
        hint = 'call it' if callable(value) else 'return a dict, list, str, number, bool or None made of it'
    raise NotJson(f'is of type {kind.__name__}; {hint}')


