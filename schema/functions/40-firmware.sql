-- Firmware: the last writer wins by time, also where the last writer is a person or the platform.

-- The id of a row of the history that is ours: a hash of what it says.
create or replace function rollcall.install_id(device uuid, component text, version text, at bigint) returns uuid
language sql immutable parallel safe
return pg_catalog.md5(device::text || '/' || component || '/' || version || '/' || at::text)::uuid;

-- The runs over a component's points (see handlers/firmware.py), one row an install; `floating`: it is only the newest
-- observation, and no point. A version that came by a deployment of ours, to the device or to its cohort, is an ota_update. Providers
-- without times of their own and slow clocks date a version up to a day too early; that counts where the component ran another version before.
create or replace function rollcall.installs(ids uuid[], components text[])
returns table (device_id uuid, component text, version text, at bigint, source text, floating boolean) language sql stable as $$
    select t.device_id, t.component, r.version, r.at, case
        when exists (
            select from (
                select p.* from rollcall.deployments p where p.device_id = t.device_id
                union all
                select p.* from public.devices d
                join rollcall.deployments p on p.integration_id = d.integration_id and p.cohort_id = d.cohort_id
                where d.id = t.device_id
            ) as p
            where p.component = t.component and p.version = r.version
                and p.status in ('queued', 'in_progress', 'succeeded')
                and r.at <= rollcall.micros_of(p.deadline_at)
                and r.at >= rollcall.micros_of(p.queued_at
                    - case when p.from_version is distinct from p.version then interval '1 day' else interval '0' end))
            then 'ota_update'
        when r.before is null then 'factory_default' else 'unknown' end, not r.is_point
    from rows from (pg_catalog.unnest(ids), pg_catalog.unnest(components)) as t (device_id, component) cross join lateral (
        select p.version, p.at, pg_catalog.bool_or(p.is_point) as is_point,
            pg_catalog.lag(p.version) over (order by p.at, p.version collate "C") as before
        from (
            select q.version, q.at, true from rollcall.firmware_points q
            where q.device_id = t.device_id and q.component = t.component
            union all
            select f.version, f.at, false from rollcall.device_firmware f
            where f.device_id = t.device_id and f.component = t.component
        ) as p (version, at, is_point)
        group by p.version, p.at
    ) as r where r.before is distinct from r.version $$;

-- What was there before us counts: the history by others, else the version that the row had, as of when it was last heard then.
create or replace function rollcall.seed_firmware(ids uuid[], components text[]) returns void language plpgsql as $$
begin
    insert into rollcall.firmware_points (device_id, component, version, day, at)
    select distinct on (1, 2, 3, 4) q.* from rows from (pg_catalog.unnest(ids), pg_catalog.unnest(components)) as w (id, component)
    cross join lateral (
        select w.id, w.component, h.firmware_version, rollcall.micros_of(h.installed_at) / 86400000000,
            rollcall.micros_of(h.installed_at)
        from public.device_firmware_history h
        where h.device_id = w.id and coalesce(h.component_type, 'main') = w.component and h.installed_at is not null
        union all
        select w.id, 'main', d.firmware_version, o.at / 86400000000, o.at
        from public.devices d
        left join rollcall.device_state s on s.device_id = d.id
        cross join lateral (select coalesce(s.version_at,
            rollcall.micros_of(coalesce(d.last_seen, d.created_at))) as at) as o
        where d.id = w.id and w.component = 'main' and d.firmware_version is not null
            and not exists (select 1 from public.device_firmware_history h where h.device_id = w.id
                and coalesce(h.component_type, 'main') = 'main' and h.firmware_version = d.firmware_version)
    ) as q (id, component, version, day, at)
    order by 1, 2, 3, 4, 5
    on conflict do nothing;
end $$;

-- Write sightings: points, the newest version of each component, the history that follows from them, and the version of the row.
create or replace function rollcall.apply_firmware(said rollcall.said_of_firmware[])
returns void language plpgsql set plan_cache_mode = force_generic_plan set enable_seqscan = off as $$
declare
    fresh_ids uuid[];
    fresh_components text[];
    touched_ids uuid[];
    touched_components text[];
    main_ids uuid[];
    main_versions text[];
    former_versions text[];
    later boolean[];
