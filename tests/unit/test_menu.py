"""A menu is read exactly, refused with its file and place, and kept while its file is faulty."""

import asyncio
import os
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from restaurant_system.config import load
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.menu import Menu
from restaurant_system.services.order.menu_file import MenuFile, read_menu, sample_menu

GOOD = "sections: [{name: Pizza, items: [{name: Margherita, price: 9.50}]}]"
SECTION = "sections: [{name: A, items: [{name: X, price: 1}]}"

# What is wrong with a menu, and what the sentence says of it.
BAD: dict[str, tuple[str | bytes, str]] = {
    "nothing": ("", "must be an object"),
    "a list": ("- Pizza", "must be an object"),
    "no sections": ("{}", "sections is required"),
    "sections without a list": ("sections:", "sections must be a list"),
    "an empty section": ("sections: [{name: A, items: []}]", "sections.0.items must have at least"),
    "an unknown key": (f"{GOOD}\ntitle: Ours", "title is not a field"),
    "an unknown key of an item": (
        "sections: [{name: A, items: [{name: B, price: 1, cost: 2}]}]",
        "sections.0.items.0.cost is not a field",
    ),
    "a number for a key": (f"{GOOD}\n1: 2", "1 is not a field"),
    "a key twice": (f"{GOOD}\n{GOOD}", "'sections' is stated twice"),
    "an item twice": (
        f"{SECTION}, {{name: B, items: [{{name: ' X', price: 2}}]}}]",
        "sections must not have two items of the name 'X'",
    ),
    "a section twice": (
        f"{SECTION}, {{name: A, items: [{{name: Y, price: 2}}]}}]",
        "sections must not have two sections of the name 'A'",
    ),
    "no YAML": ("sections: [", "is not valid YAML"),
    "no UTF-8": (b"\xff\xfe", "is not valid YAML"),
    "no character": ('"\\UFFFFFFFF"', "is not valid YAML"),
    "too deep": ("[" * 5000, "is not valid YAML"),
    "itself within": ("&a [*a]", "anchors and aliases (& and *) are not allowed"),
    "an anchor": (GOOD.replace("Pizza", "&p Pizza"), "anchors and aliases (& and *)"),
    "an alias of nothing": (GOOD.replace("Pizza", "*p"), "anchors and aliases (& and *)"),
    "a list for a key": (f"{GOOD}\n? [a, b]\n: c", "line 2, column 3: a key must be a name."),
    "too much": (f"{GOOD}\n#{' ' * 256 * 1024}", "is larger than 256 KiB"),
}
BAD_PRICES = [
    "0",
    "1000",
    "1.234",
    "'9.50'",
    "12:30",
    "1e2",
    ".nan",
    ".inf",
    "true",
    "",
    "[]",
]


def written(folder: Path, content: str | bytes) -> Path:
    """Write a menu, as an editor does: a new file in the place of the old one."""
    path, draft = folder / "menu.yaml", folder / "draft.yaml"
    draft.write_bytes(content if isinstance(content, bytes) else content.encode())
    return draft.replace(path)


def rewritten(path: Path, content: str) -> None:
    """Write a menu in its place, until the clock of the file system has seen that."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_text(content)


def read_price(stated: str) -> str:
    """Write a menu of one item."""
    return f"sections: [{{name: Pizza, items: [{{name: Margherita, price: {stated}}}]}}]"


def test_reading(tmp_path: Path) -> None:
    """A menu has sections of items, each available unless it says otherwise."""
    path = written(
        tmp_path,
        """
        sections:
          - name: Pizza
            items:
              - {name: Margherita, price: 9.5}
              - {name: No, price: 010, available: false}
        """,
    )

    (section,) = read_menu(path).sections

    assert section.name == "Pizza"
    assert [(item.name, item.price, item.available) for item in section.items] == [
        ("Margherita", Decimal("9.50"), True),
        ("No", Decimal("10.00"), False),
    ]


@pytest.mark.parametrize("case", BAD)
def test_a_faulty_menu(tmp_path: Path, case: str) -> None:
    """Whatever is wrong, the sentence names the file and the place."""
    content, complaint = BAD[case]
    path = written(tmp_path, content)

    with pytest.raises(ConfigurationError) as error:
        read_menu(path)

    assert str(path) in str(error.value)
    assert complaint in str(error.value)
    assert "\n" not in str(error.value)
    assert "Node(" not in str(error.value)


@pytest.mark.parametrize("price", BAD_PRICES)
def test_a_faulty_price(tmp_path: Path, price: str) -> None:
    """A price is what an order's price may be, written as a plain number."""
    path = written(tmp_path, read_price(price))

    with pytest.raises(ConfigurationError, match=r"sections\.0\.items\.0\.price must"):
        read_menu(path)


