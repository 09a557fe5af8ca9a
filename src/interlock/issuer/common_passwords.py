"""Passwords that are guessed first, by how they are made: a short list of our own and a few patterns.

No corpus is copied here. Long passwords that are nevertheless common are, nearly all, one of these: a well-known word
with digits and marks around it or letters exchanged for digits, one of them twice, a run along the keyboard or the
alphabet, or something short again and again.
"""

from __future__ import annotations

import re
from typing import Final

_RUNS: Final = (
    "abcdefghijklmnopqrstuvwxyz",
    "01234567890123456789",
    "qwertyuiopasdfghjklzxcvbnm",
    "qwertzuiopasdfghjklyxcvbnm",
    "azertyuiopqsdfghjklmwxcvbn",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik",
    "1q2w3e4r5t6y7u8i9o0p",
    "qazwsxedcrfvtgbyhnujmikolp",
    "asdfghjkl;'",
    "zxcvbnm,./",
    "!@#$%^&*()_+",
)
_LIST: Final = """
password passwort passwd motdepasse contrasena contrasenya senha wachtwoord haslo parola salasana mypassword
thepassword yourpassword newpassword oldpassword passphrase passcode secretpassword secret topsecret verysecret
letmein letmeinnow openup opensesame changeme changemenow changeit changethis welcome welcomeback welcomehome
willkommen bienvenue hello helloworld hellothere goodmorning admin administrator adminadmin sysadmin superuser
superadmin root rootroot user username login default guest test testing testtest tester demo example sample
temporary temp qwerty qwertz azerty asdf asdfgh zxcvbn qweasd qweasdzxc abc abcabc iloveyou iloveyouforever
ilovemyself loveyou loveme iloveu mylove forever princess princesa sunshine football baseball basketball soccer
superman batman starwars pokemon dragon monkey shadow master michael jennifer jessica charlie ashley daniel thomas
jordan chocolate butterfly whatever trustno computer internet samsung iphone android google facebook linkedin
microsoft windows apple correcthorsebatterystaple interlock gateway company companyname january february march
april may june july august september october november december monday tuesday wednesday thursday friday saturday
sunday spring summer autumn fall winter
"""
_WORDS: Final = frozenset(_LIST.split())
_LETTERS: Final = str.maketrans("0134578@$!|", "oieastbasil")  # what stands for what
_PLAIN: Final = re.compile(r"[^a-z]+")
_EDGES: Final = re.compile(r"^[^a-z]+|[^a-z]+$")


def is_common(password: str) -> bool:
    """Whether others would try this early. `password` has at least some ten characters."""
    text = password.casefold()
    squeezed = "".join(text.split())
    return _repeats(squeezed) or _runs(squeezed) or any(_known(form) for form in _forms(squeezed))


def _forms(text: str) -> set[str]:
    """What is left when additions and exchanges are taken back."""
    bare = _EDGES.sub("", text)
    return {
        _PLAIN.sub("", text),
        _PLAIN.sub("", bare.translate(_LETTERS)),
        _PLAIN.sub("", text.translate(_LETTERS)),
        _PLAIN.sub("", bare.translate(str.maketrans("1", "l")).translate(_LETTERS)),
    }


def _known(letters: str) -> bool:
    """One known word, or two of them and nothing else; or next to nothing but digits and marks."""
    if len(letters) < 3:
        return False
    return any(
        (not rest or rest in _WORDS)
        for word, rest in ((letters[:at], letters[at:]) for at in range(2, len(letters) + 1))
        if word in _WORDS
    )


def _repeats(text: str) -> bool:
    """A unit of at most six characters again and again, or hardly any different characters."""
    if len(set(text)) <= 3:
        return True
    return any(text == (text[:unit] * len(text))[: len(text)] for unit in range(1, 7))


def _runs(text: str) -> bool:
    """Made of few pieces, each along a row of keys, the alphabet or the digits, either way."""
    rest, pieces = text, 0
    while rest and pieces < 4:
        longest = max((_along(rest, run) for run in _ALONG), default=0)
        if longest < 4:
            return len(rest) <= 3 and pieces > 0  # such as `qwertyuiop123!`
        rest, pieces = rest[longest:], pieces + 1
    return not rest


def _along(text: str, run: str) -> int:
    """How much of the beginning of a text is a part of the run."""
    return next((size for size in range(min(len(text), len(run)), 3, -1) if text[:size] in run), 0)


_ALONG: Final = (*_RUNS, *(run[::-1] for run in _RUNS))
