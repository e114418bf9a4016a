"""Golioth's tags: ids on its devices, names everywhere else."""

from collections.abc import Iterable, Mapping

from handlers.events import MAX_EXTERNAL_ID
from ingest.errors import ProviderAway
from ingest.providers.checks import object_of
from ingest.providers.columns import MAX_TAG, Columns
from ingest.providers.golioth.paging import pages
from ingest.providers.http import JsonApi


class Tags:
    """The tags of one project, read when an id or a name is not known yet."""

    def __init__(self, api: JsonApi, project: str) -> None:
        self._api = api
        self._path = f"{project}/tags"
        self._names: dict[str, str] = {}

    def forget(self) -> None:
        """Read them anew at the next need: a tag may have another name by now."""
        self._names.clear()

    async def names(self, raw_devices: Iterable[object]) -> Mapping[str, str]:
        """Return id -> name of all tags of these devices; an id that has no usable name is its own."""
        ids = {tag_id for raw in raw_devices for tag_id in _ids(raw)}
        if not ids <= self._names.keys():
            await self._read()
            self._names = {**dict(zip(ids, ids, strict=True)), **self._names}
        return self._names

    async def ids(self, names: Iterable[str]) -> list[str]:
        """Return the ids of these names; a tag that does not exist is made."""
        wanted = list(names)
        if not set(wanted) <= set(self._names.values()):
            await self._read()
        known = {name: tag_id for tag_id, name in self._names.items()}
        return [known.get(name) or await self._make(name) for name in wanted]

    async def _read(self) -> None:
        async for page in pages(self._api, self._path, {}, None, lambda tag: str(tag)):
            for tag in page.entries:
                columns = Columns()
                found = tag if isinstance(tag, dict) else {}
                tag_id = columns.text("id", found.get("id"), MAX_EXTERNAL_ID)
                name = columns.text("name", found.get("name"), MAX_TAG)
                if tag_id is not None and name is not None:
                    self._names[tag_id] = name

    async def _make(self, name: str) -> str:
        answer = await self._api.call("POST", self._path, body={"name": name})
        tag_id = object_of(object_of(answer.body, self._path).get("data"), self._path).get("id")
        if not isinstance(tag_id, str) or not tag_id:
            raise ProviderAway(f"Golioth: {self._path}: the answer names no tag")
        self._names[tag_id] = name
        return tag_id


def _ids(raw: object) -> list[str]:
    found = raw.get("tagIds") if isinstance(raw, dict) else None
    return [tag_id for tag_id in found if isinstance(tag_id, str)] if isinstance(found, list) else []
