"""A browser for tests: keeps cookies as browsers do, sends the forms of pages, follows redirects within the issuer."""

from __future__ import annotations

from concurrent.futures import Future
from html.parser import HTMLParser
from typing import Any
from urllib.parse import urlencode, urlsplit

from interlock.issuer.http import FORM, Request, Response
from interlock.issuer.people import PATHS, People
from tests.unit.issuer.signing_in.conftest import NOW

ORIGIN = "https://id.example.com"


class Form:
    """One form of a page: where it goes, what it carries by itself, and its other attributes."""

    def __init__(self, attributes: dict[str, str]) -> None:
        self.action = attributes.get("action", "")
        self.attributes = attributes
        self.fields: dict[str, str] = {}
        self.names: set[str] = set()


class Page(HTMLParser):
    """A page that was answered, taken apart."""

    def __init__(self, response: Response) -> None:
        super().__init__()
        self.response = response
        self.status = response.status
        self.headers = dict(response.fields)
        self.html = response.body.decode("utf-8")
        self.forms: list[Form] = []
        self.scripts: list[str] = []
        self.tags: list[tuple[str, dict[str, str]]] = []
        self._text: list[str] = []
        self._skipping = ""
        self._alert = False
        self.alert = ""
        self._title = False
        self.title = ""
        self.feed(self.html)
        self.text = " ".join(" ".join(self._text).split())
        self.alert = " ".join(self.alert.split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.tags.append((tag, attributes))
        if tag == "form":
            self.forms.append(Form(attributes))
        if tag in ("input", "button") and attributes.get("name") and self.forms:
            self.forms[-1].names.add(attributes["name"])
            if tag == "input" and "value" in attributes:
                self.forms[-1].fields[attributes["name"]] = attributes["value"]
        if tag == "script":
            self.scripts.append(attributes.get("src", ""))
        if tag in ("script", "style"):
            self._skipping = tag
        self._alert = self._alert or attributes.get("role") == "alert"
        self._title = tag == "h1"

    def handle_endtag(self, tag: str) -> None:
        if tag == self._skipping:
            self._skipping = ""
        if tag == "div":
            self._alert = False
        if tag == "h1":
            self._title = False

    def handle_data(self, data: str) -> None:
        if not self._skipping:
            self._text.append(data)
        if self._alert:
            self.alert += data
        if self._title:
            self.title += data

    def form(self, action: str) -> Form:
        """The form that is sent to a path ending so."""
        (found,) = [form for form in self.forms if form.action.endswith(action)]
        return found

    def has_form(self, action: str) -> bool:
        return any(form.action.endswith(action) for form in self.forms)


class Browser:
    """One person's browser, at one address."""

    def __init__(self, people: People, *, source: str = "192.0.2.7", origin: str = ORIGIN) -> None:
        self.people = people
        self.source = source
        self.origin = origin
        self.cookies: dict[str, str] = {}
        self.now = NOW
        self.page: Page | None = None
        self.location = ""  # where it was sent, outside of what signing in serves

    def request(self, method: str, url: str, form: dict[str, str] | None = None, **headers: str) -> Request:
        parts = urlsplit(url)
        fields = {"sec-fetch-site": "same-origin"}
        if self.cookies:
            fields["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            fields |= {"content-type": FORM, "origin": self.origin}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = urlencode(form or {}).encode()
        return Request(
            method, parts.path, query=parts.query, headers=fields, body=body, source=self.source, now=self.now
        )

    def take(self, response: Response) -> Response:
        """Keep the cookies of a response."""
        for name, value in response.fields:
            if name == "set-cookie":
                pair, *attributes = value.split("; ")
                cookie, _, content = pair.partition("=")
                if "Max-Age=0" in attributes:
                    self.cookies.pop(cookie, None)
                else:
                    self.cookies[cookie] = content
        return response

    def send(self, request: Request) -> Page | None:
        """Have it answered, and follow; None when it leads out."""
        answer = self.people.handle(request)
        return self.show(answer.result(20) if isinstance(answer, Future) else answer)

    def show(self, response: Response) -> Page | None:
        self.take(response)
        if response.status == 303:
            where = dict(response.fields)["location"]
            path = urlsplit(where).path
            if path not in PATHS:
                self.location, self.page = where, None
                return None
            return self.send(self.request("GET", where))
        self.page = Page(response)
        return self.page

    def get(self, url: str) -> Page | None:
        return self.send(self.request("GET", url))

    def submit(self, action: str, page: Page | None = None, **typed: Any) -> Page | None:
        """Send the form of the present page (or of `page`) that goes there, with what was typed."""
        form = (page or self._present()).form(action)
        return self.send(self.request("POST", form.action, {**form.fields, **typed}))

    def _present(self) -> Page:
        assert self.page is not None, f"the browser has been sent to {self.location}"
        return self.page

    @property
    def session(self) -> str:
        return self.cookies.get("__Host-interlock-session", "")
