-- What the migrations use to run on any state of the platform's database.
create schema if not exists rollcall;

-- Which of these tables of public are not there yet. Ask before creating them, give the answer to protect_tables after.
create or replace function rollcall.missing_tables(names text[]) returns text[]
language sql stable as $$
    select coalesce(array_agg(n), '{}') from unnest(names) as n where to_regclass(format('public.%I', n)) is null
$$;

-- Row-level security and no grants to the web's roles, for tables that a migration has just created. The owner keeps
-- working; whoever wants to read them from the web application writes a policy.
create or replace function rollcall.protect_tables(names text[]) returns void
language plpgsql as $$
declare
    name text;
    grantee text;
begin
    foreach name in array names loop
        execute format('alter table public.%I enable row level security', name);
        execute format('revoke all on table public.%I from public', name);
        for grantee in select rolname from pg_roles where rolname in ('anon', 'authenticated') loop
            execute format('revoke all on table public.%I from %I', name, grantee);
        end loop;
    end loop;
end $$;

-- Whether a valid index begins with these columns. A partial one counts when it leaves out only the NULLs.
create or replace function rollcall.has_index(
    relation regclass, columns text[], method text default 'btree', only_unique boolean default false
) returns boolean language sql stable as $$
    select exists (
        select 1 from pg_index i
        join pg_class c on c.oid = i.indexrelid
        join pg_am m on m.oid = c.relam
        where i.indrelid = relation and i.indisvalid and m.amname = method
            and (not only_unique or (i.indisunique and i.indnkeyatts = cardinality(columns)))
            and columns = array(
                select a.attname::text from unnest(i.indkey::int2[]) with ordinality as k (attnum, position)
                join pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
                where k.position <= cardinality(columns) order by k.position)
            and (i.indpred is null
                or pg_get_expr(i.indpred, i.indrelid) = format('(%I IS NOT NULL)', columns[1]))
    )
$$;

-- Add a CHECK for new rows, unless the column has one already; validate_check looks at the old rows.
create or replace function rollcall.add_check(relation regclass, column_name text, condition text) returns void
language plpgsql as $$
begin
    if exists (
        select 1 from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attname = column_name
        where c.conrelid = relation and c.contype = 'c' and a.attnum = any (c.conkey)
    ) then
        return;
    end if;
    execute format('alter table %s add constraint %I check (%s) not valid', relation,
        (select relname from pg_class where oid = relation) || '_' || column_name || '_check', condition);
end $$;

-- Validate what add_check added. Where old rows break it the CHECK is taken back, because it would refuse every later
-- update of those rows by writers that worked before, and a warning says how to repair them.
create or replace function rollcall.validate_check(relation regclass, column_name text) returns void
language plpgsql as $$
declare
    added record;
begin
    select c.conname, pg_get_constraintdef(c.oid) as definition into added from pg_constraint c
    where c.conrelid = relation and c.contype = 'c' and not c.convalidated
        and c.conname = (select relname from pg_class where oid = relation) || '_' || column_name || '_check';
    if not found then
        return;
    end if;
    begin
        execute format('alter table %s validate constraint %I', relation, added.conname);
    exception when check_violation then
        execute format('alter table %s drop constraint %I', relation, added.conname);
        raise warning '% has rows that break %, which is left out. Repair: correct % in those rows, then run: %',
            relation, added.conname, column_name,
            format('alter table %s add constraint %I %s', relation, added.conname,
                replace(added.definition, ' NOT VALID', ''));
    end;
end $$;

-- A reference to the hosted platform's users, where there are such.
create or replace function rollcall.reference_user(relation regclass, column_name text) returns void
language plpgsql as $$
begin
    if to_regclass('auth.users') is null then
        return;
    end if;
    execute format('alter table %s add foreign key (%I) references auth.users (id) on delete set null',
        relation, column_name);
exception when insufficient_privilege then
    raise warning '%.% does not reference auth.users: no privilege. Repair: grant references on auth.users to %',
        relation, column_name, current_user;
end $$;
