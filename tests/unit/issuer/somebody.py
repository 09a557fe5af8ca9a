"""Somebody who signs in, in as few words as the endpoints need; the real thing has tests of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from interlock.issuer.authorization_request import AuthorizationRequest
from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import Asked
from interlock.issuer.http import Request, Response, html_response, redirect
from interlock.issuer.levels import ACR, asked_level
from interlock.issuer.sessions import Session
from interlock.store.accounts import Account
from interlock.store.clients import Client, Grant


class FakePeople:
    """One person, Alice; `signed_in` says how and when, None: she is not."""

    acr_values = tuple(ACR.values())

    def __init__(self) -> None:
        self.account = Account("usr-alice", "alice", ("teller",), 0, "k")
        self.signed_in: Session | None = None
        self.may = True  # sign in
        self.asked: list[Asked] = []
        self.said = ""
        self.signs_of_life = 0

    def sign_in_now(self, now: int, proved: tuple[str, ...] = ("pwd",), sid: str = "sid-1") -> Session:
        from interlock.issuer.levels import acr_of, amr_of

        self.signed_in = Session(sid, self.account, now, now + 10**15, now, amr_of(proved), acr_of(proved), "cookie")
        return self.signed_in

    def session(self, request: Request) -> Session | None:
        return self.signed_in if request.headers.get("cookie") == "session=alice" else None

    def meets(self, session: Session, asked: Asked, now: int) -> bool:
        if asked.login and session.signed_in < asked.since:
            return False
        if asked.max_age is not None and now - session.signed_in > asked.max_age * 10**9:
            return False
        levels = {acr: level for level, acr in ACR.items()}
        return levels.get(session.acr, 0) >= asked_level(asked.acr_values)

    def sign_in(self, request: Request, asked: Asked) -> Response:
        self.asked.append(asked)
        return redirect("/oauth/signin")

    def ask_consent(
        self,
        request: Request,
        session: Session,
        flow: str,
        client: Client,
        scopes: Sequence[tuple[str, str]],
        asked: AuthorizationRequest,
        *,
        action: str = "/oauth/authorize/consent",
        saying: str = "",
    ) -> Response:
        self.said = f"{action} {saying}"
        return html_response(f"consent {flow} {client.client_name} {' '.join(name for name, _ in scopes)}")

    def consented(self, request: Request, session: Session) -> tuple[str, bool]:
        if request.form.get("csrf") != session.cookie:
            raise OAuthError("access_denied", "forged", status=403)
        return request.form["flow"], request.form.get("decision") == "allow"

    def ask_device(
        self, request: Request, session: Session, action: str, *, code: str = "", error: str = ""
    ) -> Response:
        return html_response(f"device {action} {error}")

    def device_code(self, request: Request, session: Session) -> str:
        if request.form.get("csrf") != session.cookie:
            raise OAuthError("access_denied", "forged", status=403)
        return request.form.get("user_code", "")

    def say(self, title: str, line: str) -> Response:
        return html_response(f"{title}: {line}")

    def problem(self, request: Request, problem: OAuthError) -> Response:
        return html_response(problem.description, problem.status)

    def sign_out(self, request: Request) -> tuple[str, str]:
        self.signed_in = None
        return ("set-cookie", "session=; Max-Age=0")

    def signed_out(self, request: Request, fields: Sequence[tuple[str, str]]) -> Response:
        return html_response("signed out", 200, fields)

    def ask_sign_out(self, request: Request, session: Session, where: str) -> Response:
        return html_response("sign out?")

    def sign_out_confirmed(self, request: Request) -> str:
        return request.form.get("where", "")

    def profile(self, subject: str, scopes: frozenset[str]) -> dict[str, Any] | None:
        return {"preferred_username": "alice"} if subject == self.account.id and self.may else None

    def stands(self, grant: Grant, now: int, *, alive: bool = True) -> bool:
        self.signs_of_life += alive
        return self.may and (grant.offline or (self.signed_in is not None and self.signed_in.sid == grant.session))

    def claims(self, grant: Grant) -> dict[str, Any]:
        return {}
