"""Each form of the dashboard has an operation of the API, or stands here with the reason why not."""

from __future__ import annotations

from clawloops.web.api.table import OPERATIONS
from clawloops.web.routes import DASHBOARD, Proof

A_WAY_IN = "it opens a way in, or takes away what guards one: a token could outgrow itself"
A_BROWSER = "it is about browsers and their sessions"
HOW_FAR = "how far workspaces reach lets data out: an admin proves who they are first"
A_FILE = "a file larger than a body of JSON comes or goes"
ALARM = "it decides what becomes of an alarm: an admin proves who they are first"
READS = "it changes nothing: GET /audit/verdict"
ANY_ADDRESS = "it sends e-mail to any address in the box's name"
FOR_THE_PAGE = "it only chooses what the page compares with"

LEFT_OUT = {
    "/sign-in": A_BROWSER,
    "/sign-in/passkey": A_BROWSER,
    "/sign-in/second": A_BROWSER,
    "/sign-out": A_BROWSER,
    "/language": A_BROWSER,
    "/workspace/open": A_BROWSER,
    "/join/{token}": A_WAY_IN,
    "/account/password": A_WAY_IN,
    "/account/sessions/end": A_BROWSER,
    "/account/sessions/{id}/end": A_BROWSER,
    "/account/app": A_WAY_IN,
    "/account/app/confirm": A_WAY_IN,
    "/account/app/remove": A_WAY_IN,
    "/account/passkeys/new": A_WAY_IN,
    "/account/passkeys": A_WAY_IN,
    "/account/passkeys/{id}/remove": A_WAY_IN,
    "/account/codes": A_WAY_IN,
    "/account/tokens": A_WAY_IN,
    "/account/tokens/{id}/revoke": A_WAY_IN,
    "/workspace/webhook": A_WAY_IN,
    "/box/workspaces/{id}/webhook": A_WAY_IN,
    "/workspace/telegram": A_WAY_IN,
    "/workspace/files/export": A_FILE,
    "/workspace/files/import": A_FILE,
    "/workspace/internet/reach": HOW_FAR,
    "/box/workspaces/{id}/internet/reach": HOW_FAR,
    "/box/internet": HOW_FAR,
    "/box/internet/reach": HOW_FAR,
    "/box/internet/rules/{rule}/remove": HOW_FAR,
    "/models": A_WAY_IN,
    "/models/backends/{id}/keys": A_WAY_IN,
    "/models/library/{id}/import": A_FILE,
    "/members": A_WAY_IN,
    "/members/list": A_WAY_IN,
    "/members/mail": A_WAY_IN,
    "/members/mail/test": ANY_ADDRESS,
    "/members/{id}/role": A_WAY_IN,
    "/members/{id}/owner": A_WAY_IN,
    "/members/{id}/reset": A_WAY_IN,
    "/reset/{token}": A_WAY_IN,
    "/first-run/model": A_WAY_IN,
    "/first-run/invite": A_WAY_IN,
    "/members/second-factor": A_WAY_IN,
    "/members/sign-in": A_WAY_IN,
    "/members/sign-in/remove": A_WAY_IN,
    "/account/identity": A_WAY_IN,
    "/account/identity/remove": A_WAY_IN,
    "/members/{id}/enable": A_WAY_IN,
    "/members/{id}/second-factor/remove": A_WAY_IN,
    "/box/support": A_FILE,
    "/box/decoys": ALARM,
    "/box/decoys/{id}/acknowledge": ALARM,
    "/box/workspaces/{id}/inspections": A_BROWSER,
    "/inspections/{id}/end": A_BROWSER,
    "/usage/compare": FOR_THE_PAGE,
    "/audit/verify": READS,
}
SAME = {
    "/workspace/start": "POST /workspace/start",
    "/workspace/stop": "POST /workspace/stop",
    "/workspace/restart": "POST /workspace/restart",
    "/workspace/resume": "POST /workspace/resume",
    "/workspace/delete": "DELETE /workspace",
    "/workspace/settings": "PATCH /workspace/settings",
    "/workspace/files/snapshot": "POST /workspace/snapshots",
    "/workspace/files/restore": "POST /workspace/snapshots/{number}/restore",
    "/workspace/files/trash": "DELETE /workspace/snapshots/{number}",
    "/workspace/files/give": "POST /workspace/snapshots/{number}/give",
    "/workspace/files/reset": "POST /workspace/reset",
    "/workspace/files/jobs/{job}/cancel": "DELETE /workspace/work/{id}",
    "/workspace/internet": "POST /workspace/internet/rules",
    "/workspace/internet/answer": "POST /workspace/internet/answers",
    "/workspace/internet/lock": "POST /workspace/internet/lock",
    "/workspace/internet/rules/{rule}/remove": "DELETE /workspace/internet/rules/{rule}",
    "/workspace/connections": "POST /workspace/connections",
    "/workspace/connections/{id}": "PATCH /workspace/connections/{id}",
    "/workspace/connections/{id}/switch": "PATCH /workspace/connections/{id}",
    "/workspace/connections/{id}/remove": "DELETE /workspace/connections/{id}",
    "/keys": "POST /keys",
    "/keys/{id}/revoke": "DELETE /keys/{id}",
    "/first-run/model/try": "POST /models/{id}/try",
    "/first-run/{step}/skip": "POST /first-run/steps/{step}/skip",
    "/first-run/dismiss": "POST /first-run/dismiss",
    "/models/backends/{id}/remove": "DELETE /backends/{id}",
    "/models/backends/{id}/load": "PUT /backends/{id}/load",
    "/models/backends/{id}/keys/{key}/remove": "DELETE /backends/{id}/keys/{key}",
    "/models/names": "POST /models",
    "/models/names/{id}": "PUT /models/{id}",
    "/models/names/{id}/remove": "DELETE /models/{id}",
    "/models/names/{id}/price": "PUT /models/{id}/price",
    "/models/names/{id}/default": "POST /models/{id}/default",
    "/first-run/model/pull": "POST /backends/{id}/library/pulls",
    "/models/library/{id}/pull": "POST /backends/{id}/library/pulls",
    "/models/library/{id}/pulls/{pull}/cancel": "DELETE /backends/{id}/library/pulls/{pull}",
    "/models/library/{id}/load": "POST /backends/{id}/library/load",
    "/models/library/{id}/unload": "POST /backends/{id}/library/unload",
    "/models/library/{id}/offer": "POST /backends/{id}/library/offer",
    "/models/library/{id}/context": "PUT /backends/{id}/library/context",
    "/models/library/{id}/remove": "DELETE /backends/{id}/library/models",
    "/members/invitations/{id}/withdraw": "DELETE /invitations/{id}",
    "/members/invitations/{id}/again": "POST /invitations/{id}/mail",
    "/members/mail/remove": "DELETE /mail",
    "/members/{id}/reset/withdraw": "DELETE /members/{id}/reset",
    "/members/groups": "POST /groups",
    "/members/groups/{id}": "PUT /groups/{id}",
    "/members/groups/{id}/remove": "DELETE /groups/{id}",
    "/members/{id}/disable": "POST /members/{id}/disable",
    "/budgets": "POST /budgets",
    "/budgets/{id}": "PATCH /budgets/{id}",
    "/budgets/{id}/remove": "DELETE /budgets/{id}",
    "/box/checkup": "POST /box/checkup",
    "/box/backups": "POST /box/backups",
    "/box/backups/{name}/remove": "DELETE /box/backups/{name}",
    "/box/fix/{remedy}": "POST /box/remedies/{remedy}",
    "/box/upgrade/canary": "PUT /box/upgrade/canary",
    "/box/upgrade/again": "POST /box/upgrade/again",
    "/box/workspaces/{id}/start": "POST /workspaces/{id}/start",
    "/box/workspaces/{id}/stop": "POST /workspaces/{id}/stop",
    "/box/workspaces/{id}/restart": "POST /workspaces/{id}/restart",
    "/box/workspaces/{id}/resume": "POST /workspaces/{id}/resume",
    "/box/workspaces/{id}/settings": "PATCH /workspaces/{id}/settings",
    "/box/workspaces/{id}/internet": "POST /workspaces/{id}/internet/rules",
    "/box/workspaces/{id}/internet/answer": "POST /workspaces/{id}/internet/answers",
    "/box/workspaces/{id}/internet/lock": "POST /workspaces/{id}/internet/lock",
    "/box/workspaces/{id}/internet/rules/{rule}/remove": "DELETE /workspaces/{id}/internet/rules/{rule}",
}

