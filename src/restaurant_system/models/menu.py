"""The menu: sections of items, each with a name and a price."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, field_validator

from restaurant_system.models.order import ItemName, Price, StrictModel


class MenuItem(StrictModel):
    """An item on the menu; one that is not available is shown, but cannot be ordered."""

    name: ItemName
    price: Price
    available: bool = True


class MenuSection(StrictModel):
    """A named group of menu items."""

    name: ItemName
    items: Annotated[tuple[MenuItem, ...], Field(min_length=1, strict=False)]


class Menu(StrictModel):
    """The whole menu; the names of sections are unique, and so are the names of items."""

    sections: Annotated[tuple[MenuSection, ...], Field(strict=False)]

    @field_validator("sections")
    @classmethod
    def _names_are_unique(cls, sections: tuple[MenuSection, ...]) -> tuple[MenuSection, ...]:
        _refuse_duplicates("section", (section.name for section in sections))
        _refuse_duplicates("item", (item.name for section in sections for item in section.items))
        return sections


def _refuse_duplicates(kind: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"must not have two {kind}s of the name {name!r}")


NO_MENU = Menu(sections=())