begin
    select pg_catalog.array_agg(t.device_id), pg_catalog.array_agg(t.component) into fresh_ids, fresh_components
    from (select distinct u.device_id, u.component from pg_catalog.unnest(said) as u) as t
    where (select f.at from rollcall.device_firmware f where f.device_id = t.device_id and f.component = t.component) is null;
    if fresh_ids is not null then
        perform rollcall.seed_firmware(fresh_ids, fresh_components);
    end if;

    with upserted as (
        insert into rollcall.firmware_points as p (device_id, component, version, day, at)
        select i.device_id, i.component, i.version, i.at / 86400000000, pg_catalog.min(i.at)
        from pg_catalog.unnest(said) as i group by 1, 2, 3, 4 order by 1, 2, 3, 4
        on conflict (device_id, component, version, day) do update set at = excluded.at where excluded.at < p.at
        returning p.device_id, p.component
    ),
    newest as (
        select distinct on (i.device_id, i.component) i.device_id, i.component, i.version, i.at
        from pg_catalog.unnest(said) as i order by i.device_id, i.component, i.at desc, i.version collate "C" desc
    ),
    heads as (
        insert into rollcall.device_firmware as f (device_id, component, version, at)
        select n.device_id, n.component,
            case when (s.at, s.version collate "C") > (n.at, n.version) then s.version else n.version end,
            greatest(n.at, s.at)
        from newest n left join lateral (select p.version, p.at from rollcall.firmware_points p
            where p.device_id = n.device_id and p.component = n.component
                and (select f.at from rollcall.device_firmware f
                    where f.device_id = n.device_id and f.component = n.component) is null
            order by p.at desc, p.version collate "C" desc limit 1) as s on true
        order by n.device_id, n.component
        on conflict (device_id, component) do update set version = excluded.version, at = excluded.at
            where (excluded.at, excluded.version collate "C") > (f.at, f.version collate "C")
        returning f.device_id, f.component, f.version, f.at, f.floating
    ),
    moved as (
        -- each head as it is and as it was
        select h.*, f.version as former_version, f.at as former_at
        from heads h left join lateral (select x.version, x.at from rollcall.device_firmware x
            where x.device_id = h.device_id and x.component = h.component offset 0) as f on true
    ),
    touched as (
        select u.device_id, u.component from upserted u
        union
        select m.device_id, m.component from moved m where m.floating or m.version is distinct from m.former_version
    ),
    mains as (
        select pg_catalog.array_agg(m.device_id) as ids, pg_catalog.array_agg(m.version) as versions,
            pg_catalog.array_agg(m.former_version) as formers,
            pg_catalog.array_agg(m.former_at is null or m.at > m.former_at) as laters
        from moved m where m.component = 'main'
    )
    select t.ids, t.components, m.ids, m.versions, m.formers, m.laters
    into touched_ids, touched_components, main_ids, main_versions, former_versions, later
    from mains m, (select pg_catalog.array_agg(device_id) as ids, pg_catalog.array_agg(component) as components
        from touched) as t;

    if touched_ids is not null then
        perform rollcall.rewrite_history(touched_ids, touched_components);
    end if;
    -- a word of the time that is known already does not touch a version that somebody has edited since
    update public.devices d set firmware_version = n.version, updated_at = pg_catalog.now() from (
        select x.tid, t.version from rows from (pg_catalog.unnest(main_ids), pg_catalog.unnest(main_versions), pg_catalog.unnest(former_versions), pg_catalog.unnest(later))
            as t (device_id, version, former_version, is_later)
        cross join lateral (select y.ctid as tid, y.firmware_version from public.devices y
            where y.id = t.device_id offset 0) as x
        where x.firmware_version is distinct from t.version
            and (t.is_later or x.firmware_version is not distinct from t.former_version)
    ) as n
    where d.ctid = n.tid;
end $$;

-- Make the history of these components equal the runs over their points. Rows of others are never changed: ours are
-- known by their id, which is a hash of what they say. The runs are computed once, by rollcall.installs, which knows of
-- deployments too; each step looks rows up from there. What the row of the device shows is not decided here.
create or replace function rollcall.rewrite_history(ids uuid[], components text[]) returns void language plpgsql as $$
declare
    i_ids uuid[];
    i_components text[];
    i_versions text[];
    i_ats bigint[];
    i_sources text[];
    i_floating boolean[];
