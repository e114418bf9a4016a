-- What schema/ makes of an empty database. Written by `python -m ingest.migrate.snapshot --write`.

type public.device_status as enum ('online', 'offline', 'warning', 'error')

table public.departments row level security
    id uuid not null default gen_random_uuid()
    location_id uuid not null
    name character varying(255) not null
    created_at timestamp with time zone default now()
    updated_at timestamp with time zone default now()
    constraint departments_location_id_fkey FOREIGN KEY (location_id) REFERENCES public.locations(id) ON DELETE CASCADE
    constraint departments_pkey PRIMARY KEY (id)

table public.device_credential_access_log row level security
    id uuid not null default gen_random_uuid()
    credential_id uuid not null
    accessed_by uuid
    accessed_at timestamp with time zone default now()
    ip_address inet
    user_agent text
    constraint device_credential_access_log_credential_id_fkey FOREIGN KEY (credential_id) REFERENCES public.device_credentials(id) ON DELETE CASCADE
    constraint device_credential_access_log_pkey PRIMARY KEY (id)
    CREATE INDEX device_credential_access_log_credential_id_idx ON public.device_credential_access_log USING btree (credential_id)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM (public.device_credentials c
     JOIN public.devices d ON ((d.id = c.device_id)))
  WHERE ((c.id = device_credential_access_log.credential_id) AND (d.organization_id = rollcall.organization())))))

table public.device_credentials row level security
    id uuid not null default gen_random_uuid()
    device_id uuid not null
    credential_type text not null
    identity text not null
    encrypted_secret text
    created_at timestamp with time zone default now()
    expires_at timestamp with time zone
    last_accessed_at timestamp with time zone
    last_accessed_by uuid
    constraint device_credentials_credential_type_check CHECK ((credential_type = ANY (ARRAY['PRE_SHARED_KEY'::text, 'CERTIFICATE'::text, 'TOKEN'::text])))
    constraint device_credentials_device_id_credential_type_key UNIQUE (device_id, credential_type)
    constraint device_credentials_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_credentials_pkey PRIMARY KEY (id)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = device_credentials.device_id) AND (d.organization_id = rollcall.organization())))))

table public.device_firmware_history row level security
    id uuid not null default gen_random_uuid()
    device_id uuid not null
    firmware_version text not null
    component_type text
    installed_at timestamp with time zone default now()
    source text
    metadata jsonb
    created_at timestamp with time zone default now()
    constraint device_firmware_history_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_firmware_history_pkey PRIMARY KEY (id)
    constraint device_firmware_history_source_check CHECK ((source = ANY (ARRAY['ota_update'::text, 'manual_provision'::text, 'factory_default'::text, 'unknown'::text])))
    CREATE INDEX device_firmware_history_device_id_installed_at_idx ON public.device_firmware_history USING btree (device_id, installed_at DESC)
    CREATE TRIGGER rollcall_note_sighting AFTER INSERT ON public.device_firmware_history FOR EACH ROW EXECUTE FUNCTION rollcall.note_sighting()
    CREATE TRIGGER trg_update_firmware_version AFTER INSERT ON public.device_firmware_history FOR EACH ROW EXECUTE FUNCTION rollcall.copy_firmware_version()
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = device_firmware_history.device_id) AND (d.organization_id = rollcall.organization())))))

table public.device_integrations row level security
    id uuid not null default gen_random_uuid()
    organization_id uuid not null
    integration_type character varying(50) not null
    name character varying(255) not null
    api_key_encrypted text
    project_id character varying(255)
    base_url character varying(500)
    settings jsonb default '{}'::jsonb
    status character varying(50) default 'active'::character varying
    webhook_enabled boolean default false
    webhook_secret text
    created_at timestamp with time zone default now()
    updated_at timestamp with time zone default now()
    constraint device_integrations_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organizations(id) ON DELETE CASCADE
    constraint device_integrations_organization_id_integration_type_name_key UNIQUE (organization_id, integration_type, name)
    constraint device_integrations_pkey PRIMARY KEY (id)
    CREATE TRIGGER rollcall_integration_added AFTER INSERT OR DELETE ON public.device_integrations FOR EACH ROW EXECUTE FUNCTION rollcall.notify_integration()
    CREATE TRIGGER rollcall_integration_changed AFTER UPDATE ON public.device_integrations FOR EACH ROW WHEN (((((((((((old.integration_type)::text IS DISTINCT FROM (new.integration_type)::text) OR ((old.name)::text IS DISTINCT FROM (new.name)::text)) OR ((old.project_id)::text IS DISTINCT FROM (new.project_id)::text)) OR ((old.base_url)::text IS DISTINCT FROM (new.base_url)::text)) OR (old.settings IS DISTINCT FROM new.settings)) OR ((old.status)::text IS DISTINCT FROM (new.status)::text)) OR (old.api_key_encrypted IS DISTINCT FROM new.api_key_encrypted)) OR (old.webhook_enabled IS DISTINCT FROM new.webhook_enabled)) OR (old.webhook_secret IS DISTINCT FROM new.webhook_secret))) EXECUTE FUNCTION rollcall.notify_integration()
    policy rollcall_api for * using ((organization_id = rollcall.organization()))

table public.devices with (fillfactor=70) row level security
    id uuid not null default gen_random_uuid()
    organization_id uuid not null
    integration_id uuid
    external_device_id character varying(255)
    name character varying(255) not null
    device_type character varying(100) not null
    model character varying(100)
    serial_number character varying(100)
    status public.device_status default 'offline'::public.device_status
    last_seen timestamp with time zone
    battery_level integer
    signal_strength integer
    firmware_version character varying(50)
    location_id uuid
    department_id uuid
    metadata jsonb default '{}'::jsonb
    created_at timestamp with time zone default now()
    updated_at timestamp with time zone default now()
    last_seen_online timestamp with time zone
    last_seen_offline timestamp with time zone
    hardware_ids text[]
    cohort_id text
    golioth_status text
    constraint devices_battery_level_check CHECK (((battery_level >= 0) AND (battery_level <= 100)))
    constraint devices_department_id_fkey FOREIGN KEY (department_id) REFERENCES public.departments(id) ON DELETE SET NULL
    constraint devices_golioth_status_check CHECK ((golioth_status = ANY (ARRAY['enabled'::text, 'disabled'::text, 'suspended'::text])))
    constraint devices_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE SET NULL
    constraint devices_location_id_fkey FOREIGN KEY (location_id) REFERENCES public.locations(id) ON DELETE SET NULL
    constraint devices_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organizations(id) ON DELETE CASCADE
    constraint devices_pkey PRIMARY KEY (id)
    constraint devices_signal_strength_check CHECK (((signal_strength >= '-150'::integer) AND (signal_strength <= 0)))
    CREATE INDEX devices_cohort_id_idx ON public.devices USING btree (cohort_id)
    CREATE INDEX devices_hardware_ids_idx ON public.devices USING gin (hardware_ids) WITH (fastupdate=off)
    CREATE INDEX devices_integration_id_external_device_id_idx ON public.devices USING btree (integration_id, external_device_id)
    CREATE INDEX devices_organization_id_idx ON public.devices USING btree (organization_id)
    CREATE UNIQUE INDEX devices_serial_number_key ON public.devices USING btree (serial_number) WHERE (serial_number IS NOT NULL)
    policy rollcall_api for * using ((organization_id = rollcall.organization()))

table public.firmware_artifacts row level security
    id uuid not null default gen_random_uuid()
    organization_id uuid not null
    integration_id uuid
    external_artifact_id text
    package_name text
    version text
    component_type text
    size_bytes bigint
    checksum_sha256 text
    release_date timestamp with time zone
    metadata jsonb
    created_at timestamp with time zone default now()
    updated_at timestamp with time zone default now()
    constraint firmware_artifacts_integration_id_external_artifact_id_key UNIQUE (integration_id, external_artifact_id)
    constraint firmware_artifacts_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint firmware_artifacts_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organizations(id) ON DELETE CASCADE
    constraint firmware_artifacts_pkey PRIMARY KEY (id)
    CREATE INDEX firmware_artifacts_organization_id_idx ON public.firmware_artifacts USING btree (organization_id)
    policy rollcall_api for * using ((organization_id = rollcall.organization()))

