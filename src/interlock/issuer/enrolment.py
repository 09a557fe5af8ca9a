"""Steps of a sign-in by which more is set up: a password of one's own, an authenticator app, a passkey.

The seed of an app that is not confirmed is in the page, sealed; nothing of it is kept before its code was right, and
that code is used up with it. With the first factor come recovery codes, shown once.
"""

from __future__ import annotations

import secrets
from typing import Final

from markupsafe import Markup
from msgspec.structs import replace

from interlock.errors import UsageError
from interlock.issuer import recovery, totp
from interlock.issuer.flows import Asked, Flow
from interlock.issuer.http import Request, Response
from interlock.issuer.levels import OTP, POP, PWD
from interlock.issuer.means import Answer, Means
from interlock.issuer.passwords import LEAST, LEAST_ALONE, PasswordUnfit, check
from interlock.issuer.sessions import from_source
from interlock.issuer.signin import CHANGED, SignIn, Step
from interlock.issuer.webauthn import PasskeyRefused
from interlock.model import Event
from interlock.store.accounts import PASSKEY, TOTP, Account, Factor

MOST: Final = {TOTP: 3, PASSKEY: 10}  # of one account
CODES_MADE: Final = "Your recovery codes"


class Enrolment:
    """Over the sign-in whose steps these are."""

    def __init__(self, means: Means, signin: SignIn) -> None:
        self._means = means
        self._signin = signin
        signin.set_up = self.show

    # -- invitations

    def invited(self, request: Request) -> Response:
        """`GET /oauth/signin/begin?code=`: somebody comes with the code that an operator handed out.

        Looking at it uses nothing up: programs that look at links in messages do so.
        """
        means = self._means
        code = means.key.hash("invitation", request.parameters.get("code", "").encode())
        account = means.accounts.invited(code, request.now)
        if account is None or not account.active:
            lines = ["This link was used already, or is too old. Ask whoever sent it to you for another."]
            return means.pages.show(
                "said",
                "This link is not good any more",
                status=400,
                lines=lines,
                again="",
                again_words="",
                reference="",
            )
        flow = Flow(Asked(go="account"), request.now, account=account.id, changed=account.changed, invitation=code)
        return self._signin.start(request, replace(flow, at=request.now))

    # -- the pages

    def show(
        self,
        request: Request,
        flow: Flow,
        account: Account,
        step: Step,
        wanted: frozenset[str],
        error: str = "",
        status: int = 200,
    ) -> Response:
        """The page of NEW_PASSWORD or ENROL."""
        if step is Step.NEW_PASSWORD:
            return self._show_password(request, flow, account, error, status)
        return self._show_factors(request, flow, account, wanted, error, status)

    def _show_password(self, request: Request, flow: Flow, account: Account, error: str, status: int) -> Response:
        least = LEAST_ALONE if self._alone(account) else LEAST
        return self._means.pages.show(
            "password",
            "Choose a password" if flow.invitation else "Choose another password",
            status=status,
            error=error,
            saying=flow.saying,
            targets=flow.asked.targets,
            form=self._signin.carried(request, flow),
            name=account.name,
            invited=bool(flow.invitation),
            asked=flow.asked.password,
            least=least,
        )

    def _show_factors(
        self, request: Request, flow: Flow, account: Account, wanted: frozenset[str], error: str, status: int
    ) -> Response:
        means = self._means
        options, picture, seed = "", "", ""
        if TOTP in wanted:
            flow = replace(flow, seed=flow.seed or totp.new_seed())
            picture = totp.qr_svg(totp.uri(flow.seed, means.settings.host, account.name))
            seed = totp.shown_seed(flow.seed)
        if PASSKEY in wanted and means.party.usable:
            flow = self._signin.challenged(request, flow)
            known = means.passkeys(means.accounts.factors(account.id))
            options = means.party.creation(account.id, account.name, flow.challenge, known)
        return means.pages.show(
            "enrol",
            {TOTP: "Set up an authenticator app", PASSKEY: "Set up a passkey"}.get(
                "".join(wanted), "Set up a second step"
            ),
            status=status,
            error=error,
            saying=flow.saying,
            targets=flow.asked.targets,
            script=bool(options),
            form=self._signin.carried(request, flow),
            options=options,
            qr=Markup(picture),  # noqa: S704  # made by us of a URI that is encoded
            seed=seed,
            demanded=not flow.asked.enrol,
        )

    # -- another password

    def new_password(self, request: Request) -> Answer:
        """`POST /oauth/signin/new`."""
        fields, flow = self._signin.posted(request)
        found = self._signin.at(request, flow, Step.NEW_PASSWORD)
        if isinstance(found, Response):
            return found
        account, _ = found
        password = fields.get("password", "")
        if password != fields.get("again", ""):
            return self._signin.show(request, flow, "The two are not the same.", 400)
        try:
            made = check(password, account.name, alone=self._alone(account))
        except PasswordUnfit as unfit:
            return self._signin.show(request, flow, str(unfit), 400)
        return self._signin.in_pool(request, flow, lambda: self._choose(request, flow, account, made))

    def _choose(self, request: Request, flow: Flow, account: Account, password: str) -> Response:
        means = self._means
        if means.hasher.verify(means.open_password(account), password):
            return self._signin.show(request, flow, "This is the one you have already.", 400)
        sealed = means.seal_password(account.id, means.hasher.hash(password))
        told = {"principal": account.principal, "invited": bool(flow.invitation)} | from_source(request.source)
        act = means.record.act(Event.USER_PASSWORD, told)
        done = means.accounts.choose_password(
            account, sealed, means.key.id, request.now, invitation=flow.invitation, act=act
        )
        if not done:
            return self._signin.again(request, flow, CHANGED)
        # Whoever was signed in with the former one is not any more, and what they allowed goes with them.
        means.sessions.revoke_account(account.id, "another password", request.now)
        means.taken_back(account.id, "another password")
        changed = means.accounts.get(account.id).changed
        proved = (*(one for one in flow.proved if one != PWD), PWD)
        flow = replace(flow, changed=changed, proved=proved, invitation=b"", chosen=True, session="")
        return self._signin.go_on(request, flow)

    def _alone(self, account: Account) -> bool:
        """Whether nothing but the password may be asked for."""
        means = self._means
        return means.settings.second_factor != "required" and not means.accounts.factors(account.id)

    # -- factors

    def app(self, request: Request) -> Response:
        """`POST /oauth/signin/totp`: the code of a new authenticator app."""
        fields, flow = self._signin.posted(request)
        found = self._signin.at(request, flow, Step.ENROL)
        if isinstance(found, Response):
            return found
        account, _ = found
        step = totp.matching_step(flow.seed, fields.get("code", ""), request.now, 0) if flow.seed else None
        if step is None:
            error = "This code is not right. Look at the time on your device, and type in the next code."
            return self._signin.show(request, flow, error, 400)
        return self._add(request, flow, account, TOTP, flow.seed, step)

    def passkey(self, request: Request) -> Response:
        """`POST /oauth/signin/passkey/new`."""
        fields, flow = self._signin.posted(request)
        found = self._signin.at(request, flow, Step.ENROL)
        if isinstance(found, Response):
            return found
        account, _ = found
        try:
            self._signin.check_challenge(request, flow)
            made, count = self._means.party.created(fields.get("credential", ""), flow.challenge)
            self._signin.spend_challenge(flow)
        except PasskeyRefused as refused:
            why = {"why": f"new passkey: {refused}"[:300], "principal": account.principal}
            self._means.record.note(Event.SIGNIN_FAILED, why)
            return self._signin.show(request, flow, "This did not work. Try again, or with another device.", 400)
        return self._add(request, flow, account, PASSKEY, made.encode(), count, credential=made.credential)

    def _add(
        self,
        request: Request,
        flow: Flow,
        account: Account,
        kind: str,
        secret: bytes,
        step: int,
        *,
        credential: bytes = b"",
    ) -> Response:
        means = self._means
        factor_id = secrets.token_hex(8)
        factor = Factor(
            id=factor_id,
            account=account.id,
            kind=kind,
            label=kind,
            created=request.now,
            key=means.key.id,
            sealed=means.seal_factor(account.id, factor_id, kind, secret),
            lookup=means.key.hash("credential", credential)
            if credential
            else means.key.hash("factor", factor_id.encode()),
            step=step,
        )
        told = {"principal": account.principal, "factor": factor_id, "kind": kind} | from_source(request.source)
        means.record.act(Event.FACTOR_ADD, told)
        try:
            means.accounts.add_factor(factor, most=MOST[kind])
        except UsageError as problem:
            return self._signin.show(request, flow, f"This was not added: {problem}.", 400)
        proof = POP if kind == PASSKEY else OTP
        done = replace(flow, proved=(*flow.proved, proof), seed=b"", challenge=b"", enrolled=True)
        if means.accounts.recovery_left(account.id):
            return self._signin.go_on(request, done)
        return self.show_codes(
            request,
            account,
            form=self._signin.carried(request, done),
            action=means.path("/oauth/signin/done"),
            targets=flow.asked.targets,
        )

    def show_codes(self, request: Request, account: Account, **shown: object) -> Response:
        """New recovery codes in place of all there were, on the only page that ever shows them."""
        means = self._means
        codes = recovery.make()
        means.record.act(Event.FACTOR_RECOVERY, {"principal": account.principal, "made": len(codes)})
        hashes = [recovery.hashed(means.key, account.id, code) for code in codes]
        means.accounts.set_recovery(account.id, [one for one in hashes if one is not None], request.now)
        return means.pages.show("codes", CODES_MADE, wide=True, codes=codes, **shown)  # type: ignore[arg-type]

    def kept(self, request: Request) -> Response:
        """`POST /oauth/signin/done`: the recovery codes were kept."""
        _, flow = self._signin.posted(request)
        if flow.over(request.now):
            return self._signin.again(request, flow, "")
        return self._signin.go_on(request, flow)
