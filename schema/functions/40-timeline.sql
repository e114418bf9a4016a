-- The transitions of the timeline, written in one place: the rows of a device that are not retracted, replayed in the order of
-- their times, give its status and its last_seen_offline.

-- From now on the rows of this transaction are recorded at this moment: taken behind the locks of the devices, so that of one
-- device what is committed later is recorded later.
create or replace function rollcall.record_from_now() returns void language sql volatile as $$
    select pg_catalog.set_config('rollcall.recorded_at', pg_catalog.clock_timestamp()::text, true)
$$;

-- Number the oldest `most` rows of the timeline that have no position yet; returns how many.
create or replace function rollcall.number_events(most int) returns int language plpgsql as $$
declare
    numbered int;
begin
    with waiting as (
        select e.ctid as tid, e.recorded_at, e.at, e.kind from rollcall.device_events e where e.position is null
        order by e.recorded_at, e.at limit most for update
    ),
    placed as (
        select w.tid, pg_catalog.nextval('rollcall.device_event_positions') as position
        from (select * from waiting order by recorded_at, at, kind desc) as w
    )
    update rollcall.device_events e set position = p.position from placed p where e.ctid = p.tid;
    get diagnostics numbered = row_count;
    return numbered;
end $$;

-- The comings and goings inside a batch: each mark that changes what was so before it. Where a device changed more often than marks are
-- kept, each of its rows says how many were left out.
create or replace function rollcall.record_marks(changes rollcall.transition[], marks rollcall.mark[])
returns void language plpgsql as $$
begin
    insert into rollcall.device_events (subject, kind, at, source, detail)
    select m.device_id, case when m.online then 'online' else 'offline' end, rollcall.timestamp_of(m.at), m.source,
        case when m.left_out > 0 then pg_catalog.jsonb_build_object('left_out', m.left_out) else '{}' end
    from (
        select t.*, pg_catalog.lag(t.online, 1, coalesce(c.old_status, d.status) <> 'offline')
            over (partition by t.device_id order by t.at, not t.online) as before
        from pg_catalog.unnest(marks) as t
        join public.devices d on d.id = t.device_id
        left join pg_catalog.unnest(changes) as c on c.id = t.device_id
    ) as m
    where m.before is distinct from m.online order by 1, 3
    on conflict (subject, kind, component, at, source) do update set retracted_at = null, position = null
        where device_events.retracted_at is not null;
end $$;

-- Retract what turned out not to be so: words of going later than the last one, of coming later than the newest evidence, and
-- silences in which the device was heard after all. A retained `offline` is a word of its own: it moves no last_seen_offline.
create or replace function rollcall.retract_transitions(changes rollcall.transition[]) returns void language plpgsql as $$
begin
    update rollcall.device_events e set retracted_at = rollcall.recording_time(), position = null from (
        select x.tid from pg_catalog.unnest(changes) as c cross join lateral (
            select y.ctid as tid from rollcall.device_events y
            where y.subject = c.id and y.component = '' and y.retracted_at is null and (
                (y.kind = 'offline' and not y.detail ? 'snapshot'
                    and (c.offline_at is null or y.at > rollcall.timestamp_of(c.offline_at)))
                or (y.kind = 'online' and y.at > rollcall.timestamp_of(c.online_at))
                -- offline by a retained word alone: a retained `online` behind it counts no more
                or (y.kind = 'online' and c.new_status = 'offline' and c.online_at is null
                    and c.snapshot_offline_at <> 1420070400000000 and y.at >= rollcall.timestamp_of(c.snapshot_offline_at))
                or (y.kind = 'offline' and y.source = 'sweep'
                    and rollcall.micros_of(y.at) = any (c.silences_before)
                    and not rollcall.micros_of(y.at) = any (c.silences_after)))
            offset 0) as x
    ) as n where e.ctid = n.tid;
end $$;

-- Insert the silences that are known now, but those in which the device had said that it goes.
create or replace function rollcall.record_silences(changes rollcall.transition[]) returns void language plpgsql as $$
begin
    insert into rollcall.device_events (subject, kind, at, source)
    select c.id, 'offline', rollcall.timestamp_of(s.began), 'sweep'
    from pg_catalog.unnest(changes) as c
    cross join lateral rows from (pg_catalog.unnest(c.silences_after), pg_catalog.unnest(c.ends_after)) as s (began, last)
    where not s.began = any (coalesce(c.silences_before, '{}'))
        and not exists (select from rollcall.device_events y where y.subject = c.id and y.kind = 'offline'
            and y.component = '' and y.retracted_at is null
            and y.at between rollcall.timestamp_of(s.last) and rollcall.timestamp_of(s.began))
        and not coalesce(c.offline_at < s.began and c.offline_at >= s.last, false)
    on conflict (subject, kind, component, at, source) do update set retracted_at = null, position = null
        where device_events.retracted_at is not null;