table public.locations row level security
    id uuid not null default gen_random_uuid()
    organization_id uuid not null
    name character varying(255) not null
    created_at timestamp with time zone default now()
    updated_at timestamp with time zone default now()
    constraint locations_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organizations(id) ON DELETE CASCADE
    constraint locations_pkey PRIMARY KEY (id)

table public.organizations row level security
    id uuid not null default gen_random_uuid()
    name character varying(255) not null
    slug character varying(100) not null
    description text
    subscription_tier character varying(50) default 'starter'::character varying
    is_active boolean default true
    settings jsonb default '{}'::jsonb
    created_at timestamp with time zone default now()
    updated_at timestamp with time zone default now()
    constraint organizations_pkey PRIMARY KEY (id)
    constraint organizations_slug_key UNIQUE (slug)
    policy rollcall_api for * using ((id = rollcall.organization()))

table public.sync_conflicts row level security
    id uuid not null default gen_random_uuid()
    device_id uuid not null
    field_name text not null
    local_value jsonb
    remote_value jsonb
    conflict_detected_at timestamp with time zone default now()
    resolution_strategy text
    resolved_at timestamp with time zone
    resolved_by uuid
    resolution_notes text
    constraint sync_conflicts_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint sync_conflicts_pkey PRIMARY KEY (id)
    constraint sync_conflicts_resolution_strategy_check CHECK ((resolution_strategy = ANY (ARRAY['prefer_local'::text, 'prefer_remote'::text, 'manual'::text, 'merge'::text])))
    CREATE INDEX sync_conflicts_device_id_idx ON public.sync_conflicts USING btree (device_id)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = sync_conflicts.device_id) AND (d.organization_id = rollcall.organization())))))

table rollcall.api_requests row level security
    organization_id uuid not null
    key text not null
    digest bytea not null
    status smallint
    answer bytea
    created_at timestamp with time zone not null default now()
    constraint api_requests_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organizations(id) ON DELETE CASCADE
    constraint api_requests_pkey PRIMARY KEY (organization_id, key)
    CREATE INDEX api_requests_created_at_idx ON rollcall.api_requests USING btree (created_at)
    policy rollcall_api for * using ((organization_id = rollcall.organization()))

table rollcall.api_tokens
    id uuid not null default gen_random_uuid()
    organization_id uuid not null
    name text not null
    hash bytea not null
    scopes text[] not null
    created_at timestamp with time zone not null default now()
    expires_at timestamp with time zone
    last_used_at timestamp with time zone
    revoked_at timestamp with time zone
    constraint api_tokens_hash_key UNIQUE (hash)
    constraint api_tokens_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organizations(id) ON DELETE CASCADE
    constraint api_tokens_pkey PRIMARY KEY (id)
    constraint api_tokens_scopes_check CHECK ((scopes <@ '{read,operate,secrets,admin}'::text[]))
    CREATE INDEX api_tokens_organization_id_idx ON rollcall.api_tokens USING btree (organization_id)

table rollcall.audit row level security
    id bigint not null generated as identity
    at timestamp with time zone not null default clock_timestamp()
    organization_id uuid not null
    actor text not null
    action text not null
    subject uuid not null
    name text not null
    address text
    agent text
    constraint audit_pkey PRIMARY KEY (id)
    CREATE INDEX audit_at_idx ON rollcall.audit USING btree (at)
    CREATE INDEX audit_organization_id_idx ON rollcall.audit USING btree (organization_id, at)
    policy rollcall_api for * using ((organization_id = rollcall.organization()))

table rollcall.dead_letters row level security
    id uuid not null
    integration_id uuid not null
    session text not null
    topic text not null
    qos smallint not null
    retain boolean not null
    content_type text
    headers jsonb not null default '{}'::jsonb
    received_at bigint not null
    kind text not null
    error text not null
    payload bytea not null
    truncated boolean not null default false
    recorded_at timestamp with time zone not null default now()
    constraint dead_letters_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint dead_letters_pkey PRIMARY KEY (id)
    CREATE INDEX dead_letters_kind_idx ON rollcall.dead_letters USING btree (integration_id, kind, recorded_at)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.device_integrations i
  WHERE ((i.id = dead_letters.integration_id) AND (i.organization_id = rollcall.organization())))))

table rollcall.deployments row level security
    id uuid not null
    organization_id uuid not null
    device_id uuid not null
    integration_id uuid not null
    artifact_id uuid not null
    component text not null
    version text not null
    from_version text
    status text not null default 'queued'::text
    provider_id text
    cohort_id text
    cohort_size integer
    requested_by text not null
    detail text not null default ''::text
    queued_at timestamp with time zone not null default clock_timestamp()
    deadline_at timestamp with time zone not null
    asked_at timestamp with time zone
    finished_at timestamp with time zone
    constraint deployments_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint deployments_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint deployments_organization_id_fkey FOREIGN KEY (organization_id) REFERENCES public.organizations(id) ON DELETE CASCADE
    constraint deployments_pkey PRIMARY KEY (id)
    constraint deployments_status_check CHECK ((status = ANY (ARRAY['queued'::text, 'in_progress'::text, 'succeeded'::text, 'failed'::text, 'cancelled'::text])))
    CREATE INDEX deployments_cohort_id_idx ON rollcall.deployments USING btree (integration_id, cohort_id) WHERE (cohort_id IS NOT NULL)
    CREATE INDEX deployments_device_id_idx ON rollcall.deployments USING btree (device_id, queued_at DESC)
    CREATE UNIQUE INDEX deployments_cohort_active_key ON rollcall.deployments USING btree (integration_id, cohort_id) WHERE ((status = ANY (ARRAY['queued'::text, 'in_progress'::text])) AND (cohort_id IS NOT NULL))
    CREATE UNIQUE INDEX deployments_device_active_key ON rollcall.deployments USING btree (device_id) WHERE (status = ANY (ARRAY['queued'::text, 'in_progress'::text]))
    policy rollcall_api for * using ((organization_id = rollcall.organization()))

view rollcall.device_clocks
    device_id uuid
    online_at timestamp with time zone
    offline_at timestamp with time zone
    alive_from timestamp with time zone
    silent_at timestamp with time zone
    battery_at timestamp with time zone
    signal_at timestamp with time zone
SELECT device_id,
    to_timestamp((((online_at)::numeric / '1000000'::numeric))::double precision) AS online_at,
    to_timestamp((((GREATEST(offline_at, stream_offline_at))::numeric / '1000000'::numeric))::double precision) AS offline_at,
    to_timestamp((((alive_from)::numeric / '1000000'::numeric))::double precision) AS alive_from,
    to_timestamp((((silent_at)::numeric / '1000000'::numeric))::double precision) AS silent_at,
    to_timestamp((((battery_at)::numeric / '1000000'::numeric))::double precision) AS battery_at,
    to_timestamp((((signal_at)::numeric / '1000000'::numeric))::double precision) AS signal_at
   FROM rollcall.device_state;

table rollcall.device_events row level security
    subject uuid not null
    kind text not null
    component text not null default ''::text
    at timestamp with time zone not null
    source text not null
    recorded_at timestamp with time zone not null default rollcall.recording_time()
    retracted_at timestamp with time zone
    detail jsonb not null default '{}'::jsonb
    "position" bigint
    constraint device_events_pkey PRIMARY KEY (subject, kind, component, at, source)
    CREATE INDEX device_events_recorded_at_idx ON rollcall.device_events USING btree (recorded_at)
    CREATE INDEX device_events_subject_at_idx ON rollcall.device_events USING btree (subject, at DESC)
    CREATE INDEX device_events_unnumbered_idx ON rollcall.device_events USING btree (recorded_at, at) WHERE ("position" IS NULL)
    CREATE UNIQUE INDEX device_events_position_key ON rollcall.device_events USING btree ("position") WHERE ("position" IS NOT NULL)
    policy rollcall_api for * using (((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = device_events.subject) AND (d.organization_id = rollcall.organization())))) OR (EXISTS ( SELECT
   FROM public.device_integrations i
  WHERE ((i.id = device_events.subject) AND (i.organization_id = rollcall.organization()))))))

