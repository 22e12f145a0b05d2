-- Counts of an instance go to its deploys once, before its container is removed: a crash in between must not add them again.
alter table instances add column counted integer not null default 0;

-- A rollback brings an older config back at its commit point. The keys that were set or unset after it was asked for stand here, as a JSON
-- list of names: those it leaves alone.
alter table deploys add column config_kept text;
