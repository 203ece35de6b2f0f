"""What was used is recorded where it is opened, per run of a node, and nowhere else."""

from __future__ import annotations

import asyncio
from contextvars import copy_context

from facechain_impl import provenance
from facechain_impl.provenance import Origin, Record, Used

RTS, FQA = Used("network", "rts", Origin.PUBLISHED), Used("network", "fqa", Origin.STAND_IN)


def test_each_run_has_a_record_of_its_own():
    with provenance.recording() as first:
        provenance.register(RTS)
        with provenance.recording() as inner:
            provenance.register(FQA)
        provenance.register(RTS)
    with provenance.recording() as second:
        pass
    assert (list(first), list(inner), list(second)) == ([RTS], [FQA], [])


def test_outside_of_a_run_nothing_is_kept():
    provenance.register(RTS)
    assert list(provenance.current()) == []


def test_a_failed_run_leaves_no_record_behind():
    try:
        with provenance.recording():
            provenance.register(RTS)
            raise RuntimeError("failed")
    except RuntimeError:
        assert list(provenance.current()) == []


def test_runs_at_the_same_time_do_not_see_each_other():
    async def run(one: Used) -> list[Used]:
        with provenance.recording() as record:
            provenance.register(one)
            await asyncio.sleep(0)
            provenance.register(one)
            return list(record)

    async def both() -> list[list[Used]]:
        return await asyncio.gather(run(RTS), run(FQA))

    assert copy_context().run(asyncio.run, both()) == [[RTS], [FQA]]


def test_a_record_names_each_thing_once_and_its_stand_ins():
    record = Record([RTS, FQA, RTS])
    assert len(record) == 2 and record.stand_ins == ("fqa",)


def test_a_record_tells_what_was_opened_from_what_came_along():
    with provenance.recording() as record:
        provenance.inherit(RTS, FQA)
        provenance.register(RTS)
        provenance.inherit(RTS)
    assert [(one, record.is_opened(one)) for one in record] == [(RTS, True), (FQA, False)]


def test_what_was_written_down_can_be_read_by_another_version():
    assert Used.from_plain(RTS.plain()) == RTS
    assert Used.from_plain({"kind": "MODEL", "colour": "blue", "origin": "borrowed"}) == Used("MODEL", "unknown", Origin.UNKNOWN)
