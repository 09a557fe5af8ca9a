"""The node's own keys on a real node: the inventory, rotation with it and without it, and where no key may be."""

from __future__ import annotations

import base64
import json
import os
import re
import secrets
import signal
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from joserfc import jwt
from joserfc.jwk import KeySet
from joserfc.jws import JWSRegistry

from interlock.config import SecretRef
from interlock.keys import Keyring, load_kek
from tests.files import contents
from tests.integration.conftest import CONFIG
from tests.integration.node import Node, eventually, fetch
from tests.integration.tokens import PIN, Token
from tests.integration.upstream import Upstream
from tests.integration.vault import Vault

pytestmark = pytest.mark.integration
MakeNode = Callable[..., Node]


def kek_file(folder: Path, name: str = "kek") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.touch(0o600)
    path.write_text(secrets.token_hex(32))
    return path


def config(upstream: Upstream, keys: str, more: str = "") -> str:
    text = CONFIG.format(url=upstream.url)
    return text.replace("version: 1\n", f"version: 1\nkeys: {keys}\n{more}")


def under(path: Path) -> str:
    return f'{{kek: "${{file:{path}}}"}}'


def keyring(node: Node, kek: Path) -> Keyring:
    return Keyring(node.data / "keys", load_kek(SecretRef("file", str(kek)), node.data / "keys"))


def listed(node: Node) -> dict[str, Any]:
    return json.loads(node.cli("keyring", "list", "--json", check=False).stdout)


def row(node: Node, name: str, state: str = "active") -> dict[str, Any]:
    (found,) = [key for key in listed(node)["keys"] if (key["name"], key["state"]) == (name, state)]
    return found


def admin(node: Node, path: str) -> Any:
    return fetch(node.status()["admin"] + path).json()


def identity_of(node: Node, upstream: Upstream, key: str) -> str:
    """The assertion that the upstream got for a call."""
    assert node.get("/who", key).status_code == 200
    found = upstream.seen[-1].header("interlock-identity")
    assert found
    return found


def verified_by(node: Node, token: str) -> bool:
    keys = KeySet.import_key_set(admin(node, "/.well-known/jwks.json"))
    return bool(jwt.decode(token, keys, registry=JWSRegistry(algorithms=["EdDSA"])).claims["sub"])


def kid(token: str) -> str:
    header = token.partition(".")[0]
    return str(json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["kid"])


def events(node: Node, event: str) -> list[dict[str, Any]]:
    rows = [json.loads(line) for line in node.cli("audit", "query", "--acts", "--json").stdout.splitlines()]
    return [one for one in rows if one["event"] == event]


def test_the_inventory(make_node: MakeNode, upstream: Upstream, tmp_path: Path) -> None:
    node = make_node(config(upstream, under(kek_file(tmp_path)))).start()
    found = listed(node)
    assert found["problems"] == []
    names = {key["name"] for key in found["keys"]}
    assert {"kek", "record", "lookup", "assertion", "log", "inventory"} <= names
    kek = row(node, "kek")
    for key in found["keys"]:
        assert key["created"] or key["name"] == "inventory"
        assert key["purpose"] != "other"
        assert key["algorithm"]
        assert key["sealed_under"] == (None if key["name"] == "kek" else kek["id"])
    node.cli("keyring", "custodian", "kek", "Ada Lovelace")
    assert row(node, "kek")["custodian"] == "Ada Lovelace"
    assert [one["details"] for one in events(node, "keyring:custodian")] == [
        {"key": "kek", "custodian": "Ada Lovelace"}
    ]
    for name in ("lookup", "ca", "nothing"):
        assert node.cli("keyring", "rotate", name, check=False).returncode in (1, 2)
    assert "revoke and issue" in node.cli("keyring", "rotate", "lookup", check=False).stderr
    node.stop()
    assert row(node, "kek")["custodian"] == "Ada Lovelace"
    path = node.data / "keys" / "inventory.sealed"
    path.write_bytes(path.read_bytes().replace(b'"sealed":"', b'"sealed":"AAAA'))
    done = node.cli("keyring", "list", check=False)
    assert done.returncode == 1
    assert "damaged" in done.stderr


