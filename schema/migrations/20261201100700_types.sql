-- The rows that functions take and return: what a batch says, and what it changes.

-- What a batch says, a row each. Times in microseconds; offline_after as the integration has it. runs: text of an
-- int8multirange, where there are more than one. quiet: that nothing later than what is known was said in
-- [quiet_since, quiet_until), by hearing or by a complete listing. has_marks: comings and goings inside the batch.
create type rollcall.said as (
    id uuid, offline_after bigint, online_first bigint, online_last bigint, runs text, offline_at bigint,
    snapshot_online_at bigint, snapshot_offline_at bigint, quiet_since bigint, quiet_until bigint,
    battery int, battery_at bigint, signal int, signal_at bigint, has_marks boolean, source text);
create type rollcall.said_of_stream as (
    device_id uuid, order_window bigint, connected_at bigint, disconnected_at bigint, head_online boolean,
    head_at bigint, head_order text);
create type rollcall.said_of_firmware as (device_id uuid, component text, version text, at bigint);
create type rollcall.reading as (device_id uuid, name text, value double precision, unit text, at bigint);
create type rollcall.progress as (session_id bigint, seq bigint, digests bytea, heard_until bigint);

-- Runs of a device: the newest run's beginning; the runs before it, and the silence that ended each of these, in their order.
create type rollcall.runs as (newest_from bigint, before int8multirange, silences bigint[]);

-- What a write changed of one device: statuses, last_seen_offline, whether that is a silence, the newest evidence,
-- whether only a retained word was known before, and the time of a retained `offline` that decides; the silences before
-- and after, and the evidence that each follows.
create type rollcall.transition as (
    id uuid, source text, old_status public.device_status, new_status public.device_status,
    was_offline_at bigint, offline_at bigint, is_silence boolean, online_at bigint, online_first bigint,
    alive_from bigint, was_snapshot boolean, snapshot_offline_at bigint, silences_before bigint[], silences_after bigint[],
    ends_after bigint[]);
create type rollcall.mark as (device_id uuid, at bigint, online boolean, source text, left_out int);
