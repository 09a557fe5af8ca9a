"""Somebody at a browser without JavaScript: follows links and redirects, fills in forms, keeps cookies."""

from __future__ import annotations

import html
import re
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urljoin, urlsplit

import httpx

PASSWORD = "seven quiet lanterns on the pier"


class Person:
    """One browser. It goes where it is sent, unless that is beyond `home`: then it stops there."""

    def __init__(self, home: str, name: str, *, ca: str = "", password: str = PASSWORD) -> None:
        self.home = home
        self.name = name
        self.password = password
        context = ssl.create_default_context(cafile=ca) if ca else False
        self.client = httpx.Client(
            headers={"origin": home, "sec-fetch-site": "same-origin", "user-agent": "a browser"},
            verify=context,
            timeout=30,
            trust_env=False,
        )
        self.page = ""
        self.url = ""

    def close(self) -> None:
        self.client.close()

    def visit(self, url: str) -> str:
        """Go there, and on; gives where it stopped: the URL of a page, or one beyond home."""
        return self._follow(self.client.get(url))

    def submit(self, action: str, **values: str) -> str:
        """Send the form of the page whose action ends with `action`."""
        forms = re.findall(r"<form[^>]*action=\"([^\"]*)\"[^>]*>(.*?)</form>", self.page, re.DOTALL)
        target, inside = next((html.unescape(to), body) for to, body in forms if html.unescape(to).endswith(action))
        return self._follow(self.client.post(urljoin(self.url, target), data={**_fields(inside), **values}))

    @property
    def text(self) -> str:
        """What there is to read on the page."""
        body = re.sub(r"<(style|script|head).*?</\1>", " ", self.page, flags=re.DOTALL)
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())

    def begin(self, link: str) -> None:
        """Choose a password with the link of `user create`."""
        self.visit(link)
        self.submit("/oauth/signin/new", password=self.password, again=self.password)

    def sign_in(self, url: str) -> str:
        """Go there, sign in where that is asked, allow what is asked; gives where it ends."""
        where = self.visit(url)
        if "/oauth/signin" in where:
            where = self.submit("/oauth/signin/password", name=self.name, password=self.password)
        if 'action="' in self.page and "/authorize/consent" in self.page and where.startswith(self.home):
            where = self.submit("/authorize/consent", decision="allow")
        return where

    def _follow(self, answer: httpx.Response) -> str:
        for _ in range(20):
            self.url = str(answer.url)
            if answer.status_code not in (302, 303):
                self.page = answer.text
                return self.url
            to = urljoin(self.url, answer.headers["location"])
            if not to.startswith(self.home + "/"):
                self.url, self.page = to, ""
                return to
            answer = self.client.get(to)
        raise AssertionError("sent round in circles")


def parameters(url: str) -> dict[str, str]:
    """Those of a URL's query."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def _fields(form: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for tag in re.findall(r"<input[^>]*>", form):
        attributes: Mapping[str, Any] = dict(re.findall(r"([a-z]+)=\"([^\"]*)\"", tag))
        if "name" in attributes and attributes.get("type") not in ("submit", "checkbox", "radio"):
            found[attributes["name"]] = html.unescape(attributes.get("value", ""))
    return found
