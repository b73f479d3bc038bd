"""Filters that analysts keep under a name, for themselves or for all."""

from __future__ import annotations

import msgspec
from sqlalchemy import delete, func, or_, select

from review.case import source_of
from review.case_filter import QueueFilter
from review.case_rows import CaseRows
from review.either import insert_on
from review.refusals import Refused
from review.tables import VIEWS

NAME_LIMIT = 64
VIEWS_LIMIT = 100


class View(msgspec.Struct, frozen=True, kw_only=True):
    """A filter with a name. A shared one is everybody's to use and its owner's to change."""

    owner: str
    name: str
    filter: QueueFilter
    shared: bool


class SavedViews(CaseRows):
    """Views, by owner and name."""

    def save_view(self, owner: str, name: str, filter: QueueFilter, shared: bool = False) -> View:
        """Keep a filter; a view of the owner that has this name becomes this one. Raises `Refused`."""
        source_of(owner)
        name = name.strip()
        if not 1 <= len(name) <= NAME_LIMIT:
            raise Refused(f"a view needs a name of 1 to {NAME_LIMIT} characters, not {len(name)}")
        row = {"filter": msgspec.json.encode(filter), "shared": int(shared)}
        with self.database.writing() as db:
            others = select(func.count()).where(VIEWS.c.owner == owner, VIEWS.c.name != name)
            if db.execute(others).scalar_one() >= VIEWS_LIMIT:
                raise Refused(f"{owner} has {VIEWS_LIMIT} views; drop one that is not needed")
            statement = insert_on(db, VIEWS).values(owner=owner, name=name, **row)
            db.execute(statement.on_conflict_do_update(index_elements=[VIEWS.c.owner, VIEWS.c.name], set_=row))
        return View(owner=owner, name=name, filter=filter, shared=shared)

    def views(self, owner: str) -> list[View]:
        """Their own views by name, then what others share."""
        statement = select(VIEWS).where(or_(VIEWS.c.owner == owner, VIEWS.c.shared == 1))
        with self.database.reading() as db:
            rows = db.execute(statement).all()
        found = [
            View(
                owner=row.owner,
                name=row.name,
                filter=msgspec.json.decode(row.filter, type=QueueFilter),
                shared=bool(row.shared),
            )
            for row in rows
        ]
        return sorted(found, key=lambda view: (view.owner != owner, view.name, view.owner))

    def drop_view(self, owner: str, name: str) -> None:
        """The owner's view of this name is gone, if there was one."""
        with self.database.writing() as db:
            db.execute(delete(VIEWS).where(VIEWS.c.owner == owner, VIEWS.c.name == name))
