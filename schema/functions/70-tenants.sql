-- The second wall between organizations (docs/adr/0010-tenants.md): the API works as a role that can neither log in nor
-- bypass policies, has just the columns that it needs, and sees one organization, named in a setting of the transaction.

create or replace function rollcall.organization() returns uuid language sql stable parallel safe
return nullif(pg_catalog.current_setting('rollcall.organization', true), '')::uuid;

-- What the API may do: a table, its rights, the columns (empty: all), and which rows are an organization's.
create or replace function rollcall.api_rights()
returns table (target text, rights text, columns text[], rows_of_it text) language sql immutable as $$
    values
    ('public.organizations', 'select', '{id,name,slug}'::text[], 'id = rollcall.organization()'),
    ('public.device_integrations', 'select', '{id,organization_id,integration_type,name,project_id,base_url,status,
        webhook_enabled,created_at,updated_at}', 'own'),
    ('public.device_integrations', 'insert', '{id,organization_id,integration_type,name,project_id,base_url,status,
        webhook_enabled,api_key_encrypted,webhook_secret,settings}', 'own'),
    ('public.devices', 'select', '{id,organization_id,integration_id,external_device_id,name,device_type,model,
        serial_number,status,last_seen,last_seen_online,last_seen_offline,battery_level,signal_strength,firmware_version,
        location_id,department_id,hardware_ids,cohort_id,golioth_status,metadata,created_at,updated_at}', 'own'),
    ('public.devices', 'insert', '{id,organization_id,integration_id,external_device_id,serial_number,hardware_ids,name,
        device_type}', 'own'),
    ('public.devices', 'update', '{name,serial_number,hardware_ids,cohort_id,golioth_status,metadata,updated_at}', 'own'),
    ('public.device_firmware_history', 'select', '{}', 'device'),
    ('public.firmware_artifacts', 'select', '{}', 'own'),
    ('public.device_credentials', 'select', '{}', 'device'),
    ('public.device_credentials', 'insert', '{}', 'device'),
    ('public.device_credentials', 'update', '{identity,encrypted_secret,created_at,expires_at,last_accessed_at,
        last_accessed_by}', 'device'),
    ('public.device_credential_access_log', 'insert', '{}', 'exists (select from public.device_credentials c
        join public.devices d on d.id = c.device_id
        where c.id = credential_id and d.organization_id = rollcall.organization())'),
    ('public.sync_conflicts', 'select', '{}', 'device'),
    ('public.sync_conflicts', 'update', '{resolution_strategy,resolved_at,resolved_by,resolution_notes}', 'device'),
    ('rollcall.device_state', 'select', '{}', 'device'),
    ('rollcall.device_firmware', 'select', '{}', 'device'),
    ('rollcall.device_readings', 'select', '{}', 'device'),
    ('rollcall.field_errors', 'select', '{}', 'device'),
    ('rollcall.device_facts', 'select, insert, update', '{}', 'device'),
    ('rollcall.device_identity', 'select, insert', '{}', 'integration'),
    ('rollcall.integration_counts', 'select, insert, update', '{}', 'integration'),
    ('rollcall.dead_letters', 'select', '{}', 'integration'),
    ('rollcall.parked_devices', 'select', '{}', 'integration'),
    ('rollcall.reconcile_runs', 'select', '{}', 'integration'),
    ('rollcall.deployments', 'select, insert, update', '{}', 'own'),
    ('rollcall.audit', 'insert', '{}', 'own'),
    ('rollcall.api_requests', 'select, insert, update, delete', '{}', 'own'),
    ('rollcall.device_events', 'select, insert', '{}', 'exists (select from public.devices d
        where d.id = subject and d.organization_id = rollcall.organization())
        or exists (select from public.device_integrations i
            where i.id = subject and i.organization_id = rollcall.organization())')
$$;

-- Give the role its rights and make the policies. Whoever adds a table that the API reads adds it above: this file is applied again,
-- and so calls it again. All columns of a table of ours are the table: those that a migration adds later are in them. Of a
-- table of the platform's they are those that are there now. Security is never enabled on a table of the platform's: there a policy for
-- this role waits until the platform enables it. Where the migrating role may not make roles, nothing is done and the service says so
-- when it starts.
create or replace function rollcall.open_to_api()
returns void language plpgsql as $$
declare
    one record;
    named text;
    is_whole boolean;
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
        is_whole := one.columns = '{}' and one.target like 'rollcall.%';
        select pg_catalog.string_agg(pg_catalog.quote_ident(a.attname), ', ' order by a.attnum) into named from pg_catalog.pg_attribute a
        where a.attrelid = one.relation and a.attnum > 0 and not a.attisdropped
            and (one.columns = '{}' or a.attname = any (one.columns));
        execute pg_catalog.format('grant %s on table %s to rollcall_api',
            (select pg_catalog.string_agg(pg_catalog.format('%s%s', kind, case when kind = 'delete' or is_whole then '' else ' (' || named || ')' end), ', ')
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

-- Who did something, as a column of ours may hold it: a user of the platform where the column references its users,
-- else whoever it was.
create or replace function rollcall.actor_of(target regclass, user_column text, user_id uuid, token_id uuid)
returns uuid language sql stable
return case when user_id is not null or not exists (
        select from pg_constraint c join pg_attribute a on a.attrelid = c.conrelid and a.attnum = any (c.conkey)
        where c.conrelid = target and c.contype = 'f' and a.attname = user_column)
    then coalesce(user_id, token_id) end;

select rollcall.open_to_api();
