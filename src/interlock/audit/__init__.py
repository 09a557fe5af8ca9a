"""The record: who did what, when, from where, with what result. Written before a call passes."""

from interlock.audit.acts import ActRecorder
from interlock.audit.attest import AttestPage
from interlock.audit.entries import (
    Act,
    HandshakeRefused,
    Intent,
    Outcome,
    Progress,
    Refusals,
    Refused,
    encode,
)
from interlock.audit.files import Files
from interlock.audit.query import query
from interlock.audit.reader import OpenKey, read_frames
from interlock.audit.recorder import Recorder
from interlock.audit.recorder_process import run_recorder, seal_now
from interlock.audit.report import Problem, Report
from interlock.audit.segment import Recipient, RecordId, format_id, parse_id
from interlock.audit.signing import LogSigner, LogVerifier, log_signer, log_verifier
from interlock.audit.verify import verify
from interlock.audit.voice import Page
from interlock.audit.writer import SegmentWriter, SyncTicket

__all__ = [
    "Act",
    "ActRecorder",
    "AttestPage",
    "Files",
    "HandshakeRefused",
    "Intent",
    "LogSigner",
    "LogVerifier",
    "OpenKey",
    "Outcome",
    "Page",
    "Problem",
    "Progress",
    "Recipient",
    "RecordId",
    "Recorder",
    "Refusals",
    "Refused",
    "Report",
    "SegmentWriter",
    "SyncTicket",
    "encode",
    "format_id",
    "log_signer",
    "log_verifier",
    "parse_id",
    "query",
    "read_frames",
    "run_recorder",
    "seal_now",
    "verify",
]
