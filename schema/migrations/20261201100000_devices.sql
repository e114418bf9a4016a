-- Rollcall's own tables. Clocks are bigint: microseconds since the Unix epoch, exact, and what the service computes with;
-- the view rollcall.device_clocks shows them as timestamps.
create schema if not exists rollcall;

-- The clocks behind a devices row. One narrow row a device, never indexed on what moves, so that its updates stay HOT.
--
-- alive_before: the runs of evidence before the newest one, [first, last]; silent_before: the silence that ended each of them, in
-- their order. battery, signal: the values that were observed at battery_at and signal_at, so that a value which somebody edited
-- in the row is told from the one that was measured. version_at: as of when the version counts that the row had before its device
-- was first heard.
create table rollcall.device_state (
    device_id uuid primary key references public.devices (id) on delete cascade,
    online_at bigint,
    offline_at bigint,
    stream_offline_at bigint,
    alive_from bigint,
    alive_before int8multirange,
    silent_at bigint,
    snapshot_online_at bigint,
    snapshot_offline_at bigint,
    battery_at bigint,
    signal_at bigint,
    silent_before bigint[],
    battery smallint,
    signal smallint,
    version_at bigint
) with (fillfactor = 70);

create view rollcall.device_clocks as
select device_id,
    to_timestamp(online_at / 1e6) as online_at, to_timestamp(greatest(offline_at, stream_offline_at) / 1e6) as offline_at,
    to_timestamp(alive_from / 1e6) as alive_from, to_timestamp(silent_at / 1e6) as silent_at,
    to_timestamp(battery_at / 1e6) as battery_at, to_timestamp(signal_at / 1e6) as signal_at
from rollcall.device_state;

-- Ordered connection events of a cloud (see handlers/sequences.py): three maxima a device and kind of order.
create table rollcall.device_streams (
    device_id uuid not null references public.devices (id) on delete cascade,
    order_window bigint not null,
    connected_at bigint,
    disconnected_at bigint,
    head_online boolean not null,
    head_at bigint not null,
    head_order text not null,
    primary key (device_id, order_window)
) with (fillfactor = 70);

-- Which device an external id of an integration means.
--
-- unlisted_at: since when a listing has not had a device; what was missing before does not make a listing suspicious again.
-- listed_digest: of an entry that was applied, with the fields that both sides then agreed on.
create table rollcall.device_identity (
    integration_id uuid not null references public.device_integrations (id) on delete cascade,
    external_device_id text not null,
    device_id uuid not null references public.devices (id) on delete cascade,
    created_at timestamptz not null default now(),
    unlisted_at timestamptz,
    listed_digest bigint,
    primary key (integration_id, external_device_id)
);
create index device_identity_device_id_idx on rollcall.device_identity (device_id);

-- The newest value of each named reading.
create table rollcall.device_readings (
    device_id uuid not null references public.devices (id) on delete cascade,
    name text not null,
    value double precision not null,
    unit text not null,
    at bigint not null,
    primary key (device_id, name)
) with (fillfactor = 70);

-- What providers say about a device besides its telemetry: the newest word on each field, and what both sides last
-- agreed on (see handlers/conflicts.py). A field is a column of devices, a key of its metadata, or `lifecycle`.
create table rollcall.device_facts (
    device_id uuid not null references public.devices (id) on delete cascade,
    field text not null,
    remote jsonb not null,
    remote_at bigint not null,
    agreed jsonb,
    primary key (device_id, field)
) with (fillfactor = 80);

-- The newest error of each field of a device: what stood there and why it could not be used. Written beside the commits, at most
-- once a minute a device and field; the newest 32 of a device are kept. `at`: microseconds since 1970, when its message was received.
create table rollcall.field_errors (
    device_id uuid not null references public.devices (id) on delete cascade,
    field text not null,
    value text not null,
    reason text not null,
    at bigint not null,
    primary key (device_id, field)
);

-- Each look at this index would read its whole list of what is new: thousands of looks for a listing of new devices.
alter index if exists public.devices_hardware_ids_idx set (fastupdate = off);
