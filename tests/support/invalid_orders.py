"""List invalid bodies of `POST /orders`, each with the field that the response must name.

The bodies are text, because no JSON library would write many of them.
"""

from collections.abc import Iterator
from typing import NamedTuple


class InvalidOrder(NamedTuple):
    """A body, its error, and the field that the response must name."""

    name: str
    body: bytes
    field: str


def item(**texts: str) -> str:
    """Serialize an order item; the arguments replace the text of fields."""
    return _object({"name": '"Soup"', "quantity": "1", "price": "9.50"} | texts)


def order(**texts: str) -> bytes:
    """Serialize an order; the arguments replace the text of fields."""
    sound = {"customer_name": '"Ada"', "order_type": '"takeout"', "items": f"[{item()}]"}
    return _object(sound | texts).encode()


def _object(fields: dict[str, str]) -> str:
    return "{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}"


def _string(length: int) -> str:
    return f'"{"a" * length}"'


NO_STRINGS = ["5", "1.5", "true", "[]", '["a"]', "{}"]
CHARGE = '{"name": "Fee", "amount": 1}'
MODIFIER = '{"name": "a"}'
DEEP_MODIFIERS = '[{"name": "a", "modifiers": ' * 5 + "[]" + "}]" * 5
CONTROLS = [r'"a\u0000b"', r'"a\u001bb"', r'"a\u007fb"', r'"a\u0085b"']

# Invalid texts of each field, in an order that is otherwise valid.
OF_AN_ORDER = {
    "customer_name": [
        *NO_STRINGS,
        *CONTROLS,
        "null",
        '""',
        '"   "',
        _string(101),
        '"Ada!"',
        '"Ada_Lovelace"',
        '"<script>"',
        r'"a\nb"',
        r'"a\tb"',
        r'"a\u200bb"',  # zero width space
        r'"a\u202eb"',  # right-to-left override
        r'"a\ufeffb"',  # zero width no-break space
        '"a😀b"',
    ],
    "order_type": [*NO_STRINGS, "null", '""', '"drive_in"', '"TAKEOUT"', '" takeout"', "0"],
    "items": ["null", "5", "true", '"pizza"', "{}", "[]", f"[{', '.join([item()] * 101)}]"],
    "items.0": ["[null]", "[5]", "[true]", '["pizza"]', "[[]]"],
    "table_number": ["5", "0", "true", '"5"', "5.0", "[]"],
    "delivery_address": ['"1 Main Street, Springfield"', "5", "[]"],
    "notes": [*NO_STRINGS, *CONTROLS, _string(501)],
    "handoff": [*NO_STRINGS, '"window"'],
    "table": [*NO_STRINGS, '"A12"'],
    "allergy_note": [*NO_STRINGS, *CONTROLS, _string(201)],
    "reference": [*NO_STRINGS, *CONTROLS, _string(65)],
    "external_id": [*NO_STRINGS],
    "phone": [*NO_STRINGS, *CONTROLS, _string(41)],
    "ready_at": [
        *NO_STRINGS,
        '"soon"',
        '"2024-12-16"',
        '"2024-12-16T12:00:00"',
        '"2999-01-01T00:00:00Z"',
    ],
    "charges": ["5", '"none"', "{}", f"[{', '.join([CHARGE] * 21)}]"],
    "charges.0.amount": ['[{"name": "Fee", "amount": 0.001}]', '[{"name": "Fee", "amount": "1"}]'],
    "amount_due": [*NO_STRINGS[2:], "-0.01", "0.001", '"5"'],
    "tip": ["5", "null"],
    "Customer_Name": ['"Ada"'],
    "__proto__": ["{}"],
}
OF_AN_ITEM = {
    "name": [*NO_STRINGS, *CONTROLS, "null", '""', '"  "', _string(121), r'"a\nb"', r'"a\tb"'],
    "quantity": [
        *("0", "-1", "-0", "1000", "1.0", "1.5", "1e0", "1E400", "9" * 30, "9" * 4000),
        *("null", "true", "false", '"1"', '""', "[1]", "{}"),
    ],
    "price": [
        *("-0.01", "-1", "1000000", "1000000.00", "1e6", "999999.991", "999999.995"),
        *("0.001", "0.009", "9.999", "1.005", "0.010000000000000000001", "1e-5", "1e-999999"),
        *("999.99000000000000000000000000000001", "1e400", "1e999999", "9" * 30, "9" * 4000),
        *("1" * 4000 + ".5", "-1e999999"),
        *("null", "true", "false", '"9.50"', '"NaN"', '""', "[9.50]", "{}"),
    ],
    "notes": [*NO_STRINGS, *CONTROLS, _string(501)],
    "modifiers": ["5", '"none"', "{}", f"[{', '.join([MODIFIER] * 51)}]"],
    f"modifiers{'.0.modifiers' * 4}": [DEEP_MODIFIERS],
    "modifiers.0.price": ['[{"name": "a", "price": 0.001}]', '[{"name": "a", "price": "1"}]'],
    "modifiers.0.quantity": ['[{"name": "a", "quantity": 100}]'],
    "modifiers.0.kind": ['[{"name": "a", "kind": "bake"}]'],
    "guest": [*NO_STRINGS, *CONTROLS, _string(51)],
    "course": ["0", "10", "1.0", '"1"', "true"],
    "sku": [*NO_STRINGS, *CONTROLS, _string(65)],
    "qty": ["1"],
}
OF_DINE_IN = ["null", "0", "-1", "10000", "1.0", "true", '"5"', "[5]", "9" * 30]
OF_DELIVERY = [
    "null",
    '""',
    _string(4),
    _string(301),
    '"   1 St   "',
    "5",
    r'"a street\u0000here"',
]

