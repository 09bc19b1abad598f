"""What a template says in the same words each time is looked up once; all else as Jinja's own extension does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from clawloops.web.languages import ENGLISH, Language, Messages
from clawloops.web.templates import load_templates

PAGE = """{% macro said(text) %}[{{ text }}{{ _("Stop") }}]{% endmacro %}
{% trans %}All 9% of <b>it</b>{% endtrans %}|{{ _("Save <i>it</i>") }}|{% trans name=x %}Hello {{ name }}{% endtrans %}
{{- "|" ~ _("%(count)s of %(name)s", count=3, name=x) }}|{% trans n=2 %}a call{% pluralize %}{{ n }} calls{% endtrans %}
{{- "|" ~ pgettext("mail", "From") }}|{{ said(_("Stop")) }}|{{ x|said }} {{ _(word) }}"""
GERMAN = Language(
    "de",
    Messages(
        {
            "All 9%% of <b>it</b>": "Alle 9%% <b>davon</b>",
            "Hello %(name)s": "Hallo %(name)s",
            "Stop": "Halt",
            "%(count)s of %(name)s": "%(count)s von %(name)s",
        },
        {"a call": ("ein Anruf", "%(n)s Anrufe")},
        {("mail", "From"): "Absender"},
    ),
)


@pytest.mark.parametrize(
    ("language", "page"),
    [
        (
            ENGLISH,
            "All 9% of <b>it</b>|Save <i>it</i>|Hello &lt;b|3 of &lt;b|2 calls|From|[StopStop]|&lt;b Stop",
        ),
        (
            GERMAN,
            "Alle 9% <b>davon</b>|Save <i>it</i>|Hallo &lt;b|3 von &lt;b|2 Anrufe|Absender|[HaltHalt]|&lt;b Halt",
        ),
    ],
    ids=["en", "de"],
)
def test_a_message_is_what_it_is_wherever_it_is_looked_up(tmp_path: Path, language: Language, page: str) -> None:
    (tmp_path / "page.html").write_text(PAGE)
    assert load_templates(tmp_path, language).get_template("page.html").render(x="<b", word="Stop") == page


def test_what_is_the_same_each_time_is_not_looked_up_when_a_page_is_made(tmp_path: Path) -> None:
    asked: list[str] = []

    class Counting(Language):
        def message(self, text: str) -> str:
            asked.append(text)
            return super().message(text)

    (tmp_path / "page.html").write_text(PAGE)
    template = load_templates(tmp_path, Counting("en", Messages())).get_template("page.html")
    asked.clear()
    template.render(x="x", word="Stop")
    assert sorted(asked) == ["%(count)s of %(name)s", "Hello %(name)s", "Stop"]
