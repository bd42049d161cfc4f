"""Draw the icons of the pages as PNG files, from screens/assets/icon.svg: `make icons`.

The home screens of iPadOS and Android take no SVG. A maskable icon fills its square, because
Android cuts it to a shape of its own: the drawing is in the middle 80 %.
"""

import asyncio
import re
import sys
from pathlib import Path

from tests.support.browser import running_browser

ASSETS = Path(__file__).parent.parent / "src/restaurant_system/screens/assets"
BACKGROUND = "#9a3412"
SIZES = {
    "icon-180.png": 180,  # iPadOS rounds the corners
    "icon-192.png": 192,
    "icon-512.png": 512,
    "icon-maskable-192.png": 192,
    "icon-maskable-512.png": 512,
}


def page_of(name: str, size: int) -> str:
    """Return an HTML page that shows nothing but an icon."""
    svg = (ASSETS / "icon.svg").read_text(encoding="utf-8")
    has_corners = name in {"icon-192.png", "icon-512.png"}
    drawing = svg if has_corners else re.sub(r' rx="\d+"', "", svg)
    part = "80%" if "maskable" in name else "100%"
    style = f"margin: 0; display: grid; place-items: center; height: {size}px;"
    background = "" if has_corners else f"background: {BACKGROUND};"
    drawing = drawing.replace("<svg ", f'<svg width="{part}" height="{part}" ', 1)
    return f'<body style="{style} {background}">{drawing}</body>'


async def main() -> None:
    """Draw all icons."""
    async with running_browser() as browser:
        for name, size in SIZES.items():
            page = await browser.new_page(viewport={"width": size, "height": size})
            await page.set_content(page_of(name, size))
            await page.screenshot(path=ASSETS / name, omit_background=True)
            await page.close()
            sys.stdout.write(f"{name}: {size} x {size}\n")


if __name__ == "__main__":
    asyncio.run(main())
