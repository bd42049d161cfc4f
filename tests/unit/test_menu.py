"""The menu file: how it is read, refused and reloaded."""

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
    "a key twice": (f"{GOOD}\n{GOOD}", "'sections' occurs twice"),
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


def write_menu(folder: Path, content: str | bytes) -> Path:
    """Write a menu as an editor does: a new file replaces the old one."""
    path, draft = folder / "menu.yaml", folder / "draft.yaml"
    draft.write_bytes(content if isinstance(content, bytes) else content.encode())
    return draft.replace(path)


def rewrite_menu(path: Path, content: str) -> None:
    """Write a menu into its file until the change time has changed."""
    before = path.stat().st_ctime_ns
    while path.stat().st_ctime_ns == before:
        path.write_text(content)


def menu_with_price(price: str) -> str:
    """Return a menu with one item of this price."""
    return f"sections: [{{name: Pizza, items: [{{name: Margherita, price: {price}}}]}}]"


def test_menu_has_sections_of_items_that_are_available_by_default(tmp_path: Path) -> None:
    path = write_menu(
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
def test_invalid_menu_is_refused_with_file_and_field(tmp_path: Path, case: str) -> None:
    content, error_message = BAD[case]
    path = write_menu(tmp_path, content)

    with pytest.raises(ConfigurationError) as error:
        read_menu(path)

    assert str(path) in str(error.value)
    assert error_message in str(error.value)
    assert "\n" not in str(error.value)
    assert "Node(" not in str(error.value)


@pytest.mark.parametrize("price", BAD_PRICES)
def test_invalid_price_is_refused(tmp_path: Path, price: str) -> None:
    path = write_menu(tmp_path, menu_with_price(price))

    with pytest.raises(ConfigurationError, match=r"sections\.0\.items\.0\.price must"):
        read_menu(path)


def price_of(menu: Menu) -> Decimal:
    """Return the price of the only item."""
    return menu.sections[0].items[0].price


def test_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Cannot read the menu .*menu\.yaml"):
        MenuFile(tmp_path / "menu.yaml")


def test_pipe_or_directory_is_refused_by_its_name(tmp_path: Path) -> None:
    """A menu that is a pipe is refused, because reading it would not end."""
    pipe = tmp_path / "menu.yaml"
    os.mkfifo(pipe)

    for path in (pipe, tmp_path):
        with pytest.raises(ConfigurationError, match=rf"The menu {path} is not a regular file"):
            MenuFile(path)


async def test_menu_is_read_again_only_after_its_file_has_changed(tmp_path: Path) -> None:
    menu = MenuFile(write_menu(tmp_path, menu_with_price("9.50")))
    first = await menu.current_menu()
    assert await menu.current_menu() is first

    path = write_menu(tmp_path, menu_with_price("9.90"))

    assert price_of(await menu.current_menu()) == Decimal("9.90")
    rewrite_menu(path, menu_with_price("9.80"))
    assert price_of(await menu.current_menu()) == Decimal("9.80")


async def test_changed_menu_is_read_once_for_concurrent_requests(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The menu is read in a thread, so that the event loop is not blocked."""
    menu = MenuFile(write_menu(tmp_path, menu_with_price("9.50")))
    write_menu(tmp_path, menu_with_price("9.90"))
    reads: list[bool] = []
    opened = Path.open

    def watched(path: Path, *args: Any, **options: Any) -> Any:  # noqa: ANN401 - theirs
        reads.append(_in_a_loop())
        return opened(path, *args, **options)

    monkeypatch.setattr(Path, "open", watched)

    menus = await asyncio.gather(*(menu.current_menu() for _ in range(5)))

    assert {price_of(each) for each in menus} == {Decimal("9.90")}
    assert reads == [False]


def _in_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


async def test_last_valid_menu_stays_in_use_after_an_invalid_change(tmp_path: Path) -> None:
    """Each error of the menu file is logged once; the corrected file is used."""
    menu = MenuFile(write_menu(tmp_path, menu_with_price("9.50")))
    good = await menu.current_menu()

    with capture_logs() as lines:
        for content in (menu_with_price("free"), menu_with_price("free "), "[" * 5000):
            path = write_menu(tmp_path, content)
            assert [await menu.current_menu(), await menu.current_menu()] == [good, good]
        path.unlink()
        assert [await menu.current_menu(), await menu.current_menu()] == [good, good]
    rejected = [line["message"] for line in lines if line["event"] == "menu_rejected"]
    assert [line["log_level"] for line in lines] == ["error"] * 3
    assert all(
        part in each
        for part, each in zip(("price must", "YAML", "Cannot read"), rejected, strict=True)
    )

    write_menu(tmp_path, menu_with_price("7"))
    assert price_of(await menu.current_menu()) == Decimal(7)


async def test_error_that_was_corrected_is_logged_again_when_it_returns(tmp_path: Path) -> None:
    menu = MenuFile(write_menu(tmp_path, menu_with_price("9.50")))

    with capture_logs() as lines:
        for price in ("free", "9.90", "free"):
            write_menu(tmp_path, menu_with_price(price))
            await menu.current_menu()

    events = [line["event"] for line in lines]
    assert events == ["menu_rejected", "menu_read", "menu_rejected"]


async def test_unreadable_file_is_retried_without_a_further_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error of an unreadable menu file is logged once."""
    menu = MenuFile(write_menu(tmp_path, menu_with_price("9.50")))
    write_menu(tmp_path, menu_with_price("9.90"))

    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch, capture_logs() as lines:
        patch.setattr(Path, "open", denied)
        for _ in range(2):
            assert price_of(await menu.current_menu()) == Decimal("9.50")

    (rejected,) = lines
    assert "Permission denied" in rejected["message"]
    assert price_of(await menu.current_menu()) == Decimal("9.90")


def test_sample_menu_is_valid_and_has_an_unavailable_item() -> None:
    items = [item for section in sample_menu().sections for item in section.items]

    assert len(items) > 10
    assert {item.available for item in items} == {True, False}


def test_menu_setting_expands_the_home_directory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The home directory of an unknown user is refused."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    settings = load(None, {"order_service.menu": "~/menu.yaml"})

    assert settings.order_service.menu == tmp_path / "menu.yaml"
    with pytest.raises(ConfigurationError, match=r"order_service\.menu: .*home directory"):
        load(None, {"order_service.menu": "~nobody-at-all/menu.yaml"})
