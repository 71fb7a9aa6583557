"""The page of `dcube report` in Chromium, opened as a file: on a phone and a screen, by keyboard, accessible."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page

from dcube.cli.report import report
from dcube.config.schema import Diffusion
from tests.support.browser import needs_chromium
from tests.support.finished_run import GROUP, HOSTILE, write_run

SIZES = {"phone": {"width": 390, "height": 844}, "screen": {"width": 1280, "height": 900}}

pytestmark = needs_chromium


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("run")
    write_run(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        report()
    return (folder / "report.html").as_uri()


@pytest.fixture
def opened(browser: Browser, address: str) -> Iterator[Callable[..., Page]]:
    """Open the page; at the end, check that there was no other request, console message or dialog."""
    requests: list[str] = []
    said: list[str] = []
    contexts = []

    def open_page(**settings) -> Page:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: requests.append(request.url))
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("dialog", lambda dialog: said.append(dialog.message))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        with suppress(Exception):
            context.close()
    assert {url.partition("#")[0] for url in requests if not url.startswith("data:")} == {address}
    assert said == []


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_page_fits_the_screen_and_is_accessible(size: str, scheme: str, opened: Callable[..., Page]) -> None:
    page = opened(viewport=SIZES[size], color_scheme=scheme, bypass_csp=True)  # axe is injected as a script
    for summary in page.locator("summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= SIZES[size]["width"]
    pictures = page.locator("img")
    assert pictures.count() > 10
    assert pictures.evaluate_all("all => all.every(one => one.complete && one.naturalWidth > 0)")
    hints = page.locator(".hint")
    assert hints.count() > 0 and all(hint.is_visible() == (size == "phone") for hint in hints.all())
    found = Axe().run(page).response
    assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found["violations"]] == []
    assert {"color-contrast", "image-alt", "heading-order"} <= {one["id"] for one in found["passes"]}


@pytest.mark.slow
def test_hostile_class_name_is_shown_as_text(opened: Callable[..., Page]) -> None:
    page = opened()
    assert page.get_by_role("rowheader", name=HOSTILE).count() + page.get_by_text(HOSTILE).count() > 0
    assert page.locator("img[onerror]").count() == 0


@pytest.mark.slow
def test_subgroups_are_a_table_with_counts_and_small_groups_are_hidden(opened: Callable[..., Page]) -> None:
    page = opened(viewport=SIZES["screen"])
    for summary in page.locator("summary").all():
        summary.click()
    (row,) = page.locator("tr").filter(has_text="scanner: ").all()
    assert row.is_visible() and f"scanner: {HOSTILE}" in row.inner_text()
    assert row.locator("td").all_inner_texts()[:2] == [str(GROUP.images), str(GROUP.patients)]
    assert page.get_by_text("are hidden: 1 of scanner.").first.is_visible()


def focused(page: Page, what: str) -> str:
    return page.evaluate(f"document.activeElement.{what}")


@pytest.mark.slow
def test_keyboard_reaches_everything_in_order(opened: Callable[..., Page]) -> None:
    page = opened(viewport=SIZES["screen"])
    page.keyboard.press("Tab")
    assert focused(page, "textContent") == "Skip to the content"
    assert page.evaluate("document.activeElement.getBoundingClientRect().x") >= 0  # visible once it has the focus
    page.keyboard.press("Enter")
    assert focused(page, "id") == "content"
    reached = page.evaluate_handle("[]")
    while True:
        page.keyboard.press("Tab")
        if focused(page, "tagName") == "BODY":  # past the last element, at the browser's own controls
            break
        reached.evaluate("all => all.push(document.activeElement)")
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none"
    in_order = "all.every((one, i) => one === expected[i]) && all.length === expected.length && all.length > 20"
    focusable = "'main a, main summary, main [tabindex=\"0\"]'"
    visible = f"[...document.querySelectorAll({focusable})].filter(one => one.checkVisibility())"
    assert reached.evaluate(f"all => {{ const expected = {visible}; return {in_order} }}")


@pytest.mark.slow
def test_picture_opens_larger_and_closes_by_keyboard(opened: Callable[..., Page]) -> None:
    page = opened(viewport=SIZES["screen"])
    link = page.get_by_role("link", name="Validation AUROC")
    small = link.bounding_box()
    link.focus()
    page.keyboard.press("Enter")
    large = link.bounding_box()
    assert small and large and large["width"] > 1.2 * small["width"]
    assert large["y"] + large["height"] <= SIZES["screen"]["height"]
    assert page.locator("figure:target").bounding_box() == {"x": 0, "y": 0, **SIZES["screen"]}
    page.get_by_role("link", name="Close").focus()
    page.keyboard.press("Enter")
    assert page.locator("figure:target").count() == 0
    page.keyboard.press("Tab")
    assert focused(page, "closest('figure') !== null")  # the focus continues at the picture


@pytest.mark.slow
def test_page_is_the_same_without_javascript(opened: Callable[..., Page]) -> None:
    plain, usual = (opened(java_script_enabled=enabled).locator("main").inner_text() for enabled in (False, True))
    assert plain == usual and "Results" in plain


@pytest.mark.slow
def test_printed_page_shows_folded_parts(opened: Callable[..., Page], tmp_path: Path) -> None:
    page = opened(viewport=SIZES["screen"], color_scheme="dark")
    meaning = page.get_by_text(str(Diffusion.model_fields["width"].description)).first
    assert not meaning.is_visible()
    page.emulate_media(media="print")
    assert meaning.is_visible()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
