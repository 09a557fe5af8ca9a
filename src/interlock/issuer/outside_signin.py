"""The steps of a sign-in that lead to an outside provider and back; what is said to it is in `outside.py`.

It may also be that somebody who is signed in links the account to the provider (`Flow.link`): then the one who comes
back has to be signed in still, as the same person.
"""

from __future__ import annotations

from typing import Final

from msgspec.structs import replace

from interlock.errors import UsageError
from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import FIELD, HALF, Flow
from interlock.issuer.http import Request, Response, redirect
from interlock.issuer.levels import OUTSIDE, OUTSIDE_MFA
from interlock.issuer.means import Answer, Means
from interlock.issuer.outside import CALLBACK, Attempt, OutsideRefused, Provider, Subject, new_attempt
from interlock.issuer.sessions import from_source
from interlock.issuer.signin import TOO_LONG, SignIn
from interlock.model import Event

START: Final = "/oauth/signin/outside"
ACCOUNT: Final = "/oauth/account"


class OutsideSignIn:
    """`START` and `CALLBACK`."""

    def __init__(self, means: Means, signin: SignIn) -> None:
        self._means = means
        self._signin = signin

    def start(self, request: Request) -> Answer:
        """Off to the provider."""
        cookie = self._signin.cookie(request)
        flow = self._signin.opened(request.parameters.get(FIELD, ""), cookie)
        provider = self._provider(request.parameters.get("provider", ""))
        if flow.over(request.now) or flow.account:
            return self._signin.again(request, flow, TOO_LONG if flow.over(request.now) else "")
        started = new_attempt(provider.name, request.now)
        state = self._means.flows.seal(replace(flow, attempt=started, saying="", challenge=b""), cookie)

        def work() -> Response:
            try:
                where = provider.authorization_url(started, state, request.now, again=flow.asked.login)
            except OutsideRefused as refused:
                return self._refused(request, flow, provider, str(refused))
            return redirect(where)

        return self._signin.in_pool(request, flow, work, self._means.waiting)

    def come_back(self, request: Request) -> Answer:
        """The browser comes back from the provider."""
        # 1.
        flow = self._signin.opened(request.parameters.get("state", ""), self._signin.cookie(request))
        started = flow.attempt
        if started is None or request.parameters.get("provider", "") != started.provider:
            raise OAuthError("invalid_request", "this is not the answer that was expected", note="outside state")
        provider = self._provider(started.provider)
        flow = replace(flow, attempt=None)
        if flow.over(request.now) or not 0 <= request.now - started.at < HALF:
            return self._signin.again(request, flow, TOO_LONG)

        def work() -> Response:
            try:
                # 2. - 4.
                subject = provider.subject(started, request.parameters, request.now)
                self._spend(started)
            except OutsideRefused as refused:
                return self._refused(request, flow, provider, str(refused))
            # 5.
            return (self._link if flow.link else self._sign_in)(request, flow, provider, subject)

        return self._signin.in_pool(request, flow, work, self._means.waiting)

    def _spend(self, started: Attempt) -> None:
        spent = self._means.key.hash("outside attempt", started.nonce.encode())
        if not self._means.signins.spend(spent, started.at + HALF):
            raise OutsideRefused("this answer was used before")

    def _provider(self, name: str) -> Provider:
        provider = self._means.outside.get(name)
        if provider is None:
            raise OAuthError("invalid_request", "this provider is not known here", status=404)
        return provider

    def _sign_in(self, request: Request, flow: Flow, provider: Provider, subject: Subject) -> Response:
        means = self._means
        account = means.accounts.linked(means.key.hash("outside", subject.key))
        if account is None or not account.active:
            means.failed(request, f"outside: nobody is linked at {provider.name}", account, frozenset())
            error = (
                f"No account here is linked to yours at {provider.settings.title}. "
                "Sign in with your password, and link it on the page of your account."
            )
            return self._signin.show(request, flow, error, 400)
        proved = OUTSIDE_MFA if subject.mfa else OUTSIDE
        return self._signin.go_on(
            request,
            replace(flow, account=account.id, changed=account.changed, proved=(proved,), at=request.now),
        )

    def _link(self, request: Request, flow: Flow, provider: Provider, subject: Subject) -> Response:
        means = self._means
        session = means.sessions.present(request)
        if session is None or session.account.id != flow.link or not 0 <= request.now - session.signed_in < 2 * HALF:
            return self._signin.again(request, replace(flow, link=""), TOO_LONG)
        account = session.account
        told = {"principal": account.principal, "kind": "outside", "provider": provider.name}
        means.record.act(Event.FACTOR_ADD, told | from_source(request.source))
        try:
            means.accounts.link(account.id, provider.name, means.key.hash("outside", subject.key), request.now)
        except UsageError:  # linked already, to this person or to another: which is nobody's business
            pass
        return redirect(means.path(ACCOUNT), (means.sessions.renew(request, session),))

    def _refused(self, request: Request, flow: Flow, provider: Provider, why: str) -> Response:
        told = {"why": f"outside {provider.name}: {why}"[:300], "known": False} | from_source(request.source)
        self._means.record.note(Event.SIGNIN_FAILED, told)
        if flow.link:
            return self._means.pages.show(
                "said",
                "This did not work",
                status=400,
                lines=[f"Your account was not linked to {provider.settings.title}."],
                again=self._means.path(ACCOUNT),
                again_words="Back to your account",
                reference="",
            )
        error = f"Signing in with {provider.settings.title} did not work. Try again, or sign in another way."
        return self._signin.show(request, flow, error, 400)


__all__ = ["CALLBACK", "START", "OutsideSignIn"]