table rollcall.device_facts with (fillfactor=80) row level security
    device_id uuid not null
    field text not null
    remote jsonb not null
    remote_at bigint not null
    agreed jsonb
    constraint device_facts_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_facts_pkey PRIMARY KEY (device_id, field)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = device_facts.device_id) AND (d.organization_id = rollcall.organization())))))

table rollcall.device_firmware with (fillfactor=70) row level security
    device_id uuid not null
    component text not null
    version text not null
    at bigint not null
    floating boolean not null default false
    constraint device_firmware_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_firmware_pkey PRIMARY KEY (device_id, component)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = device_firmware.device_id) AND (d.organization_id = rollcall.organization())))))

table rollcall.device_identity row level security
    integration_id uuid not null
    external_device_id text not null
    device_id uuid not null
    created_at timestamp with time zone not null default now()
    unlisted_at timestamp with time zone
    listed_digest bigint
    constraint device_identity_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_identity_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint device_identity_pkey PRIMARY KEY (integration_id, external_device_id)
    CREATE INDEX device_identity_device_id_idx ON rollcall.device_identity USING btree (device_id)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.device_integrations i
  WHERE ((i.id = device_identity.integration_id) AND (i.organization_id = rollcall.organization())))))

table rollcall.device_readings with (fillfactor=70) row level security
    device_id uuid not null
    name text not null
    value double precision not null
    unit text not null
    at bigint not null
    constraint device_readings_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_readings_pkey PRIMARY KEY (device_id, name)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = device_readings.device_id) AND (d.organization_id = rollcall.organization())))))

table rollcall.device_state with (fillfactor=70) row level security
    device_id uuid not null
    online_at bigint
    offline_at bigint
    stream_offline_at bigint
    alive_from bigint
    alive_before int8multirange
    silent_at bigint
    snapshot_online_at bigint
    snapshot_offline_at bigint
    battery_at bigint
    signal_at bigint
    silent_before bigint[]
    battery smallint
    signal smallint
    version_at bigint
    constraint device_state_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_state_pkey PRIMARY KEY (device_id)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = device_state.device_id) AND (d.organization_id = rollcall.organization())))))

table rollcall.device_streams with (fillfactor=70)
    device_id uuid not null
    order_window bigint not null
    connected_at bigint
    disconnected_at bigint
    head_online boolean not null
    head_at bigint not null
    head_order text not null
    constraint device_streams_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint device_streams_pkey PRIMARY KEY (device_id, order_window)

table rollcall.field_errors row level security
    device_id uuid not null
    field text not null
    value text not null
    reason text not null
    at bigint not null
    constraint field_errors_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint field_errors_pkey PRIMARY KEY (device_id, field)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.devices d
  WHERE ((d.id = field_errors.device_id) AND (d.organization_id = rollcall.organization())))))

table rollcall.firmware_points
    device_id uuid not null
    component text not null
    version text not null
    day integer not null
    at bigint not null
    constraint firmware_points_device_id_fkey FOREIGN KEY (device_id) REFERENCES public.devices(id) ON DELETE CASCADE
    constraint firmware_points_pkey PRIMARY KEY (device_id, component, version, day)

table rollcall.functions
    filename text not null
    sha256 text not null
    release text not null
    applied_at timestamp with time zone not null default clock_timestamp()
    constraint functions_pkey PRIMARY KEY (filename)

table rollcall.integration_counts row level security
    integration_id uuid not null
    created_total bigint not null default 0
    created_in_minute integer not null default 0
    minute timestamp with time zone not null default date_trunc('minute'::text, now())
    dead_letters_evicted bigint not null default 0
    unknown_dropped bigint not null default 0
    constraint integration_counts_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint integration_counts_pkey PRIMARY KEY (integration_id)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.device_integrations i
  WHERE ((i.id = integration_counts.integration_id) AND (i.organization_id = rollcall.organization())))))

table rollcall.leases
    name text not null
    holder text not null
    expires_at timestamp with time zone not null
    constraint leases_pkey PRIMARY KEY (name)

table rollcall.migrations
    filename text not null
    sha256 text not null
    applied_at timestamp with time zone not null default clock_timestamp()
    constraint migrations_pkey PRIMARY KEY (filename)

table rollcall.mqtt_digests
    session_id bigint not null
    seq bigint not null
    digests bytea not null
    constraint mqtt_digests_pkey PRIMARY KEY (session_id, seq)
    constraint mqtt_digests_session_id_fkey FOREIGN KEY (session_id) REFERENCES rollcall.mqtt_sessions(id) ON DELETE CASCADE

table rollcall.mqtt_names
    integration_id uuid not null
    secret text not null default replace((gen_random_uuid())::text, '-'::text, ''::text)
    constraint mqtt_names_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint mqtt_names_pkey PRIMARY KEY (integration_id)

table rollcall.mqtt_received
    session_id bigint not null
    packet_id integer not null
    digest bigint not null
    constraint mqtt_received_pkey PRIMARY KEY (session_id, packet_id)
    constraint mqtt_received_session_id_fkey FOREIGN KEY (session_id) REFERENCES rollcall.mqtt_sessions(id) ON DELETE CASCADE

table rollcall.mqtt_sessions with (fillfactor=70)
    id bigint not null generated as identity
    integration_id uuid not null
    client_id text not null
    heard_since bigint
    heard_until bigint
    fresh_for bigint not null default 60000000
    connected_at timestamp with time zone
    state text not null default 'new'::text
    detail text not null default ''::text
    subscriptions jsonb not null default '[]'::jsonb
    epoch bigint not null default 0
    committed bigint
    gap_since bigint
    constraint mqtt_sessions_integration_id_client_id_key UNIQUE (integration_id, client_id)
    constraint mqtt_sessions_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint mqtt_sessions_pkey PRIMARY KEY (id)

table rollcall.operator_addresses
    integration_id uuid not null
    address text not null
    set_at timestamp with time zone not null default now()
    constraint operator_addresses_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint operator_addresses_pkey PRIMARY KEY (integration_id)

table rollcall.parked_devices row level security
    integration_id uuid not null
    external_device_id text not null
    key jsonb not null default '{}'::jsonb
    evidence jsonb not null
    messages bigint not null default 0
    first_at timestamp with time zone not null default now()
    last_at timestamp with time zone not null default now()
    constraint parked_devices_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint parked_devices_pkey PRIMARY KEY (integration_id, external_device_id)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.device_integrations i
  WHERE ((i.id = parked_devices.integration_id) AND (i.organization_id = rollcall.organization())))))

table rollcall.reconcile_runs row level security
    id uuid not null
    integration_id uuid not null
    trigger text not null
    status text not null default 'running'::text
    phase text not null default 'listing'::text
    dry_run boolean not null default false
    complete boolean not null default true
    holder text not null
    cursor text
    started_at timestamp with time zone not null default clock_timestamp()
    moved_at timestamp with time zone not null default clock_timestamp()
    finished_at timestamp with time zone
    listed bigint not null default 0
    matched bigint not null default 0
    created bigint not null default 0
    changed bigint not null default 0
    unchanged bigint not null default 0
    unknown bigint not null default 0
    missing bigint not null default 0
    conflicts bigint not null default 0
    pushed bigint not null default 0
    detail text not null default ''::text
    errors jsonb not null default '[]'::jsonb
    constraint reconcile_runs_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint reconcile_runs_pkey PRIMARY KEY (id)
    CREATE INDEX reconcile_runs_started_at_idx ON rollcall.reconcile_runs USING btree (integration_id, started_at DESC)
    policy rollcall_api for * using ((EXISTS ( SELECT
   FROM public.device_integrations i
  WHERE ((i.id = reconcile_runs.integration_id) AND (i.organization_id = rollcall.organization())))))

table rollcall.reconcile_staging
    run_id uuid not null
    id bigint not null generated as identity
    external_id text not null
    serial_number text
    listed_at bigint not null
    device json not null
    digest bigint
    online_at bigint
    offline_at bigint
    battery integer
    battery_at bigint
    signal integer
    signal_at bigint
    components text[]
    versions text[]
    version_ats bigint[]
    constraint reconcile_staging_pkey PRIMARY KEY (run_id, id)

table rollcall.webhook_events
    integration_id uuid not null
    event_id text not null
    committed_at timestamp with time zone not null default now()
    constraint webhook_events_integration_id_fkey FOREIGN KEY (integration_id) REFERENCES public.device_integrations(id) ON DELETE CASCADE
    constraint webhook_events_pkey PRIMARY KEY (integration_id, event_id)
    CREATE INDEX webhook_events_committed_at_idx ON rollcall.webhook_events USING btree (committed_at)

