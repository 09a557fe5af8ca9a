"""The tour's lines: what is claimed, and how it is seen to hold. Every line is a real call or command."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from interlock.cli.tour.own import Program
from interlock.cli.tour.scene import Scene
from interlock.cli.tour.upstream import Upstream


@dataclass(frozen=True)
class Line:
    """One claim and what was seen."""

    claim: str
    expected: str
    seen: str
    seconds: float

    @property
    def holds(self) -> bool:
        return self.seen == self.expected


def walk(scene: Scene, upstream: Upstream) -> Iterator[Line]:
    """Show everything, one line after another. The node of `scene` is stopped on the way."""
    issuer, partner = scene.issuer, scene.partner
    made = scene.key("tour", "reader")
    key = str(made["key"])

    yield _line("a call without a credential", "401", lambda: scene.call("/orders"))
    yield _line("a call with an API key", "200", lambda: scene.call("/orders", key=key))
    yield _line("a call with a token of an outside issuer", "200", lambda: scene.call("/orders", token=issuer.token()))
    past = int(time.time()) - 7200
    for claim, token in (
        ("an expired token", issuer.token(iat=past, exp=past + 60)),
        ("a token for another audience", issuer.token(aud="payroll")),
        ("a token of another issuer", issuer.token(iss="https://login.evil.example")),
        ("a token altered after signing", issuer.token_altered()),
        ("a token that says `alg: none`", issuer.token_without_signature()),
        ("HS256 with the public key as secret", issuer.token_with_public_key_as_secret()),
    ):
        yield _line(claim, "401", lambda token=token: scene.call("/orders", token=token))  # type: ignore[misc]
    yield _line(
        "a good token beside a bad API key", "401", lambda: scene.call("/orders", token=issuer.token(), key="x")
    )
    yield _line("a caller without the permission", "403", lambda: scene.call("/ledger", key=key))
    yield _line("a path that no route names", "404", lambda: scene.call("/elsewhere", key=key))
    yield _line(
        "three calls an hour are allowed: the fourth",
        "200 200 200 429",
        lambda: " ".join(str(scene.call("/limited", key=key)) for _ in range(4)),
    )
    bound = issuer.token(cnf={"x5t#S256": partner.thumbprint})
    yield _line(
        "a token bound to a certificate, with it",
        "200",
        lambda: scene.call_tls("/bound", token=bound, certificate=partner.certificate_file),
    )
    yield _line("the same token, without it", "401", lambda: scene.call_tls("/bound", token=bound, certificate=None))
    yield _line(
        "a token that is not bound, with a certificate",
        "401",
        lambda: scene.call_tls("/bound", token=issuer.token(), certificate=partner.certificate_file),
    )
    yield from _own(scene)
    yield _line("an API key, revoked: the very next call", "401", lambda: _revoked(scene, str(made["id"]), key))
    passed = str(scene.statuses.count(200))
    yield _line("calls that reached the system behind", passed, lambda: len(upstream.calls))
    yield _line("... with the gateway's word on who calls", passed, lambda: upstream.assertions)
    yield _line("... with the caller's own credential", "0", lambda: upstream.credentials)
    yield _line("a proof of one call, checked with the public key alone", "proven", lambda: _proven(scene))
    yield _line("the same proof with one byte changed", "refused", lambda: _forged(scene))
    yield _line("the node drains and stops", "0", scene.stop)
    yield _line("the record is whole", "ok", lambda: _verified(scene))
    calls = len(scene.statuses) + scene.asked
    yield _line("every call is in it", f"{calls} calls", lambda: _recorded(scene))
    largest = scene.segments()[0]
    yield _line("one byte of it flipped", "found", lambda: _found(scene, lambda: _flip(largest)))
    yield _line("flipped back", "ok", lambda: _verified_after(scene, lambda: _flip(largest)))
    taken = scene.folder / "taken"
    yield _line("one file of it removed", "found", lambda: _found(scene, lambda: os.rename(largest, taken)))
    yield _line("put back", "ok", lambda: _verified_after(scene, lambda: os.rename(taken, largest)))
    tile = next(path for path in sorted((scene.record / "log" / "tile").rglob("*")) if path.is_file())
    yield _line("one byte of its hash tree flipped", "found", lambda: _found(scene, lambda: _flip(tile)))


def _own(scene: Scene) -> Iterator[Line]:
    """Tokens of the node's own issuer."""
    program = scene.program("shop", "reader")
    yield _line("a token of the node's own issuer", "200", lambda: scene.call("/orders", token=scene.token_of(program)))
    bound = scene.token_of(program, bound=True)
    proof = program.proof("GET", scene.url("/orders"), token=bound, nonce=scene.nonce)
    yield _line(
        "a token bound to a key, with a proof of it", "200", lambda: scene.call("/orders", token=bound, proof=proof)
    )
    yield _line("the same proof again", "401", lambda: scene.call("/orders", token=bound, proof=proof))
    yield _line("the bound token without a proof", "401", lambda: scene.call("/orders", token=bound))
    held = scene.token_of(program)
    yield _line("a token whose client is disabled: the very next call", "401", lambda: _disabled(scene, program, held))


