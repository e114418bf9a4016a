-- The addresses that an operator gave integrations by the command line (ingest/egress/address.py): such a row may name an
-- address of this machine. It is compared with the row at each use, so whoever changes the row's address later loses it.
-- The API's role has no right on this table, and the platform does not know it.
create table if not exists rollcall.operator_addresses (
    integration_id uuid primary key references public.device_integrations (id) on delete cascade,
    address text not null,
    set_at timestamptz not null default now()
);
