-- The names of built-in functions and catalogs are qualified: another role's function of the same name, say public.unnest for
-- uuid[], would run with the service's rights. The search_path stays the role's own; see schema/README.md.

create or replace function rollcall.add_missing_constraint(target regclass, kind "char", columns text[], constraint_name text, definition text)
returns void language plpgsql as $$
begin
    if exists (
        select from pg_catalog.pg_constraint c
        where c.conrelid = target and c.contype = kind and columns <@ (
            select pg_catalog.array_agg(a.attname::text) from pg_catalog.pg_attribute a
            where a.attrelid = target and a.attnum = any (c.conkey))
    ) then
        return;
    end if;
    execute pg_catalog.format('alter table %s add constraint %I %s not valid', target, constraint_name, definition);
end $$;

create or replace function rollcall.candidates(integration uuid, externals text[], serials text[], hardware jsonb[])
returns table (place bigint, id uuid, how text) language sql stable set enable_seqscan to 'off' as $$
    with keys as materialized (
        select t.*, n.id as integration_id, n.organization_id
        from rows from (pg_catalog.unnest(externals), pg_catalog.unnest(serials), pg_catalog.unnest(hardware))
            with ordinality as t (external, serial, ids, place)
        cross join (select i.id, i.organization_id from public.device_integrations i where i.id = integration) as n
    ),
    named as materialized (
        select k.place, h.name from keys k, pg_catalog.jsonb_array_elements_text(k.ids) as h (name)
    ),
    owners as materialized (
        select d.id, d.created_at, u.name from public.devices d, pg_catalog.unnest(d.hardware_ids) as u (name)
        where d.hardware_ids && (select pg_catalog.array_agg(distinct n.name) from named n)
            -- not "=": its index would be preferred
            and d.organization_id is not distinct from (select k.organization_id from keys k limit 1)
    )
    select c.place, c.id, c.how from (
        select k.place, d.id, d.created_at, 'external' as how from keys k join public.devices d
            on d.integration_id = k.integration_id and d.external_device_id = k.external
        union all
        select k.place, d.id, d.created_at, 'serial' from keys k join public.devices d
            on d.serial_number = k.serial and d.organization_id = k.organization_id
        union
        select n.place, o.id, o.created_at, 'hardware' from named n join owners o on o.name = n.name
    ) as c
    order by c.place, c.created_at, c.id $$;

create or replace function rollcall.close_table(target regclass)
returns void language plpgsql as $$
declare
    stranger text;
begin
    execute pg_catalog.format('alter table %s enable row level security', target);
    execute pg_catalog.format('revoke all on table %s from public', target);
    for stranger in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated') loop
        execute pg_catalog.format('revoke all on table %s from %I', target, stranger);
    end loop;
end $$;

create or replace function rollcall.has_index(target regclass, method text, columns text[], must_be_unique boolean default false)
returns boolean language sql stable as $$
    select exists (
        select from pg_catalog.pg_index i
        join pg_catalog.pg_class c on c.oid = i.indexrelid
        join pg_catalog.pg_am m on m.oid = c.relam
        where i.indrelid = target and i.indisvalid and i.indisready and m.amname = method
            and i.indexprs is null and (i.indisunique or not must_be_unique)
            and (i.indpred is null
                or pg_catalog.pg_get_expr(i.indpred, i.indrelid) = pg_catalog.format('(%I IS NOT NULL)', columns[1]))
            and columns = (
                select pg_catalog.array_agg(a.attname::text order by k.ordinality)
                from pg_catalog.unnest(i.indkey::int2[]) with ordinality k (attnum, ordinality)
                join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                where k.ordinality <= i.indnkeyatts)
    ) $$;

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

create or replace function rollcall.listed_digest(d public.devices, listed bigint)
returns bigint language sql stable parallel safe as $$
    select pg_catalog.hashtextextended(
        row(listed, d.name, d.serial_number, d.hardware_ids, d.cohort_id, d.golioth_status, d.metadata)::text, 0) $$;

-- Lock the devices of a batch in one order and return the ids that are not there (any more).
create or replace function rollcall.lock_devices(ids uuid[])
returns uuid[] language plpgsql as $$
declare
    found_count int;
begin
    perform 1 from public.devices d where d.id = any (ids) order by d.id for no key update;
    get diagnostics found_count = row_count;
    if found_count = pg_catalog.cardinality(ids) then
        return '{}';
    end if;
    return array(select i from pg_catalog.unnest(ids) as i where not exists (select 1 from public.devices d where d.id = i));
end $$;

create or replace function rollcall.note_sighting()
returns trigger language plpgsql security definer set search_path to '' as $$
declare
    of_component text := coalesce(new.component_type, 'main');
    seen_at bigint := rollcall.micros_of(coalesce(new.installed_at, new.created_at, pg_catalog.now()));