def _disabled(scene: Scene, program: Program, token: str) -> int:
    if (before := scene.call("/orders", token=token)) != 200:
        return before
    scene.command("client", "disable", program.client_id)
    return scene.call("/orders", token=token)


def _line(claim: str, expected: str, look: Callable[[], object]) -> Line:
    began = time.monotonic()
    try:
        seen = str(look())
    except Exception as problem:
        seen = f"{type(problem).__name__}: {problem}"
    return Line(claim, expected, seen, time.monotonic() - began)


def _revoked(scene: Scene, key_id: str, key: str) -> int:
    if (before := scene.call("/orders", key=key)) != 200:
        return before
    scene.command("key", "revoke", key_id)
    return scene.call("/orders", key=key)


def _proven(scene: Scene) -> str:
    """Once a checkpoint covers the newest call."""
    record = json.loads(scene.command("audit", "query", "--json", "--limit", "1", "--decision", "allow"))["id"]
    end = time.monotonic() + 10
    while "index" not in scene.command("audit", "prove", record, "--out", str(_proof(scene)), "--json", expect=None):
        if time.monotonic() > end:
            return "no proof within 10 seconds"
        time.sleep(0.2)
    return _checked(scene)


def _checked(scene: Scene) -> str:
    public = scene.command("audit", "checkpoint", "--keys").split()[0]
    shown = scene.command("audit", "verify-proof", str(_proof(scene)), "--key", public, "--json", expect=None)
    return "proven" if shown and json.loads(shown)["ok"] else "refused"


def _forged(scene: Scene) -> str:
    text = _proof(scene).read_text()
    at = text.index("index ") - 40  # in the record that it carries
    _proof(scene).write_text(text[:at] + ("A" if text[at] != "A" else "B") + text[at + 1 :])
    return _checked(scene)


def _proof(scene: Scene) -> Path:
    return scene.folder / "call.tlog-proof"


def _verified(scene: Scene) -> str:
    report = json.loads(scene.command("audit", "verify", "--json", expect=None))
    return "ok" if report["ok"] else "; ".join(map(str, report["problems"]))


def _recorded(scene: Scene) -> str:
    entries = scene.command("audit", "query", "--json").splitlines()
    return f"{len(entries)} calls"


def _found(scene: Scene, harm: Callable[[], object]) -> str:
    return "found" if _verified_after(scene, harm) != "ok" else "NOT found"


def _verified_after(scene: Scene, change: Callable[[], object]) -> str:
    change()
    return _verified(scene)


def _flip(path: Path) -> None:
    """Change one bit in the middle of a file; a second time changes it back."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 1]))
