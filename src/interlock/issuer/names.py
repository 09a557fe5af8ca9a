"""The names people sign in with: one spelling each, so that no other spelling is another person or another count.

A name is ASCII. What is typed is brought to it by NFKC and case folding (as RFC 8265 section 3.3 does, and wider):
`ALICE`, full-width letters and the Kelvin sign lead to the same account and to the same lock. What does not lead to
ASCII names nobody, and MUST then be treated like any unknown name.
"""

from __future__ import annotations

import re
import unicodedata

LONGEST = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}")


def canonical(text: str) -> str | None:
    """The one spelling of a name; None if it can be nobody's."""
    if len(text) > 4 * LONGEST:
        return None
    folded = _fold(text.strip())
    return folded if _NAME.fullmatch(folded) else None


def spelling(text: str) -> str:
    """What stands for a typed name when failures are counted, whether or not it can be anybody's."""
    return canonical(text) or _fold(text.strip()[: 4 * LONGEST])


def _fold(text: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