begin
    select pg_catalog.array_agg(i.device_id), pg_catalog.array_agg(i.component), pg_catalog.array_agg(i.version), pg_catalog.array_agg(i.at), pg_catalog.array_agg(i.source),
        pg_catalog.array_agg(i.floating)
    into i_ids, i_components, i_versions, i_ats, i_sources, i_floating from rollcall.installs(ids, components) i;

    update rollcall.device_firmware f set floating = n.is_floating from (
        select g.tid, true as is_floating
        from rows from (pg_catalog.unnest(i_ids), pg_catalog.unnest(i_components), pg_catalog.unnest(i_floating)) as i (device_id, component, floating)
        cross join lateral (select x.ctid as tid, x.floating from rollcall.device_firmware x
            where x.device_id = i.device_id and x.component = i.component offset 0) as g
        where i.floating and not g.floating
        union all
        select g.tid, false from rows from (pg_catalog.unnest(ids), pg_catalog.unnest(components)) as t (device_id, component)
        cross join lateral (select x.ctid as tid, x.floating from rollcall.device_firmware x
            where x.device_id = t.device_id and x.component = t.component offset 0) as g
        where g.floating and not exists (
            select 1 from rollcall.installs(array[t.device_id], array[t.component]) i where i.floating)
    ) as n
    where f.ctid = n.tid;

    with gone as (
        delete from public.device_firmware_history h using (
            select x.tid, t.component from rows from (pg_catalog.unnest(ids), pg_catalog.unnest(components)) as t (device_id, component)
            cross join lateral (select y.*, y.ctid as tid from public.device_firmware_history y
                where y.device_id = t.device_id and coalesce(y.component_type, 'main') = t.component offset 0) as x
            where x.id = rollcall.install_id(x.device_id, t.component, x.firmware_version,
                    rollcall.micros_of(x.installed_at))
                and not exists (select 1 from rollcall.installs(array[t.device_id], array[t.component]) i
                    where i.version = x.firmware_version and i.at = rollcall.micros_of(x.installed_at))
        ) as n
        where h.ctid = n.tid
        returning h.device_id, n.component, h.installed_at
    )
    update rollcall.device_events e set retracted_at = rollcall.recording_time(), position = null from (
        select x.tid from gone cross join lateral (select y.ctid as tid from rollcall.device_events y
            where y.subject = gone.device_id and y.kind = 'firmware' and y.component = gone.component
                and y.at = gone.installed_at and y.retracted_at is null offset 0) as x
    ) as n
    where e.ctid = n.tid;

    with added as (
        insert into public.device_firmware_history
            (id, device_id, firmware_version, component_type, installed_at, source)
        select rollcall.install_id(i.device_id, i.component, i.version, i.at), i.device_id, i.version, i.component,
            rollcall.timestamp_of(i.at), i.source
        from rows from (pg_catalog.unnest(i_ids), pg_catalog.unnest(i_components), pg_catalog.unnest(i_versions), pg_catalog.unnest(i_ats), pg_catalog.unnest(i_sources)) as i (device_id, component, version, at, source)
        where (select h.id from public.device_firmware_history h where h.device_id = i.device_id
            and coalesce(h.component_type, 'main') = i.component and h.firmware_version = i.version
            and h.installed_at = rollcall.timestamp_of(i.at) limit 1) is null
        order by i.device_id, i.component, i.at
        on conflict (id) do nothing
        returning device_id, component_type, installed_at, firmware_version
    )
    insert into rollcall.device_events (subject, kind, component, at, source, detail)
    select distinct on (device_id, component_type, installed_at) device_id, 'firmware', component_type, installed_at,
        'apply', pg_catalog.jsonb_build_object('version', firmware_version)
    from added order by device_id, component_type, installed_at, firmware_version collate "C" desc
    on conflict (subject, kind, component, at, source) do update set retracted_at = null, position = null, detail = excluded.detail;

    update public.device_firmware_history h set source = n.source from (
        select x.tid, i.source
        from rows from (pg_catalog.unnest(i_ids), pg_catalog.unnest(i_components), pg_catalog.unnest(i_versions), pg_catalog.unnest(i_ats), pg_catalog.unnest(i_sources)) as i (device_id, component, version, at, source)
        cross join lateral (select y.ctid as tid, y.source from public.device_firmware_history y
            where y.id = rollcall.install_id(i.device_id, i.component, i.version, i.at) offset 0) as x
        where x.source in ('factory_default', 'unknown') and x.source <> i.source
    ) as n
    where h.ctid = n.tid;
end $$;
