-- How runs ended, so that `paas why` answers after a restart of the daemon and when the instance is gone. The writer keeps so many per app.
create table ends (
    id integer primary key autoincrement,
    app_id integer not null references apps (id) on delete cascade,
    at integer not null,
    instance_id integer not null,
    process text not null,
    idx integer not null,
    release integer not null,
    live integer not null,
    told text not null,
    -- An init tells of its last end again to every daemon that it meets.
    constraint ends_once unique (instance_id, at)
) strict;

create index ends_of_app on ends (app_id, id);

-- Core dumps and the like that were taken out of an instance that died. Their bytes lie in a folder, each under its id.
create table crash_files (
    id integer primary key autoincrement,
    app_id integer not null references apps (id) on delete cascade,
    at integer not null,
    instance_id integer not null,
    process text not null,
    idx integer not null,
    release integer not null,
    path text not null,
    -- Of the file in the instance: one that was kept already is not kept again.
    modified integer not null,
    bytes integer not null,
    constraint crash_files_once unique (instance_id, path, modified, bytes)
) strict;

create index crash_files_of_app on crash_files (app_id, id);