begin
    if pg_catalog.current_setting('rollcall.applying', true) = 'on' or new.firmware_version is null then
        return new;
    end if;
    perform from public.devices where id = new.device_id for no key update;
    -- a component that was never heard reads the whole history at its first sighting
    update rollcall.device_firmware f set
        version = case when newer then new.firmware_version else f.version end,
        at = greatest(f.at, seen_at)
    from (select (seen_at, new.firmware_version collate "C") > (k.at, k.version collate "C") as newer
        from rollcall.device_firmware k where k.device_id = new.device_id and k.component = of_component) as t
    where f.device_id = new.device_id and f.component = of_component;
    if found then
        insert into rollcall.firmware_points as p (device_id, component, version, day, at)
        values (new.device_id, of_component, new.firmware_version, seen_at / 86400000000, seen_at)
        on conflict (device_id, component, version, day) do update set at = excluded.at where excluded.at < p.at;
    end if;
    return new;
end $$;

create or replace function rollcall.notify_integration()
returns trigger language plpgsql as $$
begin
    perform pg_catalog.pg_notify('rollcall_integrations', coalesce(new.id, old.id)::text);
    return null;
end $$;

create or replace function rollcall.open_to_api()
returns void language plpgsql as $$
declare
    one record;
    named text;
begin
    if pg_catalog.to_regrole('rollcall_api') is null then
        if not (select rolsuper or rolcreaterole from pg_catalog.pg_roles where rolname = current_user) then
            return;
        end if;
        begin
            create role rollcall_api nologin noinherit;
        exception when duplicate_object or unique_violation then
            null;  -- another database of this cluster was migrated at the same time
        end;
    end if;
    if not (select rolsuper from pg_catalog.pg_roles where rolname = current_user) then
        begin
            execute pg_catalog.format('grant rollcall_api to %I', current_user);
        exception when insufficient_privilege then
            null;
        end;
    end if;
    grant usage on schema rollcall to rollcall_api;
    for one in select r.*, pg_catalog.to_regclass(r.target) as relation from rollcall.api_rights() r loop
        continue when one.relation is null;
        select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum) into named from pg_catalog.pg_attribute a
        where a.attrelid = one.relation and a.attnum > 0 and not a.attisdropped
            and (one.columns = '{}' or a.attname = any (one.columns));
        execute pg_catalog.format('grant %s on table %s to rollcall_api',
            (select pg_catalog.string_agg(pg_catalog.format('%s%s', kind, case when kind = 'delete' then '' else ' (' || named || ')' end), ', ')
                from pg_catalog.unnest(pg_catalog.string_to_array(one.rights, ', ')) as kind), one.relation);
        if one.target like 'rollcall.%' then
            execute pg_catalog.format('alter table %s enable row level security', one.relation);
        end if;
        execute pg_catalog.format('drop policy if exists rollcall_api on %s', one.relation);
        execute pg_catalog.format('create policy rollcall_api on %s to rollcall_api using (%s)', one.relation,
            case one.rows_of_it
                when 'own' then 'organization_id = rollcall.organization()'
                when 'device' then 'exists (select from public.devices d
                    where d.id = device_id and d.organization_id = rollcall.organization())'
                when 'integration' then 'exists (select from public.device_integrations i
                    where i.id = integration_id and i.organization_id = rollcall.organization())'
                else one.rows_of_it end);
    end loop;
end $$;

create or replace function rollcall.reference_users(target regclass, user_column text)
returns void language plpgsql as $$
begin
    if exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'auth' and c.relname = 'users'
            and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'references')
    ) then
        execute pg_catalog.format('alter table %s add foreign key (%I) references auth.users (id) on delete set null',
            target, user_column);
    end if;
end $$;

create or replace function rollcall.undone_if_any(gone uuid[])
returns uuid[] language plpgsql as $$
begin
    if pg_catalog.cardinality(gone) > 0 then
        raise sqlstate 'RC001' using message = 'devices are gone', detail = pg_catalog.array_to_string(gone, ',');
    end if;
    return gone;
end $$;

create or replace function rollcall.validate_constraint(target regclass, constraint_name text)
returns void language plpgsql as $$
declare
    definition text := (
        select pg_catalog.replace(pg_catalog.pg_get_constraintdef(oid), ' NOT VALID', '') from pg_catalog.pg_constraint
        where conrelid = target and conname = constraint_name and not convalidated);
begin
    if definition is null then
        return;
    end if;
    execute pg_catalog.format('alter table %s validate constraint %I', target, constraint_name);
exception when check_violation then
    execute pg_catalog.format('alter table %s drop constraint %I', target, constraint_name);
    raise warning '%', pg_catalog.format('%1$s has rows that break %2$s, which is left out. Repair: correct those rows, then run: '
        'alter table %1$s add constraint %2$I %3$s', target, constraint_name, definition);
end $$;