@pytest.mark.parametrize("running", [True, False])
def test_the_record_key(make_node: MakeNode, upstream: Upstream, tmp_path: Path, running: bool) -> None:
    node = make_node(config(upstream, under(kek_file(tmp_path)))).start()
    key = node.key("tester", "caller")["key"]
    assert node.get("/before", key).status_code == 200
    former = row(node, "record")["id"]
    if not running:
        node.stop()
    new = json.loads(node.cli("keyring", "rotate", "record", "--json").stdout)["id"]
    assert (row(node, "record")["id"], row(node, "record", "retired")["id"]) == (new, former)
    if running:  # whoever begins a segment takes the new one; a killed worker is the quickest to begin one
        os.kill(node.pids("worker")[0], signal.SIGKILL)
        assert eventually(lambda: node.status()["serving"])
    else:
        node.start()
    assert eventually(lambda: _status(node, "/after", key) == 200)
    assert node.row("/before")["outcome"] != "open"
    assert node.row("/after")["outcome"] != "open"
    heads = [path.read_bytes()[:1000] for path in (node.data / "record" / "segments").glob("*-worker-0-*")]
    sealed_to = {found[1].decode() for head in heads if (found := re.search(rb'"recipient":"([^"]+)"', head))}
    assert new in sealed_to  # which stands for the rest of the day for what was the day's own key
    (day,) = sealed_to - {new}
    assert re.fullmatch(r"\d{8}-0-[0-9a-f]{16}", day)
    assert [one["details"]["new"] for one in events(node, "keyring:rotate")] == [new]
    assert node.verify()["problems"] == []


def _status(node: Node, path: str, key: str) -> int:
    try:
        return node.get(path, key).status_code
    except httpx.TransportError:
        return 0


def test_the_assertion_key_while_calls_go_on(make_node: MakeNode, upstream: Upstream, tmp_path: Path) -> None:
    node = make_node(config(upstream, under(kek_file(tmp_path)))).start()
    key = node.key("tester", "caller")["key"]
    before = identity_of(node, upstream, key)
    assert verified_by(node, before)
    pids = node.pids("worker")
    done = json.loads(node.cli("keyring", "rotate", "assertion", "--overlap", "1h", "--json").stdout)
    after = identity_of(node, upstream, key)
    assert (kid(before), kid(after)) == (done["former"], done["id"])
    assert verified_by(node, after)
    assert verified_by(node, before), "what was signed before is still verified"
    assert node.pids("worker") == pids, "nobody was started again"
    os.kill(pids[0], signal.SIGKILL)  # one that is signs with the new key, too
    assert eventually(lambda: _status(node, "/again", key) == 200)
    assert kid(identity_of(node, upstream, key)) == done["id"]
    os.kill(node.pids("control")[0], signal.SIGKILL)
    assert eventually(lambda: _jwks(node) == [done["id"], done["former"]])
    node.stop()
    last = json.loads(node.cli("keyring", "rotate", "assertion", "--overlap", "1ms", "--json").stdout)["id"]
    node.start()
    assert kid(identity_of(node, upstream, key)) == last
    assert eventually(lambda: _jwks(node) == [last, done["former"]])


def _jwks(node: Node) -> list[str]:
    try:
        return [key["kid"] for key in admin(node, "/.well-known/jwks.json")["keys"]]
    except (httpx.TransportError, ValueError):
        return []