CREATE OR REPLACE FUNCTION rollcall.actor_of(target regclass, user_column text, user_id uuid, token_id uuid)
 RETURNS uuid
 LANGUAGE sql
 STABLE
RETURN CASE WHEN ((user_id IS NOT NULL) OR (NOT (EXISTS (SELECT FROM (pg_constraint c JOIN pg_attribute a ON (((a.attrelid = c.conrelid) AND (a.attnum = ANY (c.conkey))))) WHERE ((c.conrelid = (actor_of.target)::oid) AND (c.contype = 'f'::"char") AND (a.attname = actor_of.user_column)))))) THEN COALESCE(user_id, token_id) ELSE NULL::uuid END

CREATE OR REPLACE FUNCTION rollcall.add_missing_constraint(target regclass, kind "char", columns text[], constraint_name text, definition text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.adopt_firmware_trigger()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
    ours pg_catalog.pg_proc := (
        select p from pg_catalog.pg_proc p where p.oid = 'rollcall.copy_firmware_version()'::regprocedure);
    theirs pg_catalog.pg_proc := (
        select p from pg_catalog.pg_trigger t join pg_catalog.pg_proc p on p.oid = t.tgfoid
        where t.tgrelid = 'public.device_firmware_history'::regclass
            and t.tgname = 'trg_update_firmware_version' and not t.tgisinternal);
begin
    if theirs.oid is null then
        create trigger trg_update_firmware_version after insert on public.device_firmware_history
            for each row execute function rollcall.copy_firmware_version();
    elsif theirs.oid <> ours.oid then
        execute pg_catalog.format('create or replace function %s.%I() returns trigger language plpgsql %s as %L',
            theirs.pronamespace::regnamespace, theirs.proname,
            case when ours.prosecdef or theirs.prosecdef then 'security definer' else 'security invoker' end,
            ours.prosrc);
    end if;
end $function$

CREATE OR REPLACE FUNCTION rollcall.api_rights()
 RETURNS TABLE(target text, rights text, columns text[], rows_of_it text)
 LANGUAGE sql
 IMMUTABLE
AS $function$
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
$function$

CREATE OR REPLACE FUNCTION rollcall.apply(devices rollcall.said[], streams rollcall.said_of_stream[], firmware rollcall.said_of_firmware[], readings rollcall.reading[], marks rollcall.mark[], sessions rollcall.progress[], digests_kept bigint, resolution bigint)
 RETURNS uuid[]
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
    ids uuid[] := array(select e.id from pg_catalog.unnest(devices) as e);
    gone uuid[] := rollcall.lock_devices(ids);
    stream_offline_ats bigint[];
begin
    perform pg_catalog.set_config('rollcall.applying', 'on', true);
    if pg_catalog.cardinality(gone) > 0 then
        return gone;
    end if;
    perform rollcall.record_from_now();
    if pg_catalog.cardinality(streams) > 0 then
        stream_offline_ats := rollcall.apply_streams(ids, streams);
    end if;
    -- before anything moves last_seen: the version of a device that was never heard counts as of that
    if pg_catalog.cardinality(firmware) > 0 then
        perform rollcall.apply_firmware(firmware);
    end if;
    if pg_catalog.cardinality(ids) > 0 then
        perform rollcall.apply_presence(devices, stream_offline_ats, marks, resolution);
    end if;
    if pg_catalog.cardinality(readings) > 0 then
        perform rollcall.apply_readings(readings);
    end if;
    if pg_catalog.cardinality(sessions) > 0 then
        perform rollcall.record_sessions(sessions, digests_kept);
    end if;
    return gone;
end $function$

CREATE OR REPLACE FUNCTION rollcall.apply_firmware(said rollcall.said_of_firmware[])
 RETURNS void
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.apply_presence(devices rollcall.said[], stream_offline_ats bigint[], marks rollcall.mark[], resolution bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
    written record;
    changes rollcall.transition[];
begin
    loop
        written := rollcall.write_devices(devices, stream_offline_ats, resolution);
        -- of a device that is written a second time nothing changes; what did change is what the first time found
        changes := case when changes is null then written.changes else array(
            select c from pg_catalog.unnest(changes) as c
            union all
            select c from pg_catalog.unnest(written.changes) as c
            where not exists (select from pg_catalog.unnest(changes) as b where b.id = c.id)) end;
        exit when written.known >= pg_catalog.cardinality(devices);
        perform rollcall.seed_states(array(select e.id from pg_catalog.unnest(devices) as e));
    end loop;
    if pg_catalog.cardinality(changes) > 0 or pg_catalog.cardinality(marks) > 0 then
        perform rollcall.record_transitions(changes, marks);
    end if;
end $function$

CREATE OR REPLACE FUNCTION rollcall.apply_readings(readings rollcall.reading[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
    insert into rollcall.device_readings as r (device_id, name, value, unit, at)
    select n.device_id, n.name, n.value, n.unit, n.at from (
        select t.*, pg_catalog.row_number() over (partition by t.device_id, t.is_new order by t.at, t.name collate "C") as place
        from (
            select u.*, not exists (
                select 1 from rollcall.device_readings k where k.device_id = u.device_id and k.name = u.name) as is_new
            from pg_catalog.unnest(readings) as u
        ) as t
    ) as n
    where not n.is_new
        or n.place + (select pg_catalog.count(*) from rollcall.device_readings k where k.device_id = n.device_id) <= 64
    order by 1, 2
    on conflict (device_id, name) do update set value = excluded.value, unit = excluded.unit, at = excluded.at
        where (excluded.at, excluded.value, excluded.unit collate "C") > (r.at, r.value, r.unit collate "C");
end $function$

CREATE OR REPLACE FUNCTION rollcall.apply_settled(integration uuid, run uuid, first bigint, last bigint, lag bigint, offline_after bigint, resolution bigint, proves_silence boolean, OUT settled integer, OUT changed integer)
 RETURNS record
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
    staged_ids bigint[];
    ids uuid[];
    said rollcall.said[];
    firmware rollcall.said_of_firmware[];
begin
    settled := 0;
    changed := 0;
    select pg_catalog.array_agg(distinct i.device_id) into ids
    from rollcall.reconcile_staging s cross join lateral (
        select x.device_id from rollcall.device_identity x where x.integration_id = integration
            and x.external_device_id = s.external_id and x.listed_digest is not null offset 0) as i
    where s.run_id = run and s.id between first and last and s.digest is not null;
    perform rollcall.lock_devices(ids);
    -- of two entries that mean one row neither is taken: what they say must count together
    select pg_catalog.array_agg(h.id order by h.id), pg_catalog.array_agg(h.device_id order by h.id) into staged_ids, ids
    from (
        select s.id, i.device_id, pg_catalog.count(*) over (partition by i.device_id) as entries,
            i.listed_digest = rollcall.listed_digest(d, s.digest) as agrees
        from rollcall.reconcile_staging s cross join lateral (
            select x.device_id, x.listed_digest from rollcall.device_identity x where x.integration_id = integration
                and x.external_device_id = s.external_id offset 0) as i
        join public.devices d on d.id = i.device_id
        where s.run_id = run and s.id between first and last) as h
    where h.agrees and h.entries = 1;
    if staged_ids is null then
        return;
    end if;
    settled := pg_catalog.cardinality(ids);
    select coalesce(pg_catalog.array_agg((t.device_id, offline_after, g.online_at, g.online_at, null, g.offline_at, null, null,
        null, case when proves_silence then g.listed_at - lag end,
        g.battery, case when g.battery is not null then coalesce(g.battery_at, g.listed_at - lag) end,
        g.signal, case when g.signal is not null then coalesce(g.signal_at, g.listed_at - lag) end,
        false, 'reconcile')::rollcall.said order by t.device_id), '{}') into said
    from rows from (pg_catalog.unnest(staged_ids), pg_catalog.unnest(ids)) as t (id, device_id)
    cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
    where pg_catalog.num_nonnulls(g.online_at, g.offline_at, g.battery, g.signal) > 0;
    select coalesce(pg_catalog.array_agg((t.device_id, v.component, v.version,
        coalesce(v.at, g.listed_at - lag))::rollcall.said_of_firmware), '{}') into firmware
    from rows from (pg_catalog.unnest(staged_ids), pg_catalog.unnest(ids)) as t (id, device_id)
    join pg_catalog.unnest(rollcall.confirm_firmware(run, staged_ids, ids, lag)) as n (device_id)
        on n.device_id = t.device_id
    cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
    cross join lateral rows from (pg_catalog.unnest(g.components), pg_catalog.unnest(g.versions), pg_catalog.unnest(g.version_ats)) as v (component, version, at);
    perform rollcall.apply(said, '{}', firmware, '{}', '{}', '{}', 0, resolution);
    select pg_catalog.count(*) into changed from pg_catalog.unnest(ids) as t (id) cross join lateral (
        select x.updated_at from public.devices x where x.id = t.id offset 0) as d
    where d.updated_at = pg_catalog.now();
    delete from rollcall.reconcile_staging s using pg_catalog.unnest(staged_ids) as t (id)
    where s.run_id = run and s.id = t.id;
end $function$

CREATE OR REPLACE FUNCTION rollcall.apply_streams(ids uuid[], said rollcall.said_of_stream[])
 RETURNS bigint[]
 LANGUAGE plpgsql
AS $function$
declare
    stream_ids uuid[] := array(select e.device_id from pg_catalog.unnest(said) as e);
begin
    insert into rollcall.device_streams as s
        (device_id, order_window, connected_at, disconnected_at, head_online, head_at, head_order)
    select e.* from pg_catalog.unnest(said) as e order by 1, 2
    on conflict (device_id, order_window) do update set
        connected_at = greatest(s.connected_at, excluded.connected_at),
        disconnected_at = greatest(s.disconnected_at, excluded.disconnected_at),
        (head_online, head_at, head_order) = (select case when f then excluded.head_online else s.head_online end,
            case when f then excluded.head_at else s.head_at end,
            case when f then excluded.head_order else s.head_order end
            from (select rollcall.follows(excluded.head_at, excluded.head_order, excluded.head_online,
                s.head_at, s.head_order, s.head_online, s.order_window) as f) as later);
    return array(
        select case when t.id = any (stream_ids) then coalesce((
            select pg_catalog.max(case when s.disconnected_at is null then null
                when s.head_online then least(s.disconnected_at, s.head_at - 1)
                else greatest(s.disconnected_at, s.connected_at) end)
            from rollcall.device_streams s where s.device_id = t.id), 0) end
        from pg_catalog.unnest(ids) with ordinality as t (id, place) order by t.place);
end $function$

CREATE OR REPLACE FUNCTION rollcall.candidates(integration uuid, externals text[], serials text[], hardware jsonb[])
 RETURNS TABLE(place bigint, id uuid, how text)
 LANGUAGE sql
 STABLE
 SET enable_seqscan TO 'off'
AS $function$
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
    order by c.place, c.created_at, c.id $function$

CREATE OR REPLACE FUNCTION rollcall.clock_of(at bigint, value integer, last_seen timestamp with time zone, created_at timestamp with time zone)
 RETURNS bigint
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE WHEN ((at IS NULL) AND (value IS NOT NULL)) THEN rollcall.micros_of(COALESCE(last_seen, created_at)) ELSE at END

CREATE OR REPLACE FUNCTION rollcall.close_table(target regclass)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
declare
    stranger text;
begin
    execute pg_catalog.format('alter table %s enable row level security', target);
    execute pg_catalog.format('revoke all on table %s from public', target);
    for stranger in select rolname from pg_catalog.pg_roles where rolname in ('anon', 'authenticated') loop
        execute pg_catalog.format('revoke all on table %s from %I', target, stranger);
    end loop;
end $function$

CREATE OR REPLACE FUNCTION rollcall.confirm_firmware(run uuid, staged_ids bigint[], ids uuid[], lag bigint)
 RETURNS uuid[]
 LANGUAGE plpgsql
AS $function$
declare
    news uuid[];
begin
    with said as materialized (
        select t.device_id, f.ctid as tid, f.at as old_at, v.at, coalesce(f.version = v.version and not f.floating
            and (v.component <> 'main' or d.firmware_version = v.version)
            and exists (select 1 from rollcall.firmware_points p where p.device_id = t.device_id
                and p.component = v.component and p.version = v.version and p.day = v.at / 86400000000
                and p.at <= v.at), false) as is_same
        from rows from (pg_catalog.unnest(staged_ids), pg_catalog.unnest(ids)) as t (id, device_id)
        cross join lateral (select x.* from rollcall.reconcile_staging x where x.run_id = run and x.id = t.id offset 0) as g
        cross join lateral (select x.firmware_version from public.devices x where x.id = t.device_id offset 0) as d
        cross join lateral (select u.component, u.version, coalesce(u.at, g.listed_at - lag) as at
            from rows from (pg_catalog.unnest(g.components), pg_catalog.unnest(g.versions), pg_catalog.unnest(g.version_ats)) as u (component, version, at)) as v
        left join lateral (select x.*, x.ctid from rollcall.device_firmware x
            where x.device_id = t.device_id and x.component = v.component offset 0) as f on true
    ),
    moved as (
        update rollcall.device_firmware f set at = n.at from said n where f.ctid = n.tid and n.is_same and n.at > n.old_at
    )
    select coalesce(pg_catalog.array_agg(distinct device_id) filter (where not is_same), '{}') into news from said;
    return news;
end $function$

CREATE OR REPLACE FUNCTION rollcall.copy_firmware_version()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    if pg_catalog.current_setting('rollcall.applying', true) = 'on' or coalesce(new.component_type, 'main') <> 'main' then
        return new;
    end if;
    update public.devices d
    set firmware_version = new.firmware_version, updated_at = pg_catalog.now()
    where d.id = new.device_id and d.firmware_version is distinct from new.firmware_version
        and not exists (
            select from public.device_firmware_history h
            where h.device_id = new.device_id and coalesce(h.component_type, 'main') = 'main' and h.id <> new.id
                and (coalesce(h.installed_at, h.created_at), h.firmware_version collate "C")
                    > (coalesce(new.installed_at, new.created_at, pg_catalog.now()), new.firmware_version collate "C"))
        and (d.firmware_version is null
            or coalesce(new.installed_at, new.created_at, pg_catalog.now()) >= coalesce(d.last_seen, d.created_at)
            or exists (
                select from public.device_firmware_history h
                where h.device_id = new.device_id and coalesce(h.component_type, 'main') = 'main'
                    and h.firmware_version = d.firmware_version and h.id <> new.id));
    return new;
end $function$

CREATE OR REPLACE FUNCTION rollcall.follows(at bigint, place text, online boolean, other_at bigint, other_place text, other_online boolean, order_window bigint)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (abs((at - other_at)) > order_window) THEN (at > other_at) ELSE (ROW((place COLLATE "C"), at, (NOT online)) > ROW((other_place COLLATE "C"), other_at, (NOT other_online))) END

CREATE OR REPLACE FUNCTION rollcall.has_index(target regclass, method text, columns text[], must_be_unique boolean DEFAULT false)
 RETURNS boolean
 LANGUAGE sql
 STABLE
AS $function$
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
    ) $function$

CREATE OR REPLACE FUNCTION rollcall.hearing(integration uuid, OUT since bigint, OUT until bigint)
 RETURNS record
 LANGUAGE sql
 STABLE
AS $function$
    select pg_catalog.max(m.heard_since), pg_catalog.min(m.heard_until)
    from rollcall.mqtt_sessions m where m.integration_id = integration
$function$

CREATE OR REPLACE FUNCTION rollcall.install_id(device uuid, component text, version text, at bigint)
 RETURNS uuid
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN (md5((((((((device)::text || '/'::text) || component) || '/'::text) || version) || '/'::text) || (at)::text)))::uuid

CREATE OR REPLACE FUNCTION rollcall.installs(ids uuid[], components text[])
 RETURNS TABLE(device_id uuid, component text, version text, at bigint, source text, floating boolean)
 LANGUAGE sql
 STABLE
AS $function$
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
    ) as r where r.before is distinct from r.version $function$

CREATE OR REPLACE FUNCTION rollcall.is_known_offline(online_at bigint, offline_at bigint, snapshot_offline_at bigint)
 RETURNS boolean
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (offline_at IS NOT NULL) THEN ((online_at IS NULL) OR (offline_at >= online_at)) ELSE COALESCE((snapshot_offline_at > online_at), (snapshot_offline_at IS NOT NULL)) END

CREATE OR REPLACE FUNCTION rollcall.last_offline(offline_at bigint, silent_at bigint, alive_before int8multirange, silent_before bigint[])
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (silent_at IS NOT NULL) THEN silent_at WHEN ((silent_before IS NULL) OR (cardinality(silent_before) = 0)) THEN offline_at WHEN ((offline_at IS NULL) OR (offline_at < (upper(alive_before) - 1))) THEN (silent_before)[cardinality(silent_before)] ELSE offline_at END

CREATE OR REPLACE FUNCTION rollcall.listed_digest(d public.devices, listed bigint)
 RETURNS bigint
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    select pg_catalog.hashtextextended(
        row(listed, d.name, d.serial_number, d.hardware_ids, d.cohort_id, d.golioth_status, d.metadata)::text, 0) $function$

CREATE OR REPLACE FUNCTION rollcall.local_fact(d public.devices, field text)
 RETURNS jsonb
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN CASE field WHEN 'name'::text THEN to_jsonb(CASE WHEN (((d).name)::text = ANY ((ARRAY[(d).external_device_id, (d).serial_number])::text[])) THEN NULL::character varying ELSE (d).name END) WHEN 'serial_number'::text THEN to_jsonb((d).serial_number) WHEN 'hardware_ids'::text THEN to_jsonb(NULLIF((d).hardware_ids, '{}'::text[])) WHEN 'cohort_id'::text THEN to_jsonb((d).cohort_id) WHEN 'golioth_status'::text THEN to_jsonb((d).golioth_status) ELSE ((d).metadata -> substr(field, 10)) END

CREATE OR REPLACE FUNCTION rollcall.lock_devices(ids uuid[])
 RETURNS uuid[]
 LANGUAGE plpgsql
AS $function$
declare
    found_count int;
begin
    perform 1 from public.devices d where d.id = any (ids) order by d.id for no key update;
    get diagnostics found_count = row_count;
    if found_count = pg_catalog.cardinality(ids) then
        return '{}';
    end if;
    return array(select i from pg_catalog.unnest(ids) as i where not exists (select 1 from public.devices d where d.id = i));
end $function$

CREATE OR REPLACE FUNCTION rollcall.micros_of(at timestamp with time zone)
 RETURNS bigint
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN ((EXTRACT(epoch FROM at) * (1000000)::numeric))::bigint

CREATE OR REPLACE FUNCTION rollcall.note_sighting()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO ''
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.notify_integration()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
begin
    perform pg_catalog.pg_notify('rollcall_integrations', coalesce(new.id, old.id)::text);
    return null;
end $function$

CREATE OR REPLACE FUNCTION rollcall.number_events(most integer)
 RETURNS integer
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.observed(at bigint, value integer, known_at bigint, known integer)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ((at IS NOT NULL) AND ((known_at IS NULL) OR (at > known_at) OR ((at = known_at) AND (value > known)))) THEN value ELSE known END

CREATE OR REPLACE FUNCTION rollcall.offline_after_of(metadata jsonb, setting bigint)
 RETURNS bigint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN (jsonb_typeof((metadata -> 'offline_after_s'::text)) = 'number'::text) THEN ((GREATEST((10)::numeric, LEAST((31536000)::numeric, ((metadata ->> 'offline_after_s'::text))::numeric)))::bigint * 1000000) ELSE setting END

CREATE OR REPLACE FUNCTION rollcall.open_to_api()
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.organization()
 RETURNS uuid
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN (NULLIF(current_setting('rollcall.organization'::text, true), ''::text))::uuid

CREATE OR REPLACE FUNCTION rollcall.quiet_devices(ids uuid[], default_after bigint, now_at bigint)
 RETURNS TABLE(id uuid, offline_after bigint, since bigint, until bigint)
 LANGUAGE sql
 STABLE
AS $function$
    select q.id, q.offline_after, q.since, q.until from (
        select d.id, o.setting as offline_after, hearing.since, hearing.until,
            greatest(coalesce(s.online_at, s.snapshot_online_at, s.offline_at, s.stream_offline_at,
                rollcall.micros_of(coalesce(d.last_seen_online, d.last_seen, d.created_at))), hearing.since)
                + rollcall.offline_after_of(d.metadata, o.setting) as silent_at
        from pg_catalog.unnest(ids) as c (id)
        cross join lateral (select x.* from public.devices x where x.id = c.id offset 0) as d
        join public.device_integrations n on n.id = d.integration_id and n.status = 'active'
        cross join lateral (select coalesce((case when pg_catalog.jsonb_typeof(n.settings -> 'offline_after_s') = 'number'
            then (n.settings ->> 'offline_after_s')::numeric end * 1000000)::bigint, default_after) as setting) as o
        left join lateral (select x.* from rollcall.device_state x where x.device_id = d.id offset 0) as s on true
        join lateral (select pg_catalog.max(m.heard_since) as since, pg_catalog.min(m.heard_until) as until,
            pg_catalog.min(m.heard_until + m.fresh_for) as stale_at
            from rollcall.mqtt_sessions m where m.integration_id = n.id) as hearing on hearing.stale_at >= now_at
        where d.status = 'online'
    ) as q where q.silent_at < q.until
$function$

CREATE OR REPLACE FUNCTION rollcall.record_from_now()
 RETURNS void
 LANGUAGE sql
AS $function$
    select pg_catalog.set_config('rollcall.recorded_at', pg_catalog.clock_timestamp()::text, true)
$function$

CREATE OR REPLACE FUNCTION rollcall.record_last_comings(changes rollcall.transition[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.record_last_goings(changes rollcall.transition[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.record_marks(changes rollcall.transition[], marks rollcall.mark[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.record_sessions(sessions rollcall.progress[], keep bigint)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
    insert into rollcall.mqtt_digests (session_id, seq, digests)
    select t.session_id, t.seq, t.digests from pg_catalog.unnest(sessions) as t
    where pg_catalog.length(t.digests) > 0 order by 1, 2 on conflict do nothing;
    delete from rollcall.mqtt_digests where ctid = any (array(
        select old.ctid from pg_catalog.unnest(sessions) as t cross join lateral (
            select m.ctid from rollcall.mqtt_digests m where m.session_id = t.session_id and m.seq < t.seq - keep
            order by m.seq limit 1000) as old));
    update rollcall.mqtt_sessions m set
        heard_until = greatest(m.heard_until, t.heard_until), committed = coalesce(t.seq, m.committed)
    from (
        select u.session_id, pg_catalog.max(u.heard_until) as heard_until,
            pg_catalog.max(u.seq) filter (where pg_catalog.length(u.digests) > 0) as seq
        from pg_catalog.unnest(sessions) as u group by u.session_id) as t
    where m.id = t.session_id and (t.heard_until is not null or t.seq is not null);
end $function$

CREATE OR REPLACE FUNCTION rollcall.record_silences(changes rollcall.transition[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.record_transitions(changes rollcall.transition[], marks rollcall.mark[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.recording_time()
 RETURNS timestamp with time zone
 LANGUAGE sql
AS $function$
    select coalesce(nullif(pg_catalog.current_setting('rollcall.recorded_at', true), '')::timestamptz,
        pg_catalog.clock_timestamp())
$function$

CREATE OR REPLACE FUNCTION rollcall.reference_users(target regclass, user_column text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
    if exists (
        select from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'auth' and c.relname = 'users'
            and pg_catalog.has_schema_privilege(n.oid, 'usage') and pg_catalog.has_table_privilege(c.oid, 'references')
    ) then
        execute pg_catalog.format('alter table %s add foreign key (%I) references auth.users (id) on delete set null',
            target, user_column);
    end if;
end $function$

CREATE OR REPLACE FUNCTION rollcall.retract_transitions(changes rollcall.transition[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.rewrite_history(ids uuid[], components text[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.runs_after(alive_before int8multirange, silent_before bigint[], alive_from bigint, online_at bigint, silent_at bigint, evidence int8multirange, offline_after bigint, integration uuid)
 RETURNS rollcall.runs
 LANGUAGE plpgsql
 STABLE
AS $function$
declare
    heard record := rollcall.hearing(integration);
    known int8multirange := coalesce(alive_before, '{}');
    ends bigint[] := array(select pg_catalog.upper(r) - 1 from pg_catalog.unnest(known) as r);
    found rollcall.runs;
    surplus int;
begin
    if online_at is not null then
        known := known + pg_catalog.int8multirange(pg_catalog.int8range(alive_from, online_at, '[]'));
    end if;
    found := rollcall.united_runs(known, ends || online_at, silent_before || silent_at, evidence, offline_after,
        heard.since, heard.until);
    surplus := pg_catalog.cardinality(found.silences) - 16;
    if surplus > 0 then
        found.silences := found.silences[surplus + 1:];
        found.before := (select pg_catalog.range_agg(n.r) from (
            select r from pg_catalog.unnest(found.before) as r offset surplus) as n);
    end if;
    return found;
end $function$

CREATE OR REPLACE FUNCTION rollcall.seed_firmware(ids uuid[], components text[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.seed_states(ids uuid[])
 RETURNS void
 LANGUAGE plpgsql
AS $function$
begin
    insert into rollcall.device_state
        (device_id, online_at, alive_from, offline_at, battery_at, battery, signal_at, signal, version_at)
    select d.id, o.online_at, o.online_at,
        rollcall.micros_of(coalesce(d.last_seen_offline, case when d.status = 'offline' then d.last_seen end)),
        rollcall.clock_of(null, d.battery_level, d.last_seen, d.created_at), d.battery_level,
        rollcall.clock_of(null, d.signal_strength, d.last_seen, d.created_at), d.signal_strength,
        case when d.firmware_version is not null then rollcall.micros_of(coalesce(d.last_seen, d.created_at)) end
    from public.devices d cross join lateral (select rollcall.micros_of(coalesce(d.last_seen_online,
        case when d.status <> 'offline' then coalesce(d.last_seen, d.created_at) end)) as online_at) as o
    -- a scalar subquery and not `not exists`: an index lookup each, never a scan of the whole table
    where d.id = any (ids) and (select s.device_id from rollcall.device_state s where s.device_id = d.id) is null
    order by d.id
    on conflict do nothing;
end $function$

CREATE OR REPLACE FUNCTION rollcall.shown(at bigint, value integer, known_at bigint, known integer, shown integer)
 RETURNS integer
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ((at IS NOT NULL) AND ((known_at IS NULL) OR (at > known_at) OR ((at = known_at) AND (value > known) AND (shown = known)))) THEN value ELSE shown END

CREATE OR REPLACE FUNCTION rollcall.status_of(online_at bigint, offline_at bigint, silent_at bigint, snapshot_online_at bigint, snapshot_offline_at bigint)
 RETURNS public.device_status
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN ((online_at IS NULL) AND (offline_at IS NULL)) THEN CASE WHEN ((snapshot_offline_at IS NOT NULL) OR (silent_at IS NOT NULL)) THEN 'offline'::public.device_status WHEN (snapshot_online_at IS NOT NULL) THEN 'online'::public.device_status ELSE NULL::public.device_status END WHEN ((online_at IS NULL) OR (silent_at IS NOT NULL) OR rollcall.is_known_offline(online_at, offline_at, snapshot_offline_at)) THEN 'offline'::public.device_status ELSE 'online'::public.device_status END

CREATE OR REPLACE FUNCTION rollcall.sweep(after_id uuid, chunk integer, default_after bigint, now_at bigint)
 RETURNS TABLE(last_id uuid, scanned integer, silenced integer)
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
    ids uuid[];
    said rollcall.said[];
begin
    select pg_catalog.array_agg(c.id), pg_catalog.count(*) into ids, scanned from (
        select d.id from public.devices d where d.id > after_id order by d.id limit chunk) as c;
    last_id := ids[pg_catalog.cardinality(ids)];
    select pg_catalog.array_agg(q.id order by q.id), pg_catalog.array_agg((q.id, q.offline_after, null, null, null, null,
        null, null, q.since, q.until, null, null, null, null, false, 'sweep')::rollcall.said order by q.id)
    into ids, said
    from rollcall.quiet_devices(ids, default_after, now_at) as q;
    silenced := coalesce(pg_catalog.cardinality(said), 0);
    if silenced > 0 then
        perform rollcall.lock_devices(ids);
        perform rollcall.record_from_now();
        perform rollcall.apply_presence(said, null, '{}', 0);
    end if;
    return next;
end $function$

CREATE OR REPLACE FUNCTION rollcall.timestamp_of(micros bigint)
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
RETURN ('1970-01-01 00:00:00+00'::timestamp with time zone + ((micros)::double precision * '00:00:00.000001'::interval))

CREATE OR REPLACE FUNCTION rollcall.undone_if_any(gone uuid[])
 RETURNS uuid[]
 LANGUAGE plpgsql
AS $function$
begin
    if pg_catalog.cardinality(gone) > 0 then
        raise sqlstate 'RC001' using message = 'devices are gone', detail = pg_catalog.array_to_string(gone, ',');
    end if;
    return gone;
end $function$

CREATE OR REPLACE FUNCTION rollcall.united_runs(known int8multirange, known_ends bigint[], known_silences bigint[], evidence int8multirange, offline_after bigint, since bigint, until bigint)
 RETURNS rollcall.runs
 LANGUAGE plpgsql
 IMMUTABLE
AS $function$
declare
    before int8multirange := '{}';
    silences bigint[] := '{}';
    run int8range;
    run_silence bigint;
    piece int8range;
    piece_silence bigint;
    silence bigint;
begin
    for piece in select r from pg_catalog.unnest(known + evidence) as r loop
        piece_silence := known_silences[pg_catalog.array_position(known_ends, pg_catalog.upper(piece) - 1)];
        silence := coalesce(run_silence, greatest(pg_catalog.upper(run) - 1, since) + offline_after);
        if run is null then
            run := piece;
        elsif pg_catalog.lower(piece) <= silence or (run_silence is null and (until is null or silence >= until)) then
            run := pg_catalog.int8range(pg_catalog.lower(run), pg_catalog.upper(piece));
        else
            before := before + pg_catalog.int8multirange(run);
            silences := silences || silence;
            run := piece;
        end if;
        run_silence := piece_silence;
    end loop;
    return row(pg_catalog.lower(run), before, silences)::rollcall.runs;
end $function$

CREATE OR REPLACE FUNCTION rollcall.validate_constraint(target regclass, constraint_name text)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
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
end $function$

CREATE OR REPLACE FUNCTION rollcall.write_devices(said rollcall.said[], stream_offline_ats bigint[], resolution bigint, OUT known bigint, OUT changes rollcall.transition[])
 RETURNS record
 LANGUAGE plpgsql
 SET plan_cache_mode TO 'force_generic_plan'
 SET enable_seqscan TO 'off'
AS $function$
declare
    lag interval := resolution * interval '1us';
begin
    with old as (
        select e.*, d.ctid as device_tid, s.ctid as state_tid, d.status, d.last_seen, d.last_seen_online, d.last_seen_offline,
            d.battery_level, d.signal_strength, d.integration_id, s.online_at, s.offline_at, s.stream_offline_at,
            greatest(s.offline_at, s.stream_offline_at) as any_offline_at, s.alive_from, s.alive_before, s.silent_before,
            s.silent_at, s.snapshot_online_at, s.snapshot_offline_at,
            s.battery_at as stored_battery_at, s.battery as stored_battery,
            s.signal_at as stored_signal_at, s.signal as stored_signal,
            rollcall.offline_after_of(d.metadata, e.after_setting) as after,
            rollcall.clock_of(s.battery_at, d.battery_level, d.last_seen, d.created_at) as battery_at,
            coalesce(s.battery, d.battery_level) as battery,
            rollcall.clock_of(s.signal_at, d.signal_strength, d.last_seen, d.created_at) as signal_at,
            coalesce(s.signal, d.signal_strength) as signal
        from rows from (pg_catalog.unnest(said), pg_catalog.unnest(stream_offline_ats)) as e (id, after_setting, first, last,
            runs, said_offline_at, said_snapshot_online_at, said_snapshot_offline_at, quiet_since, quiet_until,
            said_battery, said_battery_at, said_signal, said_signal_at, has_marks, source, said_stream_offline_at)
        cross join lateral (select x.*, x.ctid from public.devices x where x.id = e.id offset 0) as d
        cross join lateral (select x.*, x.ctid from rollcall.device_state x where x.device_id = e.id offset 0) as s
        offset 0
    ),
    clocks as (
        select old.*,
            greatest(online_at, last) as new_online_at,
            greatest(offline_at, said_offline_at) as new_offline_at,
            case when said_stream_offline_at is null then stream_offline_at
                else nullif(said_stream_offline_at, 0) end as new_stream_offline_at,
            least(snapshot_online_at, said_snapshot_online_at) as new_snapshot_online_at,
            least(snapshot_offline_at, said_snapshot_offline_at) as new_snapshot_offline_at,
            -- NULL where the newest run goes on, or begins
            case when first is null or (runs is null and (online_at is null
                    or (silent_at is null and first between alive_from and online_at + after))) then null
                else rollcall.runs_after(alive_before, silent_before, alive_from, online_at, silent_at,
                    coalesce(runs::int8multirange,
                        pg_catalog.int8multirange(pg_catalog.int8range(first, last, '[]'))),
                    after, integration_id)
                end as runs_after
        from old offset 0
    ),
    quiet as (
        -- whether the device was quiet for long enough: since its last evidence, or since we could hear
        select clocks.*,
            greatest(new_offline_at, new_stream_offline_at) as new_any_offline_at,
            case when runs_after is null then coalesce(alive_from, first) else (runs_after).newest_from end as new_alive_from,
            case when runs_after is null then alive_before else (runs_after).before end as new_alive_before,
            case when runs_after is null then silent_before else (runs_after).silences end as new_silent_before,
            rollcall.is_known_offline(new_online_at, greatest(new_offline_at, new_stream_offline_at),
                new_snapshot_offline_at) as known_offline,
            case when quiet_until is not null and (status = 'online'
                    or (status = 'offline' and new_online_at is distinct from online_at)) then greatest(
                coalesce(new_online_at, new_snapshot_online_at, new_offline_at, new_stream_offline_at), quiet_since)
                + after < quiet_until
                else false end as is_quiet
        from clocks offset 0
    ),
    silence as (
        -- a silence ends with evidence, and is none where the device was known to be offline
        select quiet.*,
            case when known_offline and (new_online_at is not null or new_any_offline_at is not null) then null
                when is_quiet then greatest(coalesce(new_online_at, new_snapshot_online_at), quiet_since) + after
                when new_online_at is distinct from online_at then null
                else silent_at end as new_silent_at,
            rollcall.timestamp_of(new_online_at) as known_online,
            greatest(battery_at, said_battery_at) as new_battery_at,
            rollcall.observed(said_battery_at, said_battery, battery_at, battery) as new_battery,
            rollcall.shown(said_battery_at, said_battery, battery_at, battery, battery_level) as new_battery_level,
            greatest(signal_at, said_signal_at) as new_signal_at,
            rollcall.observed(said_signal_at, said_signal, signal_at, signal) as new_signal,
            rollcall.shown(said_signal_at, said_signal, signal_at, signal, signal_strength) as new_signal_strength
        from quiet offset 0
    ),
    presence as (
        select silence.*,
            case when not is_quiet and (new_online_at, new_any_offline_at, new_silent_at, new_snapshot_online_at,
                    new_snapshot_offline_at)
                    is not distinct from (online_at, any_offline_at, silent_at, snapshot_online_at, snapshot_offline_at)
                    then status
                when status in ('warning', 'error') and not coalesce(new_any_offline_at > coalesce(any_offline_at, 0)
                    and new_any_offline_at >= coalesce(new_online_at, 0), false) then status
                else coalesce(rollcall.status_of(new_online_at, new_any_offline_at, new_silent_at, new_snapshot_online_at,
                    new_snapshot_offline_at), status) end as new_status,
            rollcall.last_offline(new_any_offline_at, new_silent_at, new_alive_before, new_silent_before) as new_last_offline
        from silence offset 0
    ),
    shown as (
        select presence.*,
            rollcall.timestamp_of(new_last_offline) as new_last_seen_offline,
            -- how late last_seen_online may be says the setting; where the status changes it is exact
            case when last_seen_online is null or known_online - lag > last_seen_online
                    or new_status is distinct from status
                then greatest(known_online, last_seen_online) else last_seen_online end as new_last_seen_online
        from presence
    ),
    new as materialized (
        select device_tid, state_tid, new_status, new_last_seen_online, new_last_seen_offline, new_battery_level,
            new_signal_strength, new_online_at, new_offline_at, new_stream_offline_at, new_alive_from, new_alive_before,
            new_silent_before, new_silent_at, new_snapshot_online_at, new_snapshot_offline_at, new_battery_at, new_battery,
            new_signal_at, new_signal,
            (status, last_seen_online, last_seen_offline, battery_level, signal_strength) is distinct from
                (new_status, new_last_seen_online, new_last_seen_offline, new_battery_level, new_signal_strength)
                as is_shown_anew,
            (online_at, offline_at, stream_offline_at, alive_from, alive_before, silent_before, silent_at, snapshot_online_at,
                snapshot_offline_at, stored_battery_at, stored_battery, stored_signal_at, stored_signal) is distinct from
                (new_online_at, new_offline_at, new_stream_offline_at, new_alive_from, new_alive_before, new_silent_before,
                new_silent_at, new_snapshot_online_at, new_snapshot_offline_at, new_battery_at, new_battery, new_signal_at,
                new_signal) as is_known_anew,
            case when has_marks or new_status is distinct from status
                    or new_last_seen_offline is distinct from last_seen_offline
                    or (alive_before, silent_at) is distinct from (new_alive_before, new_silent_at)
                    or (online_at is null and snapshot_online_at is not null and new_online_at is not null)
                then (id, source, status, new_status, rollcall.micros_of(last_seen_offline),
                    new_last_offline, new_silent_at is not null or new_last_offline = any (new_silent_before),
                    new_online_at, coalesce(first, case when new_online_at is null then new_snapshot_online_at end),
                    new_alive_from,
                    online_at is null and snapshot_online_at is not null and new_online_at is not null,
                    case when known_offline and new_any_offline_at is null then new_snapshot_offline_at end,
                    silent_before || silent_at, new_silent_before || new_silent_at,
                    array(select pg_catalog.upper(r) - 1 from pg_catalog.unnest(new_alive_before) as r)
                        || coalesce(new_online_at, new_snapshot_online_at))::rollcall.transition end as change
        from shown
    ),
    devices_written as (
        update public.devices d set
            status = n.new_status, last_seen = greatest(d.last_seen, n.new_last_seen_online),
            last_seen_online = n.new_last_seen_online, last_seen_offline = n.new_last_seen_offline,
            battery_level = n.new_battery_level, signal_strength = n.new_signal_strength, updated_at = pg_catalog.now()
        from (select device_tid, new_status, new_last_seen_online, new_last_seen_offline, new_battery_level,
            new_signal_strength from new where is_shown_anew offset 0) n where d.ctid = n.device_tid
    ),
    state_written as (
        update rollcall.device_state s set
            online_at = n.new_online_at, offline_at = n.new_offline_at, stream_offline_at = n.new_stream_offline_at,
            alive_from = n.new_alive_from, alive_before = n.new_alive_before, silent_before = n.new_silent_before,
            silent_at = n.new_silent_at, snapshot_online_at = n.new_snapshot_online_at,
            snapshot_offline_at = n.new_snapshot_offline_at, battery_at = n.new_battery_at, battery = n.new_battery,
            signal_at = n.new_signal_at, signal = n.new_signal
        from (select state_tid, new_online_at, new_offline_at, new_stream_offline_at, new_alive_from, new_alive_before,
            new_silent_before, new_silent_at, new_snapshot_online_at, new_snapshot_offline_at, new_battery_at, new_battery,
            new_signal_at, new_signal from new where is_known_anew offset 0) n where s.ctid = n.state_tid
    )
    select pg_catalog.count(*), pg_catalog.array_agg(n.change) filter (where n.change is distinct from null)
    into known, changes from new n;
end $function$
