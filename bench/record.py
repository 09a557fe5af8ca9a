"""The record alone, in one process: append, encrypt, commit to, write, seal, take into the tree, sign; then verify.

One core does the work of worker and recorder in turn, so that records per second of CPU is what both cost together.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import peers

RECORDS = int(os.environ.get("INTERLOCK_BENCH_RECORDS", "10000000"))
BATCH = 200  # records in one flush, as a busy turn of the event loop writes them
TICK = 25_000  # records between two looks of the recorder
GOALS = {"append to tree": "150,000/s", "verify": "200,000/s", "quick": "400 MB/s"}


def run(say: Callable[[str], None]) -> str:
    """A table in Markdown."""
    from interlock.audit import AttestPage, Recorder, SegmentWriter, log_verifier, verify
    from interlock.audit.entries import Intent, Outcome, encode
    from interlock.audit.recorder_process import NoPage
    from interlock.audit.signing import log_signer
    from interlock.keys import Keyring
    from interlock.model import Event

    folder = peers.SCRATCH / "run" / "record"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    keyring = Keyring(folder / "keys", os.urandom(32))
    keyring.ensure()
    record = folder / "record"
    attest = AttestPage.open(folder / "attest")
    signer = log_signer(keyring)
    writer = SegmentWriter(record, "worker-3", keyring.recipient(), attest=attest)
    recorder = Recorder(record, keyring.recipient(), signer, NoPage(), attest)
    intent = encode(Intent("user:iss/alice", ("jwt",), "GET", "h", "GET /a", "/a/1", "10.0.0.1", "up", "0" * 32))
    outcome = encode(Outcome(200, "", 1_500_000, 10, 20, "http://up"))
    code, after = Event.CALL_INTENT.code, Event.CALL_OUTCOME.code

    say(f"record: {RECORDS:,} records")
    writing = sealing = 0.0
    resident: list[int] = []
    for number in range(0, RECORDS, BATCH):
        began = time.process_time()
        for _ in range(BATCH // 2):
            writer.append(after, outcome, writer.append(code, intent))
        writer.flush()
        written = time.process_time()
        writing += written - began
        if number % TICK < BATCH:
            recorder.tick()
            sealing += time.process_time() - written
        if number % (RECORDS // 10) < BATCH:
            resident.append(_resident())
    began = time.process_time()
    writer.close()
    recorder.stop()
    sealing += time.process_time() - began
    size = sum(path.stat().st_size for path in record.rglob("*") if path.is_file())

    say("record: verify")
    log = log_verifier(folder / "keys")
    began = time.process_time()
    full = verify(record, log=log)
    verified = time.process_time() - began
    began = time.process_time()
    quick = verify(record, log=log, quick=True)
    quickly = time.process_time() - began
    assert full.ok, full.problems
    assert quick.ok, quick.problems
    shutil.rmtree(folder)
    total = writing + sealing
    per = 1e6 / RECORDS
    return "\n".join(
        [
            "| what | µs/record | per second and core | asked for |",
            "| --- | ---: | ---: | ---: |",
            f"| append, encrypt, commit, write | {writing * per:.2f} | {RECORDS / writing:,.0f} | |",
            f"| read back, compare, sync, seal, tree, sign | {sealing * per:.2f} | {RECORDS / sealing:,.0f} | |",
            f"| all of it | {total * per:.2f} | {RECORDS / total:,.0f} | {GOALS['append to tree']} |",
            f"| `audit verify` | {verified * per:.2f} | {RECORDS / verified:,.0f} | {GOALS['verify']} |",
            f"| `audit verify --quick` | {quickly * per:.2f} | {size / quickly / 1e6:,.0f} MB | {GOALS['quick']} |",
            "",
            f"{RECORDS:,} records, {size / RECORDS:.0f} bytes each with journal and tiles. Private memory: "
            f"{resident[1]:.0f} MiB after a tenth, {resident[-1]:.0f} after all, {max(resident[1:]):.0f} at most.",
        ]
    )


def _resident() -> float:
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Private_Dirty"):
            return int(line.split()[1]) / 1024
    return 0.0


if __name__ == "__main__":
    print(run(lambda text: print(text, file=sys.stderr)))