def test_a_public_half_that_was_exchanged_is_put_back_and_on_the_record(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path
) -> None:
    node = make_node(config(upstream, under(kek_file(tmp_path)))).start()
    path = node.data / "keys" / "record.pub"
    good = path.read_bytes()
    stranger = Keyring(tmp_path / "stranger", b"s" * 32)
    stranger.ensure()
    path.write_bytes((stranger.folder / "record.pub").read_bytes())
    os.kill(node.pids("control")[0], signal.SIGKILL)  # it looks at its start, and each minute
    assert eventually(lambda: path.read_bytes() == good)
    assert eventually(
        lambda: (
            [one["details"] for one in events(node, "keyring:altered")]
            == [{"key": "record", "found": stranger.recipient().id}]
        )
    )


@pytest.mark.parametrize("running", [True, False])
def test_the_kek(make_node: MakeNode, upstream: Upstream, tmp_path: Path, running: bool) -> None:
    old, new = kek_file(tmp_path, "old"), kek_file(tmp_path, "new")
    node = make_node(config(upstream, under(old))).start()
    key = node.key("tester", "caller")["key"]
    assert node.get("/before", key).status_code == 200
    if not running:
        node.stop()
    refused = node.cli("keyring", "rotate", "kek", "--to", f"${{file:{new}}}", check=False)
    assert refused.returncode == 2
    assert "former_kek" in refused.stderr
    node.configure(config(upstream, under(new)))
    done = node.cli("keyring", "rotate", "kek", check=False)
    assert done.returncode == 1
    assert "another KEK" in done.stderr, "without the former one nothing can be opened, and nothing is changed"
    node.configure(config(upstream, f'{{kek: "${{file:{new}}}", former_kek: "${{file:{old}}}"}}'))
    done = json.loads(node.cli("keyring", "rotate", "kek", "--to", f"${{file:{new}}}", "--json").stdout)
    assert done["sealed"] >= 5
    node.configure(config(upstream, under(new)))
    old.unlink()
    if running:
        assert node.get("/while", key).status_code == 200
        for kind in ("recorder", "control"):  # what is started again opens its keys under the new one
            os.kill(node.pids(kind)[0], signal.SIGKILL)
        node.cli("reload")
        assert eventually(lambda: node.status()["serving"])
    else:
        node.start()
    assert node.get("/after", key).status_code == 200
    assert node.row("/before")["outcome"] != "open"
    assert node.row("/after")["outcome"] != "open"
    found = listed(node)
    assert found["problems"] == []
    assert {one["sealed_under"] for one in found["keys"]} == {None, done["id"]}
    assert row(node, "kek", "retired")["id"] == done["former"]
    node.cli("keyring", "destroyed", done["former"])
    assert row(node, "kek", "destroyed")["id"] == done["former"]
    assert [one["details"] for one in events(node, "keyring:rotate")] == [
        {"key": "kek", "former": done["former"], "new": done["id"]}
    ]


def test_a_rotation_of_the_kek_that_was_broken_off(make_node: MakeNode, upstream: Upstream, tmp_path: Path) -> None:
    old, new = kek_file(tmp_path, "old"), kek_file(tmp_path, "new")
    node = make_node(config(upstream, under(old))).start()
    node.stop()
    both = Keyring(
        node.data / "keys", load_kek(SecretRef("file", str(new)), node.data), former=[keyring(node, old).kek]
    )
    both.seal("lookup", both.open("lookup"))  # as if it had ended after one file
    node.configure(config(upstream, f'{{kek: "${{file:{new}}}", former_kek: "${{file:{old}}}"}}'))
    node.start()
    assert any("rotate kek" in problem for problem in listed(node)["problems"])
    node.cli("keyring", "rotate", "kek")
    assert listed(node)["problems"] == []


@pytest.fixture
def vault(tmp_path: Path) -> Iterator[Vault]:
    vault = Vault(tmp_path / "vault")
    vault.make_key("interlock")
    yield vault
    vault.close()


