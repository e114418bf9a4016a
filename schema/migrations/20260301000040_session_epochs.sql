-- Each time that a process takes up an MQTT session its epoch grows, and a commit names the epoch that it belongs to. So what
-- another process still has in hand of that session, after its lease has ended, is not applied beside what comes again.
alter table rollcall.mqtt_sessions add column if not exists epoch bigint not null default 0;
