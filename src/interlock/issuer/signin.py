"""Signing in: from the first page to a session.

    step            shown when                                              proved by its form
    PASSWORD        nobody is known yet                                     name and password, or a passkey alone
    FACTOR          a second factor is enrolled and was not proved          code, recovery code or passkey
    NEW_PASSWORD    invited; the password is not to be used any longer;     another password
                    or the account's page asked for it
    ENROL           more is needed than was proved and can be;              a code of the new app, or a new passkey
                    or the account's page asked for it
    DONE            otherwise                                               -> session, and on to where it was asked for

Which step it is follows from what was proved (`next_step`), never from which form is sent: a form that is not of the
present step is answered with the page of the present one. After each step all is looked at anew: an account that was
disabled meanwhile, or whose password was changed, begins again.

Whoever fails is told the same, whatever it was: no such name, another password, a locked or a disabled account; and
it takes the same work (`_try`).
"""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from enum import Enum
from urllib.parse import quote

from msgspec.structs import replace

from interlock.addresses import NETWORK, block
from interlock.errors import InterlockError, NotAllowed, NotFound
from interlock.issuer import devices
from interlock.issuer.cookies import DEVICE, SIGNIN, new_secret
from interlock.issuer.errors import OAuthError
from interlock.issuer.flows import CHALLENGE, FIELD, GOES, Asked, Flow
from interlock.issuer.http import Request, Response, redirect
from interlock.issuer.levels import OTP, POP, PWD, RECOVERY, RESISTANT, SECOND, TWO, level_of
from interlock.issuer.lockout import WINDOW
from interlock.issuer.means import Answer, Carried, Means, kinds
from interlock.issuer.names import canonical, spelling
from interlock.issuer.passwords import Busy, Pool, prepared
from interlock.issuer.recovery import hashed
from interlock.issuer.totp import matching_step
from interlock.issuer.webauthn import Passkey, PasskeyRefused
from interlock.model import Event
from interlock.store.accounts import PASSKEY, TOTP, Account, Factor

log = logging.getLogger("interlock.issuer")

