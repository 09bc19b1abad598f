"""Forms as somebody fills them in, whatever page they are on."""

from __future__ import annotations

import re
from collections.abc import Mapping

from playwright.sync_api import FilePayload, Locator, Page, expect

from clawloops.web.pages import SECRET_FIELDS
from tests.bad_input import Bad, pattern

NEARBY_PX = 32  # from a field down to what is said of it
_FORMS = """() => [...document.forms].map(form => [form.method, new URL(form.action).pathname,
    [...form.elements].filter(each => each.name).map(each => [each.name, each.type, each.value])])"""
_UNCHECKED = """form => {
    form.noValidate = true;
    for (const each of form.elements) each.removeAttribute("maxlength");
}"""
_TAKE = """(each, value) => {
    if (each.type === "select-one") each.add(new Option(value, value, true, true));
    else each.value = value, each.checked = true;
}"""
_PLACES = """field => {
    const here = field.getBoundingClientRect();
    const there = document.getElementById(field.getAttribute("aria-describedby")).getBoundingClientRect();
    return [there.top - here.bottom, Math.min(here.right, there.right) - Math.max(here.left, there.left)];
}"""


def found(page: Page, path: str, sent: Mapping[str, str]) -> Locator | None:
    """The form of a page that sends these fields there; `{word}` in either stands for whatever there is."""
    wanted = pattern(path)

    def has(fields: list[list[str]], name: str, value: str) -> bool:
        """What is hidden in a form is its own choice."""
        return any(each == name and (kind != "hidden" or "{" in value or value == now) for each, kind, now in fields)

    for number, (method, action, fields) in enumerate(page.evaluate(_FORMS)):
        if method == "post" and re.fullmatch(wanted, action) and all(has(fields, *each) for each in sent.items()):
            return page.locator("form").nth(number)
    return None


def _fill(form: Locator, sent: Mapping[str, str]) -> None:
    """Without the browser's own checks: an old one has none, and a program sends what it likes."""
    _open(form)
    form.evaluate(_UNCHECKED)
    for name, value in _typed(sent).items():
        field = form.locator(f"[name='{name}']").first
        kind = field.evaluate("each => each.type")
        if kind == "hidden":
            continue
        _open(field)
        match kind:
            case "file":
                file: FilePayload = {"name": "a.gguf", "mimeType": "", "buffer": value.encode()}
                field.set_input_files([file] if value else [])
            case "select-one" if field.locator(f"option[value='{value}']").count():
                field.select_option(value)
            case "checkbox" | "radio" if form.locator(f"[name='{name}'][value='{value}']").count():
                form.locator(f"[name='{name}'][value='{value}']").check()
            case "select-one" | "checkbox" | "radio":
                field.evaluate(_TAKE, value)
            case _:
                field.fill(value)


def _open(thing: Locator) -> None:
    """Whatever it is folded away in."""
    shut = thing.locator("xpath=ancestor::details[not(@open)]")
    while shut.count():
        shut.first.locator("> summary").click()


def send(page: Page, path: str, sent: Mapping[str, str]) -> int:
    """Fill in the form of the page and press its button. Returns the HTTP status of the page that came."""
    form = found(page, path, sent)
    assert form is not None, f"no form of {page.url} sends {sent} to {path}"
    _fill(form, sent)
    with page.expect_navigation() as going:
        form.locator("button:not([type=button]), button[data-passkey]").first.click()
    return going.value.status if going.value else 0


def refuse(page: Page, case: Bad) -> None:
    """Send bad input from a page that has the form. AssertionError where the answer does not help whoever sent it."""
    assert send(page, case.path, case.sent) == case.status, case.path
    if case.wrong:
        marked = page.locator(f"[name='{case.wrong}'][aria-invalid=true]")
        expect(marked).to_be_focused()
        below, beside = marked.evaluate(_PLACES)
        assert 0 <= below <= NEARBY_PX and beside > 0, f"{case.path}: what is said of {case.wrong!r} is far from it"
        told = page.locator(f"[id='{marked.get_attribute('aria-describedby')}']")
    else:
        told = page.locator(".banner.bad[role=alert]:not(#alarm)")
    expect(told).not_to_be_empty()
    expect(told).to_be_in_viewport(ratio=1)  # after a smooth way there
    form = found(page, case.path, case.sent)
    assert form is not None, f"{case.path}: its form is gone"
    assert case.is_choice or _lost(form, case.sent) == [], case.path


def _lost(form: Locator, sent: Mapping[str, str]) -> list[str]:
    """The names of fields that do not hold what was typed; no page holds a secret or a file."""
    held: list[list[str]] = form.evaluate(
        "form => [...form.elements].filter(each => !/checkbox|radio/.test(each.type) || each.checked)"
        ".map(each => [each.name, each.value])"
    )
    kept = {name: value for name, value in _typed(sent).items() if name not in (*SECRET_FIELDS, "file")}
    return [name for name, value in kept.items() if [name, value] not in held]


def _typed(sent: Mapping[str, str]) -> dict[str, str]:
    """What is of a form's own choice left out."""
    return {name: value for name, value in sent.items() if "{" not in value}
