-- What somebody should know, and who still has to be told: kept here so that a restart neither repeats nor forgets it.

create table alerts (
    id integer primary key autoincrement,
    kind text not null,
    subject text not null,
    occurrence text not null,
    text text not null,
    hint text not null,
    raised_at integer not null,
    cleared_at integer
) strict;

-- One open alert per thing, however often it is raised.
create unique index alerts_open on alerts (kind, subject) where cleared_at is null;

-- The outbox: one row per receiver and message. A row is `done` when it was delivered, or given up.
create table alert_messages (
    id integer primary key autoincrement,
    alert_id integer not null references alerts (id) on delete cascade,
    sink text not null,
    event text not null,
    text text not null,
    at integer not null,
    tries integer not null default 0,
    next_at integer not null,
    done integer not null default 0
) strict;

create index alert_messages_due on alert_messages (sink, next_at) where done = 0;
