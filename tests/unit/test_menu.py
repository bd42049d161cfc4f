"""The menu file: how it is read, refused and reloaded."""

import asyncio
import os
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from restaurant_system.config import load
from restaurant_system.errors import ConfigurationError
from restaurant_system.models.menu import Hours, Menu
from restaurant_system.services.order.menu_file import MenuFile, read_menu, sample_menu
from tests.support.logs import capture_logs
from tests.support.orders import unset_fields

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
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
        "sections:\n- name: A\n  items:\n  - {name: X, price: 1}\n  - {name: ' X', price: 2}",
        "line 5: sections.0.items.1.name must not be 'X', as another item is",
    ),
    "a section twice": (
        f"{SECTION}, {{name: A, items: [{{name: Y, price: 2}}]}}]",
        "line 1: sections.1.name must not be 'A', as another section is",
    ),
    "no price and no variations": (
        "sections: [{name: A, items: [{name: X}]}]",
        "sections.0.items.0.price must be a number, unless the item has variations",
    ),
    "a sku twice": (
        "sections: [{name: B, items: [{name: Y, sku: S, price: 1}, {name: Z, sku: S, price: 1}]}]",
        "sections.0.items.1.sku must not be 'S', which another item has",
    ),
    "the name of a variation": (
        (
            "sections:\n- name: A\n  items: [{name: X, price: 1, variations: [{name: L, price: 2}"
            "]},\n   {name: X (L), sku: S, price: 2}]"
        ),
        "line 4: sections.0.items.1.name must be another: orders would name it 'A / X (L)', as",
    ),
    "the name of an item with its section": (
        (
            "sections: [{name: A, items: [{name: X, price: 1}]}, {name: B, items: ["
            "{name: X, price: 1}, {name: A / X, price: 1}]}]"
        ),
        "sections.1.items.1.name must be another: orders would name it 'A / X', as another",
    ),
    "a name that is too long with its variation": (
        "sections: [{name: A, items: [{name: " + "x" * 60 + ", price: 1, variations: ["
        "\n{name: " + "y" * 58 + ", price: 1}]}]}]",
        "line 2: sections.0.items.0.variations.0.name must be shorter: orders would name it 'xxxx",
    ),
    "an unknown modifier group": (
        f"{SECTION}, {{name: B, items: [\n{{name: Y, price: 2, modifier_groups: [Sauces]}}]}}]",
        "line 2: sections.1.items.0.modifier_groups.0 must be the name of one of the",
    ),
    "a modifier group with impossible numbers": (
        "modifier_groups: [{name: G, min: 3, max: 2, options: [{name: A}]}]\n" + GOOD,
        "line 1: modifier_groups.0.max must be at least min, 3",
    ),
    "more defaults than may be chosen": (
        "modifier_groups: [{name: G, max: 1, options: [{name: A, default: true},"
        " {name: B, default: true}]}]\n" + GOOD,
        "modifier_groups.0.options must not have more than 1 defaults, the max",
    ),
    "hours that are no time of day": (
        "sections: [{name: A, hours: [{from: 25:00, to: 8}], items: [{name: X, price: 1}]}]",
        'sections.0.hours.0.from must be a time of day such as "11:30"',
    ),
    "a table twice": (f"{GOOD}\ntables: [1-4, 3]", "tables.1 must not have the table '3' again"),
    "a range of tables that ends before it starts": (
        f"tables: [A8-A1]\n{GOOD}",
        "line 1: tables.0 must not end before 8, where it starts",
    ),
    "more tables than a restaurant has": (
        f"{GOOD}\ntables: [1-501]",
        "tables must not have more than 500 tables",
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
    "-1",
    "1000000",
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


def test_tables_are_listed_by_themselves_and_as_ranges(tmp_path: Path) -> None:
    entries = "[1, 8-10, A1-A3, B01 \u2013 02, Terrace 1-2, Bar, Window-1]"
    path = write_menu(tmp_path, f"tables: {entries}\n{GOOD}")

    tables = read_menu(path).table_labels

    assert " ".join(tables[:9]) == "1 8 9 10 A1 A2 A3 B01 B02"
    assert tables[9:] == ("Terrace 1", "Terrace 2", "Bar", "Window-1")


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


def price_of(menu: Menu) -> Decimal | None:
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


async def test_menu_without_sections_is_logged_whenever_it_is_read(tmp_path: Path) -> None:
    """It is valid, with tables alone, but then every order is accepted."""
    with capture_logs() as lines:
        menu = MenuFile(write_menu(tmp_path, "sections: []"))
        for content in (menu_with_price("9.50"), "{tables: [1-4], sections: []}"):
            write_menu(tmp_path, content)
            await menu.current_menu()

    events = [line["event"] for line in lines]
    assert events == ["menu_empty", "menu_read", "menu_read", "menu_empty"]


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


def test_full_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    text = OPERATIONS.read_text()
    example = text.partition("```yaml\n# menu.yaml\n")[2].partition("```")[0]

    menu = read_menu(write_menu(tmp_path, example))

    assert unset_fields([menu]) == set()


def test_hours_beyond_midnight_belong_to_the_day_on_which_they_begin() -> None:
    hours = Hours.model_validate({"days": ["fri", "sat"], "from": "22:00", "to": "02:00"})
    friday = datetime(2024, 12, 13)  # noqa: DTZ001 - at the wall clock
    moments = [friday + timedelta(hours=hour) for hour in (21, 22, 25, 26, 46, 49, 50, 70, 73)]

    assert [moment for moment in moments if hours.cover(moment)] == [
        friday + timedelta(hours=hour) for hour in (22, 25, 46, 49)
    ]
