"""What counts as personal data of a customer, what replaces it, and which names are the same.

A customer's name, phone, address and notes are erased, and so are allergy notes, the names of
those whose dish it is (`guest`), instructions among the modifiers, and the reference, in which a
platform or a till may have put a name. The name, the address and instructions become placeholders,
because an order needs them; all others become empty. The placeholders are valid values of an order,
so that constraints, messages and screens need no exceptions. The column `erased_at` says which
orders are erased.

The id of the order at its channel stays: it is taken for ever, so that a late repetition of the
order is not cooked, and says nothing about the customer to anyone but the channel. So do labels of
tables, charges, and the ids of requests.
"""

import unicodedata
from datetime import timedelta

ERASED_NAME = "erased"
ERASED_ADDRESS = "address erased"
# No SHA-256 is all zeros. The hash of an order identifies its customer to anyone who can guess the
# rest of the order.
ERASED_FINGERPRINT = bytes(32)

# Restaurants that do not complete orders leave them `ready`; after this time they are handed over.
READY_ENDS_AFTER = timedelta(days=1)

# Characters that are typed for the same apostrophe.
APOSTROPHES = str.maketrans(dict.fromkeys("\u2019\u2018\u02bc\u05f3`\u00b4", "'"))


def normalized_name(name: str) -> str:
    """Return a key that is equal for names that differ only in how they are typed.

    Equal are letters of either case, composed and decomposed characters, runs of spaces, and the
    various hyphens and apostrophes. Accents count: they tell names apart.
    """
    text = unicodedata.normalize("NFKC", name.translate(APOSTROPHES)).casefold()
    text = "".join("-" if unicodedata.category(char) == "Pd" else char for char in text)
    return " ".join(unicodedata.normalize("NFC", text).split())


def normalized_phone(phone: str) -> str:
    """Return a key that is equal for phone numbers that differ only in how they are typed.

    These are the digits, without the "+" or "00" before an international number. Empty without a
    digit.
    """
    digits = "".join(str(unicodedata.decimal(char)) for char in phone if char.isdecimal())
    return digits.removeprefix("00")
