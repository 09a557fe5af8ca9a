"""A person's own page: what is signed in with, and where one is signed in.

Whoever changes something here has signed in within the last minutes, or does so first: a browser that somebody left
open is not enough.
"""

from __future__ import annotations

import time
from typing import Final
from urllib.parse import quote

from interlock.clock import SECOND
from interlock.errors import NotFound, UsageError
from interlock.issuer.enrolment import Enrolment
from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import HALF, Asked, Flow
from interlock.issuer.http import Request, Response, redirect
from interlock.issuer.levels import LEVELS, acr_of, proved_of
from interlock.issuer.means import Carried, Means
from interlock.issuer.sessions import Session, from_source
from interlock.issuer.signin import SignIn
from interlock.model import Event
from interlock.store.accounts import PASSKEY, TOTP

PATH: Final = "/oauth/account"
PURPOSE: Final = "account"
RECENT: Final = HALF
LAST: Final = "This is the last one, and one is required: add another first."
KINDS: Final = {TOTP: "Authenticator app", PASSKEY: "Passkey"}


class AccountPage:
    """`/oauth/account` and what is beneath it."""

    def __init__(self, means: Means, signin: SignIn, enrolment: Enrolment) -> None:
        self._means = means
        self._signin = signin
        self._enrolment = enrolment

    def handle(self, request: Request) -> Response:
        session = self._means.sessions.present(request)
        if session is None or LEVELS.get(session.acr, 0) < self._means.needed(Asked()):
            return self._signin.begin(request, Asked(go="account"))
        if request.path == PATH:
            return self._show(request, session) if request.method != "POST" else redirect(self._means.path(PATH))
        if request.path == f"{PATH}/link":
            return self._link(request, session)
        fields = self._means.forms.check(request, session.cookie, PURPOSE)
        match request.path.removeprefix(f"{PATH}/"):
            case "signout":
                cleared = self._means.sessions.end(request)
                return signed_out(self._means, (cleared,))
            case "end":
                return self._end(request, session, fields.get("session", ""))
            case "password":
                return self._set_up(request, session, Asked(go="account", password=True))
            case "totp" | "passkey" as kind:
                return self._set_up(request, session, Asked(go="account", enrol=kind))
            case "remove":
                return self._remove(request, session, fields.get("factor", ""))
            case "codes":
                return self._codes(request, session)
            case "withdraw":
                return self._withdraw(session, fields.get("client", ""))
            case "unlink":
                return self._unlink(request, session, fields.get("provider", ""))
            case _:
                raise OAuthError("invalid_request", "there is nothing here", status=404)

    def _show(self, request: Request, session: Session, error: str = "") -> Response:
        means, account = self._means, session.account
        factors = means.accounts.factors(account.id)
        removable = means.settings.second_factor != "required" or len(factors) > 1
        return means.pages.show(
            "account",
            "Your account",
            wide=True,
            status=400 if error else 200,
            error=error,
            form=self._carried(session),
            name=account.name,
            has_password=bool(account.password),
            changed=day(account.changed),
            factors=[
                {
                    "id": factor.id,
                    "kind": KINDS.get(factor.kind, factor.kind),
                    "created": day(factor.created),
                    "used": day(factor.used) if factor.used else "",
                    "removable": removable,
                }
                for factor in factors
            ],
            left=means.accounts.recovery_left(account.id),
            passkeys=means.party.usable,
            providers=[
                {"name": name, "title": one.settings.title, "linked": name in means.accounts.links(account.id)}
                for name, one in means.outside.items()
            ],
            applications=[
                {"id": client_id, "name": self._called(client_id), "since": day(since)}
                for client_id, since in means.clients.allowed_by(account.id, request.now)
            ],
            sessions=[
                {
                    "sid": row.sid,
                    "source": means.sessions.source(row) or "an unknown address",
                    "created": moment(row.created),
                    "here": row.sid == session.sid,
                }
                for row in means.sessions.living(request.now, account=account.id)
            ],
        )

    def _carried(self, session: Session) -> Carried:
        return Carried(self._means.forms.token(session.cookie, PURPOSE))

    # -- what is done

    def _end(self, request: Request, session: Session, sid: str) -> Response:
        """Sign out elsewhere: one's own sessions only."""
        own = {row.sid for row in self._means.sessions.living(request.now, account=session.account.id)}
        if sid in own and sid != session.sid:
            self._means.sessions.revoke_session(sid, "signed out from elsewhere", request.now)
        return redirect(self._means.path(PATH))

    def _withdraw(self, session: Session, client: str) -> Response:
        """Take back what was allowed to an application, as easily as it was allowed (GDPR article 7(3))."""
        if client:
            told = {"principal": session.principal, "client": client, "why": "taken back"}
            self._means.record.act(Event.GRANT_REVOKE, told)
            self._means.taken_back(session.account.id, "taken back", client)
        return redirect(self._means.path(PATH))

    def _called(self, client_id: str) -> str:
        try:
            return self._means.clients.get(client_id).client_name
        except NotFound:
            return client_id

    def _recent(self, request: Request, session: Session) -> bool:
        return 0 <= request.now - session.signed_in < RECENT

    def _set_up(self, request: Request, session: Session, asked: Asked) -> Response:
        """Begin a sign-in that ends with it; who has just signed in goes straight to its end."""
        flow = Flow(asked, request.now)
        proved = proved_of(session.amr)
        # What an outside provider has vouched for cannot be told from `amr`: who came through one does so again.
        if self._recent(request, session) and acr_of(proved) == session.acr:
            flow = Flow(
                asked,
                request.now,
                account=session.account.id,
                changed=session.account.changed,
                proved=proved,
                at=session.signed_in,
                session=session.sid,
            )
            return self._signin.start(request, flow)
        return self._first_sign_in(request, session, asked)

    def _first_sign_in(self, request: Request, session: Session, asked: Asked) -> Response:
        saying = "Please sign in again before you change this."
        asked = Asked(go=asked.go, hint=session.account.name, enrol=asked.enrol, password=asked.password)
        return self._signin.start(request, Flow(asked, request.now, saying=saying))

    def _remove(self, request: Request, session: Session, factor_id: str) -> Response:
        means, account = self._means, session.account
        if not self._recent(request, session):
            return self._first_sign_in(request, session, Asked(go="account"))
        factors = means.accounts.factors(account.id)
        found = next((factor for factor in factors if factor.id == factor_id), None)
        if found is None:
            return redirect(means.path(PATH))
        required = means.settings.second_factor == "required"
        if required and len(factors) == 1:
            return self._show(request, session, LAST)
        told = {"principal": account.principal, "factor": found.id, "kind": found.kind}
        means.record.act(Event.FACTOR_REMOVE, told | from_source(request.source))
        try:
            means.accounts.remove_factor(account.id, found.id, keep=1 if required else 0)
        except NotFound:
            pass
        except UsageError:  # the other one went in this moment
            return self._show(request, session, LAST)
        return redirect(means.path(PATH), (means.sessions.renew(request, session),))

    def _link(self, request: Request, session: Session) -> Response:
        """A link and no form, since browsers do not let a form lead to the provider; its token stands in the query."""
        self._means.forms.check_link(request, session.cookie, PURPOSE)
        if not self._recent(request, session):
            return self._first_sign_in(request, session, Asked(go="account"))
        flow = Flow(Asked(go="account"), request.now, link=session.account.id)
        return self._signin.start(request, flow, f"/oauth/signin/outside?provider={_quoted(request)}&")

    def _unlink(self, request: Request, session: Session, provider: str) -> Response:
        means, account = self._means, session.account
        if not self._recent(request, session):
            return self._first_sign_in(request, session, Asked(go="account"))
        if provider in means.accounts.links(account.id):
            told = {"principal": account.principal, "kind": "outside", "provider": provider}
            means.record.act(Event.FACTOR_REMOVE, told | from_source(request.source))
            means.accounts.unlink(account.id, provider)
        return redirect(means.path(PATH), (means.sessions.renew(request, session),))

    def _codes(self, request: Request, session: Session) -> Response:
        means = self._means
        if not self._recent(request, session):
            return self._first_sign_in(request, session, Asked(go="account"))
        if not means.accounts.factors(session.account.id):
            return redirect(means.path(PATH))
        return self._enrolment.show_codes(
            request, session.account, form=self._carried(session), action=means.path(PATH)
        )


def signed_out(means: Means, fields: tuple[tuple[str, str], ...]) -> Response:
    """The page that says so."""
    return means.pages.show(
        "said",
        "You are signed out",
        lines=["You can close this page."],
        again=means.path("/oauth/signin"),
        again_words="Sign in again",
        reference="",
        fields=fields,
    )


def _quoted(request: Request) -> str:
    return quote(request.parameters.get("provider", ""), safe="")


def day(now: int) -> str:
    """A date for people, in UTC."""
    return time.strftime("%-d %B %Y", time.gmtime(now // SECOND))


def moment(now: int) -> str:
    return time.strftime("%-d %B %Y, %H:%M UTC", time.gmtime(now // SECOND))