PURPOSE = "signin"  # of its forms
WRONG = (
    "That did not work. Look at the name and the password again. After ten failures an account rests for half an hour."
)
WRONG_CODE = "This code is not right, or was used already. Wait for the next one."
RESTS = "There were too many attempts. Wait half an hour, then sign in again."
RESTS_HERE = "There were too many attempts from your network. Wait half an hour, then sign in again."
RETRY_LATE = ("retry-after", str(WINDOW // 10**9))
TOO_LONG = "That took too long. Please sign in again."
CHANGED = "Something about your account has changed. Please sign in again."
BUSY = "Many people are signing in at the moment. Try again in a few seconds."


class Step(Enum):
    PASSWORD = "password"  # noqa: S105  # the name of a step
    FACTOR = "factor"
    NEW_PASSWORD = "new password"  # noqa: S105
    ENROL = "enrol"
    DONE = "done"


def next_step(flow: Flow, account: Account | None, factors: list[Factor], needed: int) -> tuple[Step, frozenset[str]]:
    """The present step, and, of ENROL and FACTOR, which kinds of factor would do."""
    have = kinds(factors)
    level = level_of(flow.proved)
    if account is None or not (flow.proved or flow.invitation):
        return Step.PASSWORD, frozenset()
    if have and not SECOND & set(flow.proved):
        return Step.FACTOR, have
    if flow.invitation or (account.must_change and PWD in flow.proved) or (flow.asked.password and not flow.chosen):
        return Step.NEW_PASSWORD, frozenset()
    if level < needed:
        if PASSKEY in have and level >= TWO:
            return Step.FACTOR, frozenset({PASSKEY})
        return Step.ENROL, frozenset({PASSKEY} if needed == RESISTANT else {TOTP, PASSKEY})
    if flow.asked.enrol and not flow.enrolled:
        return Step.ENROL, frozenset({flow.asked.enrol})
    return Step.DONE, frozenset()


class SignIn:
    """The steps by which somebody proves who it is; those by which more is set up are in `enrolment.py`."""

    def __init__(self, means: Means) -> None:
        self._means = means
        # Set by who puts the two together: the pages of NEW_PASSWORD and ENROL.
        self.set_up: Callable[[Request, Flow, Account, Step, frozenset[str], str, int], Response]

    # -- the way in and out

    def begin(self, request: Request, asked: Asked) -> Response:
        """Have somebody sign in. The browser comes back to `GOES[asked.go]` with a session that is as asked for."""
        if asked.go not in GOES:
            raise ValueError(f"{asked.go!r} is nowhere to go on")
        asked = replace(asked, client=asked.client[:100], hint=asked.hint[:128])
        return self.start(request, Flow(asked, request.now))

    def start(self, request: Request, flow: Flow, path: str = "/oauth/signin?") -> Response:
        """To the first page; the browser is given its cookie if it has none."""
        cookies = self._means.cookies
        cookie = cookies.get(request, SIGNIN)
        if cookie:
            return self._on(flow, cookie, path)
        cookie = new_secret()
        return self._on(flow, cookie, path).with_fields(cookies.set(SIGNIN, cookie))

    def _on(self, flow: Flow, cookie: str, path: str = "/oauth/signin?") -> Response:
        return redirect(self._means.path(f"{path}{FIELD}={self._means.flows.seal(flow, cookie)}"))

    def go_on(self, request: Request, flow: Flow) -> Response:
        """After a step: to the page of the next one, or out."""
        account, factors = self.whose(flow)
        step, _ = next_step(flow, account, factors, self._means.needed(flow.asked))
        if step is Step.DONE and account is not None:
            return self._finish(request, flow, account)
        return self._on(flow, self.cookie(request))

    def _finish(self, request: Request, flow: Flow, account: Account) -> Response:
        means, asked = self._means, flow.asked
        device = devices.known(means.key, account, means.cookies.get(request, DEVICE))
        try:
            _, field = means.sessions.begin(request, account, flow.proved)
        except NotAllowed:
            return self.again(request, flow, CHANGED)
        means.lockout.clear(account.id, device)
        where = means.path(GOES[asked.go]) + (f"?flow={quote(asked.flow, safe='')}" if asked.flow else "")
        # With the cookie of the sign-in go all pages of it: none of them is good for another one.
        fields = [field, means.cookies.clear(SIGNIN)]
        if not device:
            fields.append(means.cookies.set(DEVICE, devices.make(means.key, account), seconds=devices.SECONDS))
        return redirect(where, fields)

    # -- what a request brings along

    def cookie(self, request: Request) -> str:
        return self._means.cookies.get(request, SIGNIN)

    def posted(self, request: Request) -> tuple[dict[str, str], Flow]:
        """The fields of a form of ours, and where its sender is; raises `OAuthError`."""
        cookie = self.cookie(request)
        if not cookie:
            raise OAuthError(
                "access_denied", "your browser did not send the cookie of this sign-in: allow cookies", status=403
            )
        fields = self._means.forms.check(request, cookie, PURPOSE)
        return fields, self.opened(fields.get(FIELD, ""), cookie)

    def opened(self, text: str, cookie: str) -> Flow:
        flow = self._means.flows.open(text, cookie)
        if flow is None:
            raise OAuthError(
                "invalid_request",
                "this page is from an earlier sign-in, or from another browser: go back to the application",
                note="sign-in page",
            )
        return flow

    def whose(self, flow: Flow) -> tuple[Account | None, list[Factor]]:
        """The account of the flow, if it is still as it was when it was proved."""
        means = self._means
        if not flow.account:
            return None, []
        if flow.session:
            row = means.signins.session_of(flow.session)
            if row is None or row.revoked:
                return None, []
        try:
            account = means.accounts.get(flow.account)
        except NotFound:
            return None, []
        if not account.active or account.changed != flow.changed:
            return None, []
        return account, means.accounts.factors(account.id)

    def at(self, request: Request, flow: Flow, *steps: Step) -> tuple[Account, list[Factor]] | Response:
        """The account, if the flow is at one of these steps; otherwise the answer that says where it is."""
        if flow.over(request.now):
            return self.again(request, flow, TOO_LONG)
        account, factors = self.whose(flow)
        if account is None:
            return self.again(request, flow, CHANGED)
        step, _ = next_step(flow, account, factors, self._means.needed(flow.asked))
        return (account, factors) if step in steps else self.go_on(request, flow)

    def again(self, request: Request, flow: Flow, saying: str) -> Response:
        """From the beginning."""
        return self.start(request, Flow(flow.asked, request.now, saying=saying))

    # -- the pages

    def page(self, request: Request) -> Response:
        """`GET /oauth/signin`: the page of the present step."""
        if FIELD not in request.parameters:
            return self.begin(request, Asked(go="account"))
        flow = self.opened(request.parameters[FIELD], self.cookie(request))
        if flow.over(request.now):
            return self.again(request, flow, TOO_LONG)
        return self.show(request, flow)

    def show(self, request: Request, flow: Flow, error: str = "", status: int = 200) -> Response:
        account, factors = self.whose(flow)
        if account is None and flow.account:
            return self.again(request, flow, CHANGED)
        step, wanted = next_step(flow, account, factors, self._means.needed(flow.asked))
        if account is None:
            return self._show_first(request, flow, error, status)
        if step is Step.FACTOR:
            return self._show_factor(request, flow, account, factors, wanted, error, status)
        if step is Step.DONE:
            return self.go_on(request, flow)
        return self.set_up(request, flow, account, step, wanted, error, status)

    def carried(self, request: Request, flow: Flow) -> Carried:
        """What the form of a page carries. What is said once is not carried on."""
        cookie = self.cookie(request)
        sealed = self._means.flows.seal(replace(flow, saying=""), cookie)
        return Carried(self._means.forms.token(cookie, PURPOSE), sealed)

    def challenged(self, request: Request, flow: Flow) -> Flow:
        """With a challenge for a passkey, good for a while and once."""
        return replace(flow, challenge=secrets.token_bytes(32), challenged=request.now)

    def _show_first(self, request: Request, flow: Flow, error: str, status: int) -> Response:
        means, asked = self._means, flow.asked
        options = ""
        if means.party.usable:
            flow = self.challenged(request, flow)
            options = means.party.request(flow.challenge, [])
        return means.pages.show(
            "signin",
            "Sign in",
            status=status,
            error=error,
            saying=flow.saying,
            targets=asked.targets,
            script=bool(options),
            form=self.carried(request, flow),
            client=asked.client,
            name=asked.hint,
            options=options,
            providers=[{"name": name, "title": one.settings.title} for name, one in means.outside.items()],
        )

    def _show_factor(
        self,
        request: Request,
        flow: Flow,
        account: Account,
        factors: list[Factor],
        wanted: frozenset[str],
        error: str,
        status: int,
    ) -> Response:
        means, options = self._means, ""
        if PASSKEY in wanted and means.party.usable:
            flow = self.challenged(request, flow)
            options = means.party.request(flow.challenge, means.passkeys(factors))
        return means.pages.show(
            "factor",
            "One more step",
            status=status,
            error=error,
            saying=flow.saying,
            targets=flow.asked.targets,
            script=bool(options),
            form=self.carried(request, flow),
            name=account.name,
            options=options,
            totp=TOTP in wanted,
            recovery=wanted == kinds(factors) and means.accounts.recovery_left(account.id) > 0,
        )

    # -- name and password

    def password(self, request: Request) -> Answer:
        """`POST /oauth/signin/password`."""
        fields, flow = self.posted(request)
        if flow.over(request.now) or flow.account:
            return self.again(request, flow, TOO_LONG if flow.over(request.now) else "")
        typed = fields.get("name", "")
        flow = replace(flow, asked=replace(flow.asked, hint=typed[:128]))
        locked = self._means.lockout.address_locked(request.source, request.now)
        if locked and not self._means.cookies.get(request, DEVICE):  # says nothing of any account, and costs nothing
            return self.show(request, flow, RESTS_HERE, 429).with_fields(RETRY_LATE)
        return self.in_pool(request, flow, lambda: self._try(request, flow, typed, fields.get("password", "")))

    def in_pool(self, request: Request, flow: Flow, work: Callable[[], Response], pool: Pool | None = None) -> Answer:
        """What takes a password's time, away from everything else; or, in another `pool`, what waits for others."""

        def guarded() -> Response:
            try:
                return work()
            except InterlockError as problem:
                log.error("%s: %s", request.path, problem)
                return self.unavailable()

        try:
            return (pool or self._means.pool).submit(block(request.source, NETWORK), guarded)
        except Busy:
            return self.show(request, flow, BUSY, 503).with_fields(("retry-after", "5"))

    def unavailable(self) -> Response:
        """Something of ours does not work; it is in the log."""
        lines = ["This does not work at the moment. Try again in a little while."]
        return self._means.pages.show(
            "said", "Not now", status=503, lines=lines, again="", again_words="", reference=""
        ).with_fields(("retry-after", "5"))

    def _try(self, request: Request, flow: Flow, typed: str, password: str) -> Response:
        """One name and password. Whoever they are of, the same is looked up, hashed, counted and recorded."""
        means, now = self._means, request.now
        account = means.accounts.find(canonical(typed) or "")
        device = devices.known(means.key, account or _NOBODY, means.cookies.get(request, DEVICE))
        attempt = means.lockout.attempt(
            account=account.id if account is not None else "",
            name=spelling(typed),
            source=request.source,
            now=now,
            device=device if account is not None else b"",
        )
        made = prepared(password)
        held = means.hasher.verify(means.open_password(account if made is not None else None), made or "")
        if not (held and attempt.allowed and account is not None and account.active):
            if attempt.allowed:
                why = "password" if not held else "disabled"
                means.failed(request, why, account, attempt.reached)
            return self.show(request, flow, WRONG, 400)
        means.lockout.took_back(attempt, now)
        self._keep_up(account, made or "")
        return self.go_on(request, replace(flow, account=account.id, changed=account.changed, proved=(PWD,), at=now))

    def _keep_up(self, account: Account, password: str) -> None:
        """Hash anew what was hashed with less than today."""
        means = self._means
        if means.hasher.outdated(means.open_password(account)):
            sealed = means.seal_password(account.id, means.hasher.hash(password))
            means.accounts.rehash(account, sealed, means.key.id)

    # -- the second factor

    def code(self, request: Request) -> Response:
        """`POST /oauth/signin/code`: of an authenticator app."""
        fields, flow = self.posted(request)
        typed = fields.get("code", "")

        def proves(account: Account, factors: list[Factor]) -> str:
            for factor in factors:
                if factor.kind != TOTP:
                    continue
                step = matching_step(self._means.open_factor(factor), typed, request.now, factor.step)
                if step is not None and self._means.accounts.take_step(factor.id, step, request.now):
                    return OTP
            return ""

        return self._second(request, flow, "code", proves)

    def recovery(self, request: Request) -> Response:
        """`POST /oauth/signin/recovery`: one of the codes that were kept for this."""
        fields, flow = self.posted(request)
        means = self._means

        def proves(account: Account, factors: list[Factor]) -> str:
            code = hashed(means.key, account.id, fields.get("code", ""))
            if code is None or not means.accounts.take_recovery(account.id, code):
                return ""
            left = means.accounts.recovery_left(account.id)
            means.record.act(Event.FACTOR_RECOVERY, {"principal": account.principal, "used": 1, "left": left})
            return RECOVERY

        return self._second(request, flow, "recovery code", proves)

    def _second(
        self, request: Request, flow: Flow, what: str, proves: Callable[[Account, list[Factor]], str]
    ) -> Response:
        """Counted before it is tried, like a password; `proves` says what was proved, or nothing."""
        means, now = self._means, request.now
        found = self.at(request, flow, Step.FACTOR)
        if isinstance(found, Response):
            return found
        account, factors = found
        device = devices.known(means.key, account, means.cookies.get(request, DEVICE))
        attempt = means.lockout.attempt(account=account.id, name="", source=request.source, now=now, device=device)
        if not attempt.allowed:
            return self.show(request, flow, RESTS, 429).with_fields(RETRY_LATE)
        proved = proves(account, factors)
        if not proved:
            means.failed(request, what, account, attempt.reached)
            return self.show(request, flow, WRONG_CODE, 400)
        means.lockout.took_back(attempt, now)
        return self.go_on(request, replace(flow, proved=(*flow.proved, proved)))

    # -- passkeys

    def passkey(self, request: Request) -> Response:
        """`POST /oauth/signin/passkey`: in place of name and password, or as the second factor."""
        fields, flow = self.posted(request)
        if flow.account:
            found = self.at(request, flow, Step.FACTOR)
            if isinstance(found, Response):
                return found
        elif flow.over(request.now):
            return self.again(request, flow, TOO_LONG)
        try:
            account = self._asserted(request, flow, fields.get("credential", ""))
        except PasskeyRefused as refused:
            return self._passkey_failed(request, flow, str(refused))
        proved = (*flow.proved, POP) if flow.account else (POP,)
        return self.go_on(
            request,
            replace(flow, account=account.id, changed=account.changed, proved=proved, at=flow.at or request.now),
        )

    def _asserted(self, request: Request, flow: Flow, text: str) -> Account:
        """Whose passkey this is; raises `PasskeyRefused`. In the order of WebAuthn Level 3 section 7.2."""
        means = self._means
        # 5., 6.: which credential, and whose
        presented = means.party.presented(text)
        factor = means.accounts.factor_by(means.key.hash("credential", presented.credential))
        if factor is None or (flow.account and factor.account != flow.account):
            raise PasskeyRefused("the passkey is not known")
        if presented.user != factor.account.encode() and (presented.user is not None or not flow.account):
            raise PasskeyRefused("the passkey names another account")
        # 10. - 21.
        self.check_challenge(request, flow)
        passkey = Passkey.decode(means.open_factor(factor))
        count = means.party.asserted(presented, flow.challenge, passkey)
        self.spend_challenge(flow)
        account = means.accounts.get(factor.account)
        if not account.active:
            raise PasskeyRefused("the account is disabled")
        # 22.: a counter that does not go on may mean a copy, and may mean nothing
        if (count or factor.step) and count <= factor.step:
            told = {"principal": account.principal, "factor": factor.id, "counter": count, "last": factor.step}
            means.record.act(Event.FACTOR_SUSPECT, told)
        means.accounts.note_use(factor.id, count, request.now)
        return account

    def check_challenge(self, request: Request, flow: Flow) -> None:
        if not flow.challenge or not 0 <= request.now - flow.challenged < CHALLENGE:
            raise PasskeyRefused("the challenge is too old")

    def spend_challenge(self, flow: Flow) -> None:
        """Only of what has verified: nobody fills a table with what does not."""
        spent = self._means.key.hash("challenge", flow.challenge)
        if not self._means.signins.spend(spent, flow.challenged + CHALLENGE):
            raise PasskeyRefused("the challenge was answered before")

    def _passkey_failed(self, request: Request, flow: Flow, why: str) -> Response:
        """Nothing to count: a signature is not guessed."""
        self._means.record.note(Event.SIGNIN_FAILED, {"why": f"passkey: {why}"[:300], "known": bool(flow.account)})
        return self.show(request, flow, "This passkey was not accepted. Try again, or sign in another way.", 400)


_NOBODY = Account("", "", (), 0, "")