ASKED_AND_THERE = {
    "/workspace/delete": "the files stay",
    "/workspace/files/reset": "the trash keeps the files for seven days",
    "/keys": "what a token makes ends with it",
    "/members/{id}/disable": "it shuts out, and lets nobody in",
    "/members/mail/remove": "it takes away, and opens nothing",
    "/box/backups/{name}/remove": "it takes away, and opens nothing",
    "/box/fix/{remedy}": "it puts right what was found, and opens nothing",
    "/models/backends/{id}/remove": "it takes away, and opens nothing",
    "/models/backends/{id}/keys/{key}/remove": "it takes away, and opens nothing",
}
"""What the dashboard asks a proof for although the API does it: the scope of the token was that proof."""


def test_every_form_is_in_the_api_or_left_out_for_a_reason() -> None:
    forms = {each.path for each in DASHBOARD if each.method == "POST"}
    assert forms == SAME.keys() | LEFT_OUT.keys()
    assert not SAME.keys() & LEFT_OUT.keys()


def test_every_change_of_the_api_is_one_of_the_dashboard() -> None:
    assert set(SAME.values()) == {f"{each.method} {each.path}" for each in OPERATIONS if each.method != "GET"}


def test_what_needs_a_proof_is_only_there_where_no_token_can_outgrow_itself_by_it() -> None:
    proven = {each.path for each in DASHBOARD if each.proof is not Proof.OLD_IS_ENOUGH}
    assert proven & SAME.keys() == ASKED_AND_THERE.keys()
