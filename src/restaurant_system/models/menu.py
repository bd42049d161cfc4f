"""What the counter offers: sections of items, each with a name and a price."""

from collections import Counter
from collections.abc import Iterable
from typing import Annotated

from pydantic import Field, field_validator

from restaurant_system.models.order import ItemName, Price, StrictModel


class MenuItem(StrictModel):
    """What a guest may order; one that is not available is shown, and cannot be ordered."""

    name: ItemName
    price: Price
    available: bool = True


class MenuSection(StrictModel):
    """Items that belong together."""

    name: ItemName
    items: Annotated[tuple[MenuItem, ...], Field(min_length=1, strict=False)]


class Menu(StrictModel):
    """All that is offered; no two sections, and no two items, have the same name."""

    sections: Annotated[tuple[MenuSection, ...], Field(strict=False)]

    @field_validator("sections")
    @classmethod
    def _names_are_there_once(cls, sections: tuple[MenuSection, ...]) -> tuple[MenuSection, ...]:
        _refuse_twins("section", (section.name for section in sections))
        _refuse_twins("item", (item.name for section in sections for item in section.items))
        return sections


def _refuse_twins(kind: str, names: Iterable[str]) -> None:
    for name, count in Counter(names).items():
        if count > 1:
            raise ValueError(f"must not have two {kind}s of the name {name!r}")


NO_MENU = Menu(sections=())