def test_from_a_file_to_a_token_to_a_server(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, vault: Vault
) -> None:
    """A node that never stops; and PIN and token are shown by nothing that it prints or leaves."""
    token = Token(tmp_path / "hsm")
    token.make_key("kek-1")
    file = kek_file(tmp_path)
    node = make_node(config(upstream, under(file)), env=token.environment).start()
    key = node.key("tester", "caller")["key"]
    steps = [f'"${{file:{file}}}"', token.yaml("kek-1"), vault.yaml("interlock")]
    for former, kek in pairwise(steps):
        node.configure(config(upstream, f"{{kek: {kek}, former_kek: {former}}}"))
        node.cli("keyring", "rotate", "kek")
        node.configure(config(upstream, f"{{kek: {kek}}}"))
        node.cli("reload")
    assert row(node, "lookup")["sealed_under"] == "transit:transit/interlock"
    assert [key["id"] for key in listed(node)["keys"] if key["name"] == "kek"][1:] == [
        "pkcs11:interlock/kek-1",
        "transit:transit/interlock",
    ]
    node.stop()
    node.start()
    assert node.get("/after", key).status_code == 200
    assert node.row("/after")["outcome"] != "open"
    shown = node.log.read_text() + node.cli("status", "--json").stdout + node.cli("plan").stdout
    for pid in [pid for kind in ("supervisor", "worker", "recorder", "control") for pid in node.pids(kind)]:
        shown += Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    assert PIN not in shown
    assert vault.token not in shown
    vault.sealed = 3  # a start waits for a server that is not ready
    node.stop()
    node.start()
    node.stop()
    vault.token_file.write_text("hvs.expired")
    refused = node.cli("up", check=False)
    assert refused.returncode == 1
    assert "permission denied" in refused.stderr
    assert "hvs." not in refused.stderr


# -- where no key may be


class Secrets:
    """What must not be found, in every form it could have: raw, in hex, in base64."""

    def __init__(self, **named: bytes) -> None:
        self.forms = {
            (name, form): value
            for name, secret in named.items()
            for form, value in {
                "raw": secret,
                "hex": secret.hex().encode(),
                "HEX": secret.hex().upper().encode(),
                "base64": base64.b64encode(secret).rstrip(b"=")[:-1],
            }.items()
        }

    def within(self, data: bytes) -> set[str]:
        return {f"{name} ({form})" for (name, form), value in self.forms.items() if value in data}


def reading_keys(node: Node, kek: Path | bytes) -> Secrets:
    """The keys that open the record, open the other keys, and issue certificates."""
    raw = bytes.fromhex(kek.read_text()) if isinstance(kek, Path) else kek
    ring = Keyring(node.data / "keys", raw)
    named = {"kek": raw}
    for key_id, private in json.loads(ring.open("record")).items():
        named[f"record {key_id}"] = base64.b64decode(private)
    if ring.exists("ca"):
        named["ca"] = scalar(ring.open("ca"))
    return Secrets(**named)


