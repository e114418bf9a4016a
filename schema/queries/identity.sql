-- Which device an id means, rows for new devices, and devices that wait for one.

-- name: identities
-- lateral: an index lookup each, also when the plan was made while the table was empty
select t.e as external_device_id, i.device_id from pg_catalog.unnest($2::text[]) as t (e) cross join lateral (
    select device_id from rollcall.device_identity where integration_id = $1 and external_device_id = t.e limit 1) as i;

-- name: all_identities
select external_device_id, device_id from rollcall.device_identity where integration_id = $1 limit $2;

-- name: external_ids
select t.e from pg_catalog.unnest($2::text[]) as t (e) cross join lateral (
    select 1 from public.devices where integration_id = $1 and external_device_id = t.e limit 1) as d;

-- name: candidates
-- $5: whether rows of other integrations count
select c.place, c.id, c.how from rollcall.candidates($1, $2, $3, $4) as c
where $5::boolean or coalesce((select d.integration_id from public.devices d where d.id = c.id), $1) = $1;

-- name: bind_identities
-- a row that somebody holds is bound another time: the foreign key would wait for it
with free as materialized (
    select d.id from public.devices d where d.id = any ($3::uuid[]) for key share of d skip locked)
insert into rollcall.device_identity (integration_id, external_device_id, device_id)
select $1::uuid, t.e, t.d from rows from (pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::uuid[])) as t (e, d)
join free f on f.id = t.d order by 1, 2
on conflict do nothing;

-- name: serials_taken
select serial_number from public.devices where serial_number = any ($1::text[]);

-- name: counts_for_creation
insert into rollcall.integration_counts (integration_id) values ($1)
on conflict (integration_id) do update set
    created_in_minute = case when rollcall.integration_counts.minute = pg_catalog.date_trunc('minute', pg_catalog.now())
        then rollcall.integration_counts.created_in_minute else 0 end,
    minute = pg_catalog.date_trunc('minute', pg_catalog.now())
returning created_total, created_in_minute;

-- name: count_created
update rollcall.integration_counts set created_total = created_total + $2, created_in_minute = created_in_minute + $3
where integration_id = $1;

-- name: create_devices
insert into public.devices (id, organization_id, integration_id, external_device_id, serial_number, hardware_ids, name,
    device_type)
select t.id, n.organization_id, n.id, t.e, t.serial,
    case when t.hardware is not null then array(select pg_catalog.jsonb_array_elements_text(t.hardware)) end, t.label, 'unknown'
from rows from (pg_catalog.unnest($2::uuid[]), pg_catalog.unnest($3::text[]), pg_catalog.unnest($4::text[]), pg_catalog.unnest($5::jsonb[]), pg_catalog.unnest($6::text[])) as t (id, e, serial, hardware, label),
    public.device_integrations n
where n.id = $1 order by t.id;

-- name: parked
select external_device_id, key, evidence, messages from rollcall.parked_devices
where integration_id = $1 and external_device_id = any ($2::text[]);

-- name: heard_of
-- lateral, with limits: index lookups each, whatever the fleet's size, and only until one finds it
select t.e from pg_catalog.unnest($2::text[]) as t (e) cross join lateral (
    (select 1 from rollcall.device_identity where integration_id = $1 and external_device_id = t.e limit 1)
    union all (select 1 from public.devices where integration_id = $1 and external_device_id = t.e limit 1)
    union all (select 1 from rollcall.parked_devices where integration_id = $1 and external_device_id = t.e limit 1)
    limit 1) as heard;

-- name: parked_page_end
-- the last label of the next page; NULL on the last page
select external_device_id from rollcall.parked_devices where integration_id = $1 and external_device_id > $2
order by external_device_id offset $3 - 1 limit 1;

-- name: parked_with_device
with parked as materialized (
    select pg_catalog.row_number() over (order by external_device_id) as place, external_device_id as label, key, evidence, messages
    from rollcall.parked_devices
    where integration_id = $1 and external_device_id > $2 and ($3::text is null or external_device_id <= $3)),
keys as (
    select pg_catalog.array_agg(key ->> 'external_id' order by place) as externals, pg_catalog.array_agg(key ->> 'serial_number' order by place) as serials,
        pg_catalog.array_agg(case when pg_catalog.jsonb_array_length(key -> 'hardware_ids') > 0 then key -> 'hardware_ids' end order by place) as hardware
    from parked),
found as (
    select c.place from keys, rollcall.candidates($1, externals, serials, hardware) as c
    union select p.place from parked p cross join lateral (select 1 from rollcall.device_identity i
        where i.integration_id = $1 and i.external_device_id = p.key ->> 'external_id' limit 1) as bound)
select p.label, p.key, p.evidence, p.messages from parked p join found using (place) order by p.place;

-- name: count_parked
select pg_catalog.count(*) from rollcall.parked_devices where integration_id = $1;

-- name: park
-- $5: how many messages the row counted when it was read, 0 where there was none. A row that is not returned was written meanwhile.
insert into rollcall.parked_devices (integration_id, external_device_id, key, evidence, messages)
select i, e, k, v, n + 1 from rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::jsonb[]), pg_catalog.unnest($4::jsonb[]), pg_catalog.unnest($5::bigint[])) as t (i, e, k, v, n)
order by 1, 2
on conflict (integration_id, external_device_id) do update set key = excluded.key, evidence = excluded.evidence,
    messages = excluded.messages, last_at = pg_catalog.now()
where parked_devices.messages = excluded.messages - 1
returning integration_id, external_device_id, messages = 1 as is_new;

-- name: unpark
-- what was parked after the row was read stays
delete from rollcall.parked_devices p using rows from (pg_catalog.unnest($1::uuid[]), pg_catalog.unnest($2::text[]), pg_catalog.unnest($3::bigint[])) as t (i, e, n)
where p.integration_id = t.i and p.external_device_id = t.e and p.messages = t.n;