end $$;

-- Let the last word of going be at last_seen_offline: a device that repeats that it goes went the first time, and the row of that
-- says until when it was repeated (last_at).
create or replace function rollcall.record_last_goings(changes rollcall.transition[]) returns void language plpgsql as $$
begin
    with last as materialized (
        select c.id, c.source, c.is_silence, rollcall.timestamp_of(c.offline_at) as at, newest.tid, newest.kind,
            newest.at as newest_at
        from pg_catalog.unnest(changes) as c
        left join lateral (
            select y.ctid as tid, y.kind, y.at from rollcall.device_events y
            where y.subject = c.id and y.component = '' and y.kind in ('online', 'offline') and y.retracted_at is null
                and y.at <= rollcall.timestamp_of(c.offline_at) and not y.detail ? 'snapshot'
            order by y.at desc, y.kind limit 1) as newest on true
        where c.offline_at is not null
    ),
    stale as (
        update rollcall.device_events e set detail = e.detail - 'last_at' from (
            select y.ctid as tid from last l join rollcall.device_events y on y.subject = l.id and y.component = ''
                and y.kind = 'offline' and y.detail ? 'last_at' and y.ctid <> l.tid) as n
        where e.ctid = n.tid
    ),
    repeated as (
        update rollcall.device_events e set detail = case when l.newest_at = l.at then e.detail - 'last_at'
            else e.detail || pg_catalog.jsonb_build_object('last_at', l.at) end
        from last l where e.ctid = l.tid and l.kind = 'offline'
            and (l.newest_at < l.at or e.detail ? 'last_at')
    )
    insert into rollcall.device_events (subject, kind, at, source)
    select l.id, 'offline', l.at, case when l.is_silence then 'sweep' else l.source end
    from last l where l.kind is distinct from 'offline'
    on conflict (subject, kind, component, at, source) do update set retracted_at = null, position = null
        where device_events.retracted_at is not null;
end $$;

-- Let a device that is online have come after its last going, and one that is offline by a retained word alone have gone with it.
create or replace function rollcall.record_last_comings(changes rollcall.transition[]) returns void language plpgsql as $$
begin
    insert into rollcall.device_events (subject, kind, at, source, detail)
    select c.id, c.new_status::text, rollcall.timestamp_of(n.at), c.source,
        case when c.new_status = 'offline' then '{"snapshot": true}'::jsonb else '{}' end
    from pg_catalog.unnest(changes) as c cross join lateral (
        -- a retained word of which nobody knows the gap that it was said in is dated 2015: it is told as of now
        select case when c.new_status = 'offline' then case when c.snapshot_offline_at = 1420070400000000
                then rollcall.micros_of(rollcall.recording_time()) else c.snapshot_offline_at end
            when c.offline_at is null then coalesce(c.online_first, c.alive_from, c.online_at)
            when c.online_first > c.offline_at then c.online_first
            when c.alive_from > c.offline_at then c.alive_from
            when c.online_at > c.offline_at then c.online_at end as at
    ) as n
    where n.at is not null
        and ((c.new_status = 'offline' and c.old_status is distinct from c.new_status)
            or (c.new_status = 'online' and not exists (
                select from rollcall.device_events y where y.subject = c.id and y.kind = 'online' and y.component = ''
                    and y.retracted_at is null
                    and (c.offline_at is null or y.at > rollcall.timestamp_of(c.offline_at)))))
    on conflict (subject, kind, component, at, source) do update set retracted_at = null, position = null
        where device_events.retracted_at is not null;
end $$;

-- Write what changed: retract what was not so, then the silences, the last going and the first coming of each device.
create or replace function rollcall.record_transitions(changes rollcall.transition[], marks rollcall.mark[])
returns void language plpgsql as $$
declare
    gone rollcall.transition[];
begin
    if pg_catalog.cardinality(marks) > 0 then
        perform rollcall.record_marks(changes, marks);
    end if;
    -- of most that change only the first coming is new
    gone := array(select c from pg_catalog.unnest(changes) as c
        where c.was_offline_at is not null or c.offline_at is not null or c.was_snapshot or c.snapshot_offline_at is not null
            or pg_catalog.cardinality(c.silences_after) > 0);
    if pg_catalog.cardinality(gone) > 0 then
        perform rollcall.retract_transitions(gone);
        perform rollcall.record_silences(gone);
        perform rollcall.record_last_goings(gone);
    end if;
    if pg_catalog.cardinality(changes) > 0 then
        perform rollcall.record_last_comings(changes);
    end if;
end $$;
