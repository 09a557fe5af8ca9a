from __future__ import annotations

from interlock.issuer.ids import REFRESH_TOKEN, new_id


def test_a_command_takes_none_for_an_option() -> None:
    made = [new_id() for _ in range(1000)]
    assert not [one for one in made if not one.isalnum() or one.startswith("-")]
    assert len(set(made)) == 1000


def test_a_refresh_token_names_its_grant() -> None:
    grant, secret = new_id(), "s" * 43
    found = REFRESH_TOKEN.fullmatch(f"ilr_{grant}.{secret}")
    assert found is not None
    assert found.groups() == (grant, secret)
    assert REFRESH_TOKEN.fullmatch(f"ilr_{grant}.{secret}=") is None
