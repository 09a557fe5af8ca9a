"""The record: reading it, and what is administered of it.

What shows what is in records MUST be a `reading`, which only who may read the record gets.
"""

from __future__ import annotations

from typing import Final

from interlock.control.desks import Desks
from interlock.control.following import Follow, follow
from interlock.control.operations.operation import Asker, Lane, Nothing, Operations, Result, operation, reading
from interlock.control.proof import Open, open_record
from interlock.control.prune import Prune
from interlock.control.reading import Acknowledge, Export, Question, Sql, acknowledge, ask, export
from interlock.control.subjects import AddHold, Erase, Progress, ReleaseHold
from interlock.control.wire import Row

# -- reading it


def _query(desks: Desks, wanted: Question, asker: Asker, row: Row) -> Result:
    return ask(wanted, desks.paths.record, desks.keyring, desks.state, desks.acts(asker.actor), row)


def _sql(desks: Desks, wanted: Sql, asker: Asker, row: Row) -> Result:
    from interlock.control.sql import ask_sql

    acts, ended = desks.acts(asker.actor), desks.ended(asker.peer)
    return ask_sql(wanted, desks.paths, desks.keyring, desks.state, acts, row, ended)


def _follow(desks: Desks, wanted: Follow, asker: Asker, row: Row) -> Result:
    acts, ended = desks.acts(asker.actor), desks.ended(asker.peer)
    return follow(wanted, desks.paths.record, desks.keyring, desks.state, acts, row, ended)


def _export(desks: Desks, wanted: Export, asker: Asker, row: Row) -> Result:
    return export(wanted, desks.paths.record, desks.keyring, desks.state, desks.acts(asker.actor), row)


def _open(desks: Desks, wanted: Open, asker: Asker, _row: Row) -> Result:
    return open_record(wanted, desks.paths.record, desks.keyring, desks.acts(asker.actor))


# -- administering it


def _erase(desks: Desks, wanted: Erase, asker: Asker) -> Result:
    return desks.subjects.erase(wanted, desks.acts(asker.actor), alone=desks.page is None)


def _erasure(desks: Desks, wanted: Progress, asker: Asker) -> Result:
    return desks.subjects.progress(wanted, desks.acts(asker.actor))


def _add_hold(desks: Desks, wanted: AddHold, asker: Asker) -> Result:
    return desks.subjects.add_hold(wanted, desks.acts(asker.actor), str(asker.actor))


def _holds(desks: Desks, _wanted: Nothing, _asker: Asker) -> Result:
    return desks.subjects.holds()


def _release_hold(desks: Desks, wanted: ReleaseHold, asker: Asker) -> Result:
    return desks.subjects.release_hold(wanted, desks.acts(asker.actor))


def _acknowledge(desks: Desks, wanted: Acknowledge, asker: Asker) -> Result:
    return acknowledge(wanted, desks.acts(asker.actor))


def _prune(desks: Desks, wanted: Prune, asker: Asker) -> Result:
    return desks.prune(desks.plan_prune(), asker.actor, dry_run=wanted.dry_run)


RECORD: Final[Operations] = {
    "audit.query": reading(Question, _query),
    "audit.sql": reading(Sql, _sql),
    "audit.follow": reading(Follow, _follow, lane=Lane.FOLLOWING),
    "audit.export": reading(Export, _export),
    "audit.open": reading(Open, _open),
    "audit.erase": operation(Erase, _erase),
    "audit.erasure": operation(Progress, _erasure),
    "audit.hold.add": operation(AddHold, _add_hold),
    "audit.hold.list": operation(Nothing, _holds),
    "audit.hold.release": operation(ReleaseHold, _release_hold),
    "audit.acknowledge": operation(Acknowledge, _acknowledge),
    "audit.prune": operation(Prune, _prune),
}
