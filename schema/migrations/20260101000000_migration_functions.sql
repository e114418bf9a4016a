-- What the migrations of the public schema need to be safe on a platform that already has some of it.

-- Close a table that a migration has just created: only its owner (the service) and roles that bypass row security
-- see rows. Never called for a table that existed before.
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

-- Add a constraint NOT VALID, so that old rows are not read under the lock, unless one of its kind is on these columns.
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

-- Validate what add_missing_constraint added: readers and writers go on meanwhile. A CHECK that old rows break is taken
-- back, because it would refuse every later update of those rows, by writers that worked before.
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

-- Whether a usable index on exactly these columns is there, whatever its name. A predicate that only leaves out the
-- nulls of its column counts as none.
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