# Bodies that are not JSON, or not a JSON object.
NO_JSON = {
    "nothing": b"",
    "blanks": b" \n ",
    "no JSON": b"one pizza, please",
    "a form": b"customer_name=Ada&order_type=takeout",
    "cut off": order()[:-1],
    "an opening brace": b"{",
    "trailing garbage": order() + b"x",
    "two orders": order() + order(),
    "a trailing comma": order()[:-1] + b",}",
    "single quotes": order().replace(b'"', b"'"),
    "a comment": b"/* hungry */" + order(),
    "bare names": b"{customer_name: 5}",
    "a byte order mark": b"\xef\xbb\xbf" + order(),
    "UTF-16": order().decode().encode("utf-16"),
    "invalid UTF-8": order(customer_name='"Ad?"').replace(b"?", b"\xff"),
    "overlong UTF-8": order(customer_name='"Ad?"').replace(b"?", b"\xc0\xaf"),
    "a surrogate in UTF-8": order(customer_name='"Ad?"').replace(b"?", b"\xed\xa0\x80"),
    "a lone high surrogate": order(customer_name=r'"\ud800"'),
    "a lone low surrogate": order(notes=r'"\udc00 a"'),
    "half a pair": order(notes=r'"\ud83d and more"'),
    "a bad escape": order(notes=r'"\x41"'),
    "a raw line break": order(notes='"a\nb"'),
    "a raw NUL": order(notes='"a\0b"'),
    "NaN": order(items=f"[{item(price='NaN')}]"),
    "Infinity": order(items=f"[{item(price='Infinity')}]"),
    "-Infinity": order(items=f"[{item(price='-Infinity')}]"),
    "Python": order(items=f"[{item(price='None')}]"),
    "a leading zero": order(items=f"[{item(price='09.50')}]"),
    "a leading plus": order(items=f"[{item(price='+9.50')}]"),
    "a leading point": order(items=f"[{item(price='.50')}]"),
    "a trailing point": order(items=f"[{item(price='9.')}]"),
    "an empty exponent": order(items=f"[{item(price='9e')}]"),
    "hexadecimal": order(items=f"[{item(quantity='0x1')}]"),
    "5000 digits": order(items=f"[{item(quantity='9' * 5000)}]"),
    "60000 digits": order(table_number="9" * 60_000),
    "an exponent beyond all": order(items=f"[{item(price='1e99999999999999999999')}]"),
    "a negative exponent beyond all": order(items=f"[{item(price='1e-99999999999999999999')}]"),
    "deep lists": b"[" * 60_000,
    "deep objects": b'{"a":' * 12_000,
    "deep lists in a field": order(notes="[" * 20_000 + "]" * 20_000),
    "null": b"null",
    "a number": b"5",
    "true": b"true",
    "a string": b'"pizza"',
    "a list": b"[]",
    "an order in a list": b"[" + order() + b"]",
}