def scalar(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    key = load_pem_private_key(pem, None)
    assert isinstance(key, EllipticCurvePrivateKey)
    return key.private_numbers().private_value.to_bytes(32, "big")


def memory_of(pid: int) -> Iterator[bytes]:
    """Every readable mapping of a process, heap, stack and shared pages alike."""
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
            bounds, modes, *_ = line.split()
            if modes[0] != "r" or line.endswith(("[vvar]", "[vsyscall]", "[vvar_vclock]")):
                continue
            begin, end = (int(part, 16) for part in bounds.split("-"))
            memory.seek(begin)
            try:
                yield memory.read(end - begin)
            except OSError:
                continue  # a mapping past the end of its file


def open_files_of(pid: int) -> Iterator[bytes]:
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            if entry.is_file():
                yield entry.read_bytes()[: 1 << 24]
            yield os.fsencode(os.readlink(entry))
        except OSError:
            continue


def found_in(pid: int, wanted: Secrets) -> set[str]:
    found: set[str] = set()
    for where in (memory_of(pid), open_files_of(pid), [Path(f"/proc/{pid}/environ").read_bytes()]):
        for data in where:
            found |= wanted.within(data)
    return found


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may read the memory of other processes")
@pytest.mark.parametrize("provider", ["file", "environment"])
def test_no_worker_and_no_recorder_holds_a_reading_key(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path, provider: str
) -> None:
    raw = secrets.token_bytes(32)
    env = {}
    if provider == "file":
        path = kek_file(tmp_path)
        path.write_text(raw.hex())
        keys = under(path)
    else:
        keys, env = '{kek: "${env:INTERLOCK_TEST_KEK}"}', {"INTERLOCK_TEST_KEK": raw.hex()}
    text = config(upstream, keys).replace("tls: off", "tls: auto")
    node = make_node(text, env=env).start()
    key = node.key("tester", "caller")["key"]
    node.cli("keyring", "rotate", "record")
    node.cli("keyring", "rotate", "assertion")
    for path in ("/one", "/two"):
        url = node.url.replace("http:", "https:").replace("127.0.0.1", "localhost") + path
        answer = httpx.get(url, headers={"X-API-Key": key}, verify=str(node.data / "pki" / "ca.pem"), trust_env=False)
        assert answer.status_code == 200
    node.query()  # control opens the record
    wanted = reading_keys(node, raw)
    assert len(wanted.forms) == 4 * 4
    held = Secrets(lookup=Keyring(node.data / "keys", raw).lookup_key)
    (worker,), (recorder,), (supervisor,) = (node.pids(kind) for kind in ("worker", "recorder", "supervisor"))
    assert found_in(worker, held) == {"lookup (raw)"}, "this way of looking finds what is there"
    assert found_in(worker, wanted) == set()
    assert found_in(recorder, wanted) == set()
    # From the environment it lies in a file without a name, which the supervisor holds open for control.
    assert found_in(supervisor, wanted) == (set() if provider == "file" else {"kek (hex)"})
    if provider == "environment":
        assert raw.hex() not in Path(f"/proc/{supervisor}/environ").read_text()
        assert not any(wanted.within(data) for data in memory_of(supervisor))
        killed = {kind: node.pids(kind) for kind in ("control", "recorder")}
        for pids in killed.values():
            os.kill(pids[0], signal.SIGKILL)
        # What is started again finds it.
        assert eventually(lambda: all(node.pids(kind) not in ([], pids) for kind, pids in killed.items()))
        assert node.key("another", "caller")


def test_nothing_in_the_data_directory_is_a_private_key_in_the_clear(
    make_node: MakeNode, upstream: Upstream, tmp_path: Path
) -> None:
    path = kek_file(tmp_path)
    node = make_node(config(upstream, under(path)).replace("tls: off", "tls: auto")).start()
    key = node.key("tester", "caller")["key"]
    for name in ("record", "assertion"):
        node.cli("keyring", "rotate", name)
    url = node.url.replace("http:", "https:").replace("127.0.0.1", "localhost") + "/one"
    ca = str(node.data / "pki" / "ca.pem")
    assert httpx.get(url, headers={"X-API-Key": key}, verify=ca, trust_env=False).status_code == 200
    node.query()
    while_it_runs = _in_the_clear(node, path, key)
    node.stop()
    assert while_it_runs == _in_the_clear(node, path, key) == set()


def _in_the_clear(node: Node, kek: Path, api_key: str) -> set[str]:
    ring = keyring(node, kek)
    wanted = reading_keys(node, kek)
    wanted.forms |= Secrets(lookup=ring.lookup_key, server=scalar(ring.open("server")), api_key=api_key.encode()).forms
    found = set()
    for file, data in contents(node.data).items():
        found |= {f"{file.relative_to(node.data)}: {what}" for what in wanted.within(data)}
        if re.search(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----", data):
            found.add(f"{file.relative_to(node.data)}: a private key in PEM")
    return found
