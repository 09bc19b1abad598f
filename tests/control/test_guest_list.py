"""Lists of people as spreadsheets write them: all of it is taken, or each wrong line is named."""

from __future__ import annotations

import pytest

from clawloops.control.guest_list import MOST, read
from clawloops.errors import BadInput
from clawloops.model.account import Guest, Role

GROUPS = {"Design team": "g1", "Ops; night": "g2"}


def _read(text: str, *, by_mail: bool = True, invited: tuple[str, ...] = ()) -> list[Guest]:
    return read(text, groups=GROUPS, invited=invited, by_mail=by_mail)


def _wrong(text: str, *, by_mail: bool = True, invited: tuple[str, ...] = ()) -> list[str]:
    with pytest.raises(BadInput) as refused:
        _read(text, by_mail=by_mail, invited=invited)
    assert refused.value.field == "list"
    return str(refused.value).splitlines()


ADA = Guest("Ada Lovelace", Role.ADMIN, "g1", "ada@example.com")
KEN = Guest("Thompson, Ken", Role.MEMBER, None, "ken@example.com")


@pytest.mark.parametrize(
    "text",
    [
        'Ada Lovelace,ada@example.com,Design team,admin\n"Thompson, Ken",ken@example.com,,member\n',
        "\ufeffName;E-Mail;Group;Role\r\nAda Lovelace;ada@example.com;Design team;Admin\r\n"
        "Thompson, Ken;ken@example.com;;\r\n",
        "name\temail\n\n Ada Lovelace \t ada@example.com \tDesign team\tADMIN\n\n"
        "Thompson, Ken\tken@example.com\n\t\t\n",
        '"Ada Lovelace", "ada@example.com", "Design team", "admin"\r"Thompson, Ken", ken@example.com\r',
    ],
)
def test_commas_semicolons_tabs_quotes_headings_and_the_mark_of_excel_are_understood(text: str) -> None:
    assert _read(text) == [ADA, KEN]


def test_each_wrong_line_is_named_with_its_number_and_why() -> None:
    text = (
        "Name,E-mail,Group,Role\n"
        "Ada,ada@example.com\n"
        ",ken@example.com\n"
        "Ken,ken@example\tcom\n"
        "Eve,,Design team\n"
        "\n"
        "Bob,bob@example.com,Desing team\n"
        "Max,max@example.com,,owner\n"
        "Mia,mia@example.com,,boss\n"
        "Two,ADA@example.com\n"
        "Old,old@example.com\n"
        "J\ufffdrg,jorg@example.com\n"
        "a,a@example.com,,,x\n"
    )
    assert _wrong(text, invited=("old@example.com",)) == [
        "Nobody was invited yet.",
        "Line 3: it begins with no name of 1 to 80 characters.",
        "Line 4: 'ken@example\\tcom' is no e-mail address.",
        "Line 5: it has no e-mail address to send the link to.",
        "Line 7: there is no group 'Desing team'.",
        "Line 8: there is one owner already.",
        "Line 9: 'boss' is no role; there are member, admin and viewer.",
        "Line 10: the e-mail address stands in line 2, too.",
        "Line 11: old@example.com was invited already, and that link can still be used.",
        "Line 12: it has letters that cannot be read; save the list as “CSV UTF-8”.",
        "Line 13: it has 5 parts; name, e-mail, group and role are four.",
    ]


def test_without_e_mail_a_name_is_enough() -> None:
    assert _read("Ada\nKen\n", by_mail=False) == [Guest("Ada"), Guest("Ken")]
    assert _wrong("Ada\nKen,k\n", by_mail=False)[1:] == ["Line 2: 'k' is no e-mail address."]


@pytest.mark.parametrize("text", ["", "  \n\r\n", "\ufeff", "name,e-mail,group,role\n", ";;;\n"])
def test_an_empty_list_is_told(text: str) -> None:
    assert _wrong(text)[0].startswith("The list is empty")


def test_as_many_as_fit_are_taken_and_one_more_is_not() -> None:
    lines = [f"Name {number},n{number}@example.com" for number in range(MOST + 1)]
    assert len(_read("\n".join(lines[:MOST]))) == MOST
    assert _wrong("\n".join(lines))[0].startswith(f"The list has {MOST + 1} lines")


def test_of_many_wrong_lines_the_first_are_named() -> None:
    found = _wrong("x\n" * 100)
    assert len(found) == 22 and found[-1] == "And 80 more."


@pytest.mark.parametrize(
    "text", ['"Ada,ada@example.com\nKen,k@example.com', 'A"da" x,"a"b@example.com', "A\x00da,a@example.com"]
)
def test_what_is_no_list_is_refused_with_a_line(text: str) -> None:
    assert "Line " in "\n".join(_wrong(text))
