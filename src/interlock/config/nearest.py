"""What somebody may have meant."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest of the known words, or all of them if they are few."""
    known = sorted(known)
    near = nearest(word, known)
    if near:
        return near
    if known and len(known) <= 12:
        return f"there {'is' if len(known) == 1 else 'are'} {', '.join(known)}"
    return ""


def nearest(word: str, known: Iterable[str]) -> str:
    """A hint naming the nearest of the known words, if one is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else ""
