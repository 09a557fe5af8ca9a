"""What the record can hold: one enumeration, `subject:action`, each with its stable number on disk."""

from __future__ import annotations

from enum import Enum


class Event(Enum):
    """`code` is the byte in a frame's clear header; `name_` is the text form. Numbers are never reused."""

    CALL_INTENT = 1, "call:intent"
    CALL_OUTCOME = 2, "call:outcome"
    CALL_REFUSED = 3, "call:refused"
    CALL_REFUSALS = 4, "call:refusals"  # a flood, counted
    CALL_PROGRESS = 5, "call:progress"
    TLS_REFUSED = 10, "tls:refused"
    NODE_START = 20, "node:start"
    NODE_STOP = 21, "node:stop"
    PROCESS_EXIT = 22, "process:exit"
    CONFIG_LOAD = 23, "config:load"
    CONFIG_REFUSED = 24, "config:refused"
    RECORD_GAP_POSSIBLE = 30, "record:gap-possible"
    RECORD_GAP_ACKNOWLEDGED = 31, "record:gap-acknowledged"
    RECORD_ALTERED = 32, "record:altered"
    RECORD_DAMAGED = 33, "record:damaged"
    RECORD_READ = 34, "record:read"
    SEGMENT_END = 35, "segment:end"
    RECORD_PRUNE = 36, "record:prune"  # its frame refers to the segment that is deleted
    RECORD_PRUNE_REFUSED = 37, "record:prune-refused"
    RECORD_READ_REFUSED = 38, "record:read-refused"  # to who may not read it
    KEY_CREATE = 40, "key:create"
    KEY_ROTATE = 41, "key:rotate"
    KEY_REVOKE = 42, "key:revoke"
    KEYRING_ROTATE = 43, "keyring:rotate"
    KEYRING_CUSTODIAN = 44, "keyring:custodian"
    KEYRING_DESTROYED = 45, "keyring:destroyed"
    KEYRING_ALTERED = 46, "keyring:altered"  # a public half was exchanged, and put back
    CERTIFICATE_ISSUE = 50, "certificate:issue"
    RECORD_SUBJECT = 60, "record:subject"  # whom later frames of the segment refer to
    SUBJECT_ERASE = 61, "subject:erase"
    SUBJECT_TURN = 62, "subject:turn"  # the keys of an erasure are destroyed
    HOLD_ADD = 63, "hold:add"
    HOLD_RELEASE = 64, "hold:release"
    TIME_STEP = 70, "time:step"
    TIME_SYNC = 71, "time:sync"
    TOKEN_ISSUE = 80, "token:issue"
    TOKEN_REFUSED = 81, "token:refused"
    CLIENT_CREATE = 82, "client:create"
    CLIENT_CHANGE = 83, "client:change"
    CLIENT_DISABLE = 84, "client:disable"
    GRANT_GIVE = 85, "grant:give"  # somebody allowed a client something
    GRANT_REVOKE = 86, "grant:revoke"
    CREDENTIAL_REVOKE = 87, "credential:revoke"  # a token, client, session, principal, issuer or certificate
    REVOCATION_EXPIRE = 88, "revocation:expire"  # of what nothing alive could match any more
    CREDENTIAL_RISK = 89, "credential:risk"  # how risky something is was found out
    USER_CREATE = 90, "user:create"
    USER_CHANGE = 91, "user:change"  # roles, or a password that an operator set or took back
    USER_DISABLE = 92, "user:disable"
    USER_ENABLE = 93, "user:enable"
    USER_UNLOCK = 94, "user:unlock"
    USER_PASSWORD = 95, "user:password"  # somebody chose a new one
    SESSION_BEGIN = 96, "session:begin"
    SESSION_END = 97, "session:end"
    SIGNIN_FAILED = 98, "signin:failed"
    SIGNIN_LOCKED = 99, "signin:locked"  # too many failures: nothing more is tried for a while
    FACTOR_ADD = 100, "factor:add"
    FACTOR_REMOVE = 101, "factor:remove"
    FACTOR_RECOVERY = 102, "factor:recovery"  # recovery codes were made, or one was used
    FACTOR_SUSPECT = 103, "factor:suspect"  # a passkey's counter went back: it may have been copied
    USER_REMOVE = 104, "user:remove"  # with all that the state has of them
    CREDENTIAL_MOVED = 115, "credential:moved"  # a token came from another network, or program, than at first
    REGISTRATION_TOKEN = 116, "registration:token"  # with which clients may register themselves
    DEVICE_LOCKED = 117, "device:locked"  # too many codes that there are not
    SIGNAL_STREAM = 120, "signal:stream"  # who is told was made, changed or removed
    SIGNAL_SEND = 121, "signal:send"  # others are told by hand; one of them has confirmed it
    SIGNAL_RECEIVE = 122, "signal:receive"  # what somebody told us, and what came of it
    SIGNAL_REFUSED = 123, "signal:refused"  # what somebody told us did not count, or they did not take what we told
    SIGNAL_STALLED = 124, "signal:stalled"  # somebody could not be told for too long

    def __init__(self, code: int, text: str) -> None:
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text


BY_CODE: dict[int, Event] = {event.code: event for event in Event}
