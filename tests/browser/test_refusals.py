"""What the server refuses is explained in the language of the pages."""

import re

import pytest
from playwright.async_api import Page, Route, expect

from tests.support.all_in_one_app import AllInOneApp
from tests.support.browser import Screens

pytestmark = pytest.mark.asyncio(loop_scope="session")

IN_GERMAN = {
    "RESTAURANT_LANGUAGE": "de",
    "RESTAURANT_CURRENCY": "EUR",
    "RESTAURANT_KITCHEN_DISPLAY__STATIONS": "1",
    "RESTAURANT_KITCHEN_DISPLAY__STATION_TIMEOUT": "1",
}
OF_ANOTHER_STATION: tuple[dict[str, object], str] = (
    {
        "code": "not_of_station",
        "params": {"order_number": "ORD_20241216_001", "station": "grill"},
        "current_status": "received",
        "detail": "Station grill does not take orders of the type of ORD_20241216_001.",
    },
    "Die Station grill nimmt Bestellungen dieser Art nicht an",
)
OF_A_NEWER_SERVER: tuple[dict[str, object], str] = (
    {"code": "too_hot", "detail": "The grill is too hot."},
    "The grill is too hot.",
)
FOREIGN_ORIGIN = (
    "Öffnen Sie diese Seite unter der Adresse des Restaurants, und versuchen Sie es noch einmal."
)
ISOLATE = "[\N{FIRST STRONG ISOLATE}\N{POP DIRECTIONAL ISOLATE}]*"
EURO = f"\N{NO-BREAK SPACE}\N{EURO SIGN}{ISOLATE}"
PRICE = re.compile(
    f"^Preis: {ISOLATE}muss von {ISOLATE}0,00{EURO} bis {ISOLATE}999.999,99{EURO} sein"
)


async def refuse_taps(page: Page, problem: dict[str, object]) -> None:
    """Respond with a problem to each tap of a page."""

    async def refuse(route: Route) -> None:
        await route.fulfill(status=409, json=problem)

    await page.route("**/tickets/**", refuse)


async def refuse_orders(page: Page, problem: dict[str, object]) -> None:
    """Respond with a problem to each order of a page."""

    async def refuse(route: Route) -> None:
        await route.fulfill(status=403, json=problem)

    await page.route("**/orders", refuse)


@pytest.mark.parametrize("app", [IN_GERMAN], indirect=True)
async def test_refusals_are_explained_in_german_and_end(app: AllInOneApp, screens: Screens) -> None:
    """A station that is refused opens once it can; a text without a translation is the server's."""
    number, other = [(await app.order()).rpartition("_")[2] for _ in range(2)]
    grill = await screens.open("/kitchen?station=grill")
    await grill.locator(".ticket").get_by_role("heading", name=number).wait_for()
    counter = await screens.open("/")
    name, item = counter.get_by_label("Name des Gasts"), counter.locator("#order-items")

    await counter.get_by_role("radio", name="Abholung").check()
    await counter.get_by_role("button", name="Margherita 9,50").click()
    await name.fill("Ada <3")
    await item.get_by_label("Notiz").first.fill("ohne \N{ZERO WIDTH SPACE}Käse")
    await counter.get_by_role("button", name="Position eintippen").click()
    await item.get_by_label("Preis").fill("9999999")
    await refuse_orders(counter, {"code": "foreign_origin", "detail": "Not from this page."})
    await counter.get_by_role("button", name="Bestellen").click()
    await expect(counter.locator("#summary")).to_contain_text(FOREIGN_ORIGIN)
    await counter.unroute("**/orders")
    await counter.get_by_role("button", name="Bestellen").click()

    await expect(name).to_have_accessible_description(
        re.compile(r'^Name des Gasts: "<" \(U\+003C\) ist nicht erlaubt; erlaubt sind Buchstaben, ')
    )
    await expect(item.get_by_label("Notiz").first).to_have_accessible_description(
        "Notiz: das Zeichen U+200B (ZERO WIDTH SPACE) ist hier nicht erlaubt."
    )
    await expect(item.get_by_label("Preis")).to_have_accessible_description(PRICE)
    fryer = await screens.open("/kitchen?station=fryer")
    unknown = await screens.open("/kitchen?station=bar&order_types=takeout,soup")
    await expect(fryer.locator("#notice")).to_have_text(
        "Es sind so viele Stationen geöffnet wie erlaubt (1): Schließen Sie die Anzeigen von einer."
    )
    await expect(unknown.locator("#notice")).to_have_text(
        "Art der Bestellung 2: möglich ist nur 'dine_in', 'takeout', 'delivery'."
    )
    for tapped, (problem, text) in {number: OF_ANOTHER_STATION, other: OF_A_NEWER_SERVER}.items():
        await refuse_taps(grill, problem)
        await grill.get_by_role("button", name=f"Eilig {tapped}").click()
        await expect(grill.locator("#toasts").get_by_text(text)).to_be_visible()
    await grill.close()
    await expect(fryer.locator(".ticket").get_by_role("heading", name=number)).to_be_visible()
    await expect(fryer.locator("#notice")).to_be_empty()
    await expect(fryer.locator(".banner")).to_be_hidden()
