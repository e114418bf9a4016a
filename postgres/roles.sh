#!/bin/sh
# Run once by the image of Postgres, when its data folder is new: two roles, neither of them a superuser.
#   rollcall_owner   owns the database and migrates it
#   rollcall         the service: reads and writes rows, changes no table, and sees every organization's rows
# The API's own role is rollcall_api: it can neither log in nor see more than one organization (docs/security.md).
set -eu
psql -v ON_ERROR_STOP=1 --quiet --username "$POSTGRES_USER" --dbname "$POSTGRES_DB" \
    -v database="$POSTGRES_DB" -v owner_password="$OWNER_PASSWORD" -v service_password="$SERVICE_PASSWORD" <<'SQL'
select 'create role rollcall_api nologin noinherit' where to_regrole('rollcall_api') is null \gexec
create role rollcall_owner login noinherit password :'owner_password';
create role rollcall login bypassrls noinherit password :'service_password';
grant rollcall_api to rollcall_owner, rollcall;
alter database :"database" owner to rollcall_owner;
alter schema public owner to rollcall_owner;
revoke all on database :"database" from public;
grant connect on database :"database" to rollcall;
set role rollcall_owner;
create schema rollcall;
grant usage on schema public, rollcall to rollcall;
alter default privileges for role rollcall_owner in schema public, rollcall
    grant select, insert, update, delete on tables to rollcall;
alter default privileges for role rollcall_owner in schema public, rollcall grant usage on sequences to rollcall;
SQL
