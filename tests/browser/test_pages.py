import pytest

from tests.support.browser import Screens, serious_violations

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_pages_have_no_serious_accessibility_violations(screens: Screens) -> None:
    for path in ("/", "/board", "/dashboard"):
        page = await screens.open(path)

        assert await serious_violations(page) == [], path
