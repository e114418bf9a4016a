"""The world of a run: a broker, a durable Postgres, a template database with the fleet, one copy a contender."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

import orjson

from benches.contenders.place import Place
from benches.introduction import introduce
from benches.load import Client
from handlers.topics import Topics
from ingest.integrations import names
from ingest.migrate.runner import migrate
from tests.servers.mosquitto import MosquittoServer
from tests.servers.postgres import PostgresServer

INTEGRATION = UUID("00000000-0000-4000-8000-000000000001")
SECRET = "0123456789abcdef0123456789abcdef"
ROLLCALL = ("rollcall", "first_contact")
SEED = """
insert into organizations (name, slug) values ('bench', 'bench');
insert into device_integrations (id, organization_id, integration_type, name, settings)
    select '{id}', id, 'mqtt', 'bench', '{settings}' from organizations;
insert into rollcall.mqtt_names (integration_id, secret) values ('{id}', '{secret}');
insert into devices (organization_id, integration_id, external_device_id, name, device_type, status, last_seen)
    select o.id, '{id}', 'd' || n, 'd' || n, 'sensor', 'online', now()
    from organizations o, generate_series(0, {devices} - 1) as n;
"""


@dataclass(frozen=True, slots=True)
class World:
    """Both servers, running."""

    broker: MosquittoServer
    postgres: PostgresServer

    def seed(self, devices: int) -> str:
        """Make the template database of a fleet, once; the devices are there and online."""
        name = f"fleet_{devices}"
        if self.postgres.psql(f"select 1 from pg_database where datname = '{name}'"):
            return name
        self.postgres.psql(f"create database {name}")
        asyncio.run(migrate(self.postgres.dsn(name)))
        settings = {"host": self.broker.host, "port": self.broker.port, "protocol": "5"}
        sql = SEED.format(
            id=INTEGRATION, secret=SECRET, settings=orjson.dumps(settings).decode(), devices=devices
        )
        self.postgres.psql(sql, name)
        self.postgres.psql("vacuum analyze", name)
        return name

    def known(self, devices: int) -> str:
        """Make the same fleet as Rollcall knows it once each device has spoken, once."""
        name = f"known_{devices}"
        if not self.postgres.psql(f"select 1 from pg_database where datname = '{name}'"):
            place = self.place(self.seed(devices), "rollcall")
            introduce(place, devices)
            drained = place.database.rsplit("/", 1)[1]
            self.postgres.psql(f"alter database {drained} rename to {name}")
            Client(place.port, place.client_id).close()
            self.postgres.psql("vacuum analyze", name)
        return name

    def place(self, template: str, contender: str) -> Place:
        """Copy the template for a contender and create its session at the broker, which then waits."""
        database = f"{template}_{contender}"
        self.postgres.psql(f"create database {database} template {template}")
        ours = contender in ROLLCALL
        client_id = names.client_id("rollcall", INTEGRATION, SECRET, 0) if ours else f"bench-{contender}"
        place = Place(self.postgres.dsn(database), self.broker.port, client_id, INTEGRATION)
        client = Client(place.port, client_id, keep=True)
        client.subscribe([*Topics.parse(None).filters(), names.marker_topic(client_id, SECRET)])
        client.close()
        return place

    def forget(self, place: Place) -> None:
        """Drop a contender's database and its session."""
        self.postgres.psql(f"drop database {place.database.rsplit('/', 1)[1]} with (force)")
        Client(place.port, place.client_id).close()


@contextmanager
def world() -> Iterator[World]:
    """Start both servers, and remove them afterwards."""
    broker = MosquittoServer()
    postgres = PostgresServer(durable=True, shared_buffers="2GB", max_wal_size="8GB")
    try:
        broker.start()
        postgres.start()
        yield World(broker, postgres)
    finally:
        broker.destroy()
        postgres.destroy()