def price_of(menu: Menu) -> Decimal:
    """Return the price of the only item."""
    return menu.sections[0].items[0].price


def test_no_file(tmp_path: Path) -> None:
    """A menu that is not there is refused by its name."""
    with pytest.raises(ConfigurationError, match=r"Cannot read the menu .*menu\.yaml"):
        MenuFile(tmp_path / "menu.yaml")


def test_what_is_no_file(tmp_path: Path) -> None:
    """A pipe, which would never end, and a folder are refused by their names."""
    pipe = tmp_path / "menu.yaml"
    os.mkfifo(pipe)

    for path in (pipe, tmp_path):
        with pytest.raises(ConfigurationError, match=rf"The menu {path} is not a regular file"):
            MenuFile(path)


async def test_a_change(tmp_path: Path) -> None:
    """A menu is read again once its file has changed, and only then."""
    menu = MenuFile(written(tmp_path, read_price("9.50")))
    first = await menu.now()
    assert await menu.now() is first

    path = written(tmp_path, read_price("9.90"))

    assert price_of(await menu.now()) == Decimal("9.90")
    rewritten(path, read_price("9.80"))
    assert price_of(await menu.now()) == Decimal("9.80")


async def test_a_change_for_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A change is read beside the event loop, and once however many ask for it meanwhile."""
    menu = MenuFile(written(tmp_path, read_price("9.50")))
    written(tmp_path, read_price("9.90"))
    reads: list[bool] = []
    opened = Path.open

    def watched(path: Path, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - theirs
        reads.append(_in_a_loop())
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", watched)

    menus = await asyncio.gather(*(menu.now() for _ in range(5)))

    assert {price_of(each) for each in menus} == {Decimal("9.90")}
    assert reads == [False]


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def test_a_faulty_change(tmp_path: Path) -> None:
    """The last good menu stays, each fault is logged once, and what is mended is taken."""
    menu = MenuFile(written(tmp_path, read_price("9.50")))
    good = await menu.now()

    with capture_logs() as lines:
        for content in (read_price("free"), read_price("free "), "[" * 5000):
            path = written(tmp_path, content)
            assert [await menu.now(), await menu.now()] == [good, good]
        path.unlink()
        assert [await menu.now(), await menu.now()] == [good, good]
    rejected = [line["message"] for line in lines if line["event"] == "menu_rejected"]
    assert [line["log_level"] for line in lines] == ["error"] * 3
    assert all(
        part in each
        for part, each in zip(("price must", "YAML", "Cannot read"), rejected, strict=True)
    )

    written(tmp_path, read_price("7"))
    assert price_of(await menu.now()) == Decimal(7)


async def test_a_fault_that_comes_back(tmp_path: Path) -> None:
    """A fault that was mended is logged again when it is made again."""
    menu = MenuFile(written(tmp_path, read_price("9.50")))

    with capture_logs() as lines:
        for stated in ("free", "9.90", "free"):
            written(tmp_path, read_price(stated))
            await menu.now()

    events = [line["event"] for line in lines]
    assert events == ["menu_rejected", "menu_read", "menu_rejected"]


async def test_a_file_that_cannot_be_read_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is tried again without a further change; its fault is logged once, and it is taken."""
    menu = MenuFile(written(tmp_path, read_price("9.50")))
    written(tmp_path, read_price("9.90"))

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(Path, "open", denied)
        for _ in range(2):
            assert price_of(await menu.now()) == Decimal("9.50")

    (rejected,) = lines
    assert "Permission denied" in rejected["message"]
    assert price_of(await menu.now()) == Decimal("9.90")


def test_the_sample() -> None:
    """What is shipped is a menu, with something that is sold out to show how that is said."""
    items = [item for section in sample_menu().sections for item in section.items]

    assert len(items) > 10
    assert {item.available for item in items} == {True, False}


def test_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The file may be named from home; a home that is nobody's is refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    settings = load(None, {"order_service.menu": "~/menu.yaml"})

    assert settings.order_service.menu == tmp_path / "menu.yaml"
    with pytest.raises(ConfigurationError, match=r"order_service\.menu: .*home directory"):
        load(None, {"order_service.menu": "~nobody-at-all/menu.yaml"})
