"""`interlock check`, and the first half of every start and reload: what is wrong with a file.

Beyond what the file says, it looks at what the file names: conditions are compiled, certificates, keys and
key sets are read, so that a reload which is accepted will also work. Nothing is changed.
"""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from interlock.errors import ConfigError, ConfigProblem, InterlockError

if TYPE_CHECKING:
    from interlock.config import Config

Place = tuple[int | str, ...]


def check_file(file: Path) -> tuple[list[ConfigProblem], list[ConfigProblem]]:
    """The faults and the warnings of a file."""
    try:
        config = load_checked(file)
    except ConfigError as error:
        return error.problems, []
    return [], [*config.warnings, *_doubts(config)]


def load_checked(file: Path, data: bytes | None = None) -> Config:
    """The file, with all that it names; `data` in place of its contents. Raises `ConfigError` with every fault."""
    from interlock.config import load, parse

    config = load(file) if data is None else parse(data, file)
    problems = list(faults(config))
    if problems:
        raise ConfigError(problems)
    return config


def faults(config: Config) -> Iterator[ConfigProblem]:
    """What is wrong with what the file names."""
    yield from _conditions(config)
    yield from _certificates(config)
    yield from _authorities(config)
    yield from _key_sets(config)
    yield from _witnesses(config)


def _witnesses(config: Config) -> Iterator[ConfigProblem]:
    witnesses = config.record.witnesses
    if witnesses is None:
        return
    from interlock.tlog import parse_vkey

    for number, witness in enumerate(witnesses.of):
        try:
            parse_vkey(witness.key)
        except InterlockError as problem:
            yield config.problem(("record", "witnesses", "of", number, "key"), str(problem))


def _conditions(config: Config) -> Iterator[ConfigProblem]:
    if not any(route.allow.when for route in config.routes):
        return  # the evaluator is slow to load
    from interlock.policy import ConditionInvalid, check_condition

    for number, route in enumerate(config.routes):
        if route.allow.when:
            try:
                check_condition(route.allow.when)
            except ConditionInvalid as problem:
                yield config.problem(("routes", number, "allow", "when"), str(problem))


def _certificates(config: Config) -> Iterator[ConfigProblem]:
    for number, listener in enumerate(config.listeners):
        if not isinstance(listener.tls, str):
            yield from _pair(config, ("listeners", number, "tls"), listener.tls.certificate, listener.tls.key)
        for index, further in enumerate(listener.certificates):
            place = ("listeners", number, "certificates", index)
            yield from _pair(config, place, further.certificate, further.key)
    for name, service in config.services.items():
        tls = service.tls
        if tls is not None and tls.certificate is not None and tls.key is not None:
            yield from _pair(config, ("services", name, "tls"), tls.certificate, tls.key)


def _pair(config: Config, place: Place, certificate: Path, key: Path) -> Iterator[ConfigProblem]:
    def no_password() -> str:
        raise ValueError("the key is encrypted")

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, no_password)
    except (OSError, ValueError) as problem:
        why = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
        yield config.problem(
            (*place, "certificate"), f"{certificate} and {key} are not a certificate and its key: {why}"
        )


def _authorities(config: Config) -> Iterator[ConfigProblem]:
    places: list[tuple[Place, Path]] = [(("trust", name, "ca"), trust.ca) for name, trust in config.trust.items()]
    for name, service in config.services.items():
        if service.tls is not None and service.tls.ca is not None:
            places.append((("services", name, "tls", "ca"), service.tls.ca))
    record = config.record
    for number, witness in enumerate(record.witnesses.of if record.witnesses is not None else ()):
        if witness.ca is not None:
            places.append((("record", "witnesses", "of", number, "ca"), witness.ca))
    for number, publish in enumerate(record.publish):
        if publish.ca is not None:
            places.append((("record", "publish", number, "ca"), publish.ca))
    for place, file in places:
        try:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.load_verify_locations(cafile=file)
            if not context.cert_store_stats()["x509"]:
                raise ValueError("there is no certificate in it")  # noqa: TRY301 - one way to say it
        except (OSError, ValueError) as problem:
            why = getattr(problem, "reason", None) or getattr(problem, "strerror", None) or problem
            yield config.problem(place, f"{file} holds no certificates that can be read: {why}")


def _key_sets(config: Config) -> Iterator[ConfigProblem]:
    for number, issuer in enumerate(config.identity.issuers):
        if isinstance(issuer.jwks, Path):
            try:
                _usable_keys(issuer.jwks)
            except (OSError, UnicodeDecodeError, InterlockError) as problem:
                yield config.problem(("identity", "issuers", number, "jwks"), f"{issuer.jwks}: {problem}")


def _doubts(config: Config) -> Iterator[ConfigProblem]:
    """What is allowed and probably not meant."""
    yield from _publish_doubts(config)
    for number, issuer in enumerate(config.identity.issuers):
        if isinstance(issuer.jwks, Path) and not _usable_keys(issuer.jwks):
            yield config.problem(
                ("identity", "issuers", number, "jwks"),
                f"{issuer.jwks} holds no key that verifies signatures: no token of this issuer will be accepted",
            )


def _publish_doubts(config: Config) -> Iterator[ConfigProblem]:
    for number, publish in enumerate(config.record.publish):
        place = ("record", "publish", number)
        if publish.to.scheme in ("file", "git") and not publish.folder.is_dir():
            yield config.problem(place, f"the folder {publish.folder} does not exist")
        if publish.token is not None and publish.token.path is not None and not publish.token.path.is_file():
            yield config.problem((*place, "token"), f"{publish.token.path} does not exist")


def _usable_keys(file: Path) -> int:
    from interlock.jose import KeySet

    return len(KeySet.parse(file.read_text(encoding="utf-8")).keys)
