"""A real browser, headless Chromium, driven as a person would; and the application that it is sent back to."""

from __future__ import annotations

import base64
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP
from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.common.virtual_authenticator import VirtualAuthenticatorOptions
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM, DRIVER = "chromium", "chromedriver"
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PATIENCE = 30
T = TypeVar("T")


def missing() -> str:
    """What is not here of what a browser needs; empty: nothing."""
    return ", ".join(program for program in (CHROMIUM, DRIVER) if shutil.which(program) is None)


class Browser:
    """One window."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver
        self.wait = WebDriverWait(driver, PATIENCE)

    def open(self, url: str) -> None:
        self.driver.get(url)

    def fill(self, **values: str) -> None:
        """Type into fields by their names."""
        for name, value in values.items():
            field = self._wait(lambda name=name: self._first(By.NAME, name), f"a field {name}")
            field.clear()
            field.send_keys(value)

    def press(self, words: str) -> None:
        """The button or link that says this; what was there before is gone when this returns."""
        element = self._wait(lambda: self._find(words), words)
        before = self.driver.find_element(By.TAG_NAME, "html")
        element.click()
        self.wait.until(lambda _: _is_gone(before))

    def press_and_stay(self, words: str) -> None:
        self._wait(lambda: self._find(words), words).click()

    def until(self, words: str) -> str:
        """Wait until the page says this; gives all it says."""
        self._wait(lambda: words in self.text, words)
        return self.text

    def until_at(self, beginning: str) -> str:
        """Wait until the address begins so; gives it."""
        self._wait(lambda: self.driver.current_url.startswith(beginning), beginning)
        return str(self.driver.current_url)

    @property
    def text(self) -> str:
        try:
            return str(self.driver.find_element(By.TAG_NAME, "body").text)
        except Exception:
            return ""

    def authenticator(self) -> None:
        """A device that keeps passkeys and always finds that it is its owner."""
        options = VirtualAuthenticatorOptions()
        options.protocol = VirtualAuthenticatorOptions.Protocol.CTAP2
        options.transport = VirtualAuthenticatorOptions.Transport.INTERNAL
        options.has_resident_key = True
        options.has_user_verification = True
        options.is_user_verified = True
        self.driver.add_virtual_authenticator(options)

    def complaints(self) -> list[str]:
        """What the browser refused or could not do on our pages, by its own log."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]

    def picture(self, path: Path) -> None:
        self.driver.save_screenshot(str(path))

    def _wait(self, found: Callable[[], T], what: str) -> T:
        try:
            return self.wait.until(lambda _: found())
        except TimeoutException:
            page = f"{self.driver.current_url[:200]}: {self.text[:500]!r}"
            raise AssertionError(f"there is no {what!r} at {page}; {self.complaints()}") from None

    def _first(self, by: str, value: str) -> WebElement | None:
        return next((one for one in self.driver.find_elements(by, value) if one.is_displayed()), None)

    def _find(self, words: str) -> WebElement | None:
        for element in self.driver.find_elements(By.CSS_SELECTOR, "button, a, summary, input[type=submit]"):
            if element.is_displayed() and element.text.startswith(words):
                return element
        return None


def _is_gone(element: WebElement) -> bool:
    try:
        element.is_enabled()
    except Exception:
        return True
    return False


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    options = Options()
    for flag in (*FLAGS, f"--user-data-dir={folder / 'profile'}", "--window-size=900,1200"):
        options.add_argument(flag)
    options.binary_location = str(shutil.which(CHROMIUM))
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(str(shutil.which(DRIVER))))
    try:
        yield Browser(driver)
    finally:
        driver.quit()


def code_of(seed: str, *, after: str = "") -> str:
    """What an authenticator app shows for this seed now; another than `after`, which was used."""
    key = base64.b32decode(re.sub(r"\s", "", seed) + "=" * (-len(re.sub(r"\s", "", seed)) % 8))
    while True:
        now = TOTP(key, 6, SHA1(), 30, enforce_key_length=False).generate(int(time.time())).decode()
        if now != after:
            return now
        time.sleep(1)