def _wrong_texts() -> Iterator[InvalidOrder]:
    for path, texts in OF_AN_ORDER.items():
        for text in texts:
            yield InvalidOrder(f"{path}: {text:.40}", order(**{path.split(".")[0]: text}), path)
    for name, texts in OF_AN_ITEM.items():
        for text in texts:
            body = order(items=f"[{item()}, {item(**{name.split('.')[0]: text})}]")
            yield InvalidOrder(f"items.1.{name}: {text:.40}", body, f"items.1.{name}")
    for text in OF_DINE_IN:
        body = order(order_type='"dine_in"', table_number=text)
        yield InvalidOrder(f"dine_in at {text:.40}", body, "table_number")
    for text in OF_DELIVERY:
        body = order(order_type='"delivery"', delivery_address=text)
        yield InvalidOrder(f"delivery to {text:.40}", body, "delivery_address")


def _missing() -> Iterator[InvalidOrder]:
    yield InvalidOrder("nothing in it", b"{}", "customer_name")
    yield InvalidOrder("no name", b'{"order_type": "takeout", "items": []}', "customer_name")
    yield InvalidOrder("no type", b'{"customer_name": "Ada", "items": []}', "order_type")
    yield InvalidOrder("no items", b'{"customer_name": "Ada", "order_type": "takeout"}', "items")
    yield InvalidOrder("an empty item", order(items="[{}]"), "items.0.price")
    yield InvalidOrder("dine_in nowhere", order(order_type='"dine_in"'), "table_number")
    yield InvalidOrder("delivery nowhere", order(order_type='"delivery"'), "delivery_address")


def _twice() -> Iterator[InvalidOrder]:
    for name, text in (("customer_name", '"Eve"'), ("order_type", '"takeout"'), ("items", "[]")):
        body = order()[:-1] + f', "{name}": {text}}}'.encode()
        yield InvalidOrder(f"{name} twice", body, name)
    twice = item()[:-1] + ', "price": 0.01}'
    yield InvalidOrder("a price twice", order(items=f"[{twice}]"), "price")


INVALID_ORDERS = [
    *_wrong_texts(),
    *_missing(),
    *_twice(),
    *(InvalidOrder(name, body, "body") for name, body in NO_JSON.items()),
]

# Bodies that may be accepted or refused, but must not cause an internal error.
UNUSUAL_ORDERS = [
    order(items=f"[{item(price='1.' + '0' * 50)}]"),
    order(items=f"[{item(price='1.' + '0' * 20_000)}]"),
    order(items=f"[{item(price='1.' + '0' * 60_000)}]"),
    order(items=f"[{item(price='0.01e' + '0' * 5000)}]"),
    order(items=f"[{item(price='99999e-2')}]"),
    order(items=f"[{item(price='1E+2')}]"),
    order(items=f"[{item(name=chr(34) + chr(0xFFFE) + chr(34))}]"),
    order(items=f"[{item(name=chr(34) + chr(0x202E) + 'Soup' + chr(34))}]"),
    order(notes='"' + "\N{COMBINING ACUTE ACCENT}" * 200 + '"'),
    order(notes='"' + "👨‍👩‍👧‍👦" * 20 + '"'),
    order(**{"": "5"}),
    order(**{r"\u0000": "5"}),
    order(**{r"a\nb": "5"}),
]
