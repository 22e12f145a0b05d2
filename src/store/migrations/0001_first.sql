-- The first schema. Rows are what paas promises to remember; anything that can be found out again (what runs, what listens) is not here.

create table settings (
    key text primary key,
    value text not null
) strict;

create table apps (
    id integer primary key autoincrement,
    name text not null constraint apps_name_taken unique,
    created_at integer not null,
    live integer,
    subnet integer not null constraint apps_subnet_taken unique,
    held_by integer,
    destroying integer not null default 0
) strict;

-- How many instances a person asked for; a process type without a row has the manifest's number.
create table scales (
    app_id integer not null references apps (id) on delete cascade,
    process text not null,
    count integer not null,
    primary key (app_id, process)
) strict;

-- Values are sealed with the installation's key; app and key are bound in, so a row cannot be moved to another app.
create table config (
    app_id integer not null references apps (id) on delete cascade,
    key text not null,
    sealed blob not null,
    primary key (app_id, key)
) strict;

-- The primary key is the promise that a host name has one owner.
create table domains (
    host text primary key,
    app_id integer not null references apps (id) on delete cascade,
    redirect_to text,
    from_manifest integer not null default 0,
    created_at integer not null
) strict;

create index domains_of_app on domains (app_id);

create table ssh_keys (
    id integer primary key autoincrement,
    name text not null constraint ssh_keys_name_taken unique,
    algorithm text not null,
    blob text not null constraint ssh_keys_blob_taken unique,
    fingerprint text not null,
    limited integer not null,
    deploy_only integer not null,
    created_at integer not null,
    last_used_at integer
) strict;

-- Names, not ids: a key may be limited to an app that its first push will create.
create table ssh_key_apps (
    key_id integer not null references ssh_keys (id) on delete cascade,
    app text not null,
    primary key (key_id, app)
) strict;

create table deploys (
    id integer primary key autoincrement,
    app_id integer not null references apps (id) on delete cascade,
    origin text not null,
    state text not null,
    commit_sha text,
    release integer,
    by_key integer,
    cancel_asked integer not null default 0,
    branch_moved integer not null default 0,
    created_at integer not null,
    entered_at integer not null,
    failure text,
    counts text
) strict;

-- The driver and recovery ask only for these few.
create index deploys_active on deploys (app_id, id) where state not in ('live', 'failed', 'cancelled', 'superseded');
create index deploys_of_app on deploys (app_id, id);

-- When each state was entered: the stage times of `deploys info`.
create table deploy_moves (
    deploy_id integer not null references deploys (id) on delete cascade,
    state text not null,
    at integer not null,
    primary key (deploy_id, state)
) strict;

create table releases (
    app_id integer not null references apps (id) on delete cascade,
    number integer not null,
    deploy_id integer not null constraint releases_one_per_deploy unique,
    commit_sha text,
    description text not null,
    image text not null,
    manifest text not null,
    config_sealed blob not null,
    created_at integer not null,
    status text not null,
    primary key (app_id, number)
) strict;

-- The release command of a deploy: `started` without `ended` after a restart means that its container has to be asked.
create table release_commands (
    deploy_id integer primary key references deploys (id) on delete cascade,
    started_at integer not null,
    ended_at integer,
    exit_code integer
) strict;

create table instances (
    id integer primary key autoincrement,
    app_id integer not null references apps (id) on delete cascade,
    release integer not null,
    deploy_id integer not null,
    process text not null,
    idx integer not null,
    port integer not null,
    container text,
    wanted text not null,
    retired_by integer,
    cut_streams integer not null default 0,
    created_at integer not null,
    constraint instances_one_per_place unique (deploy_id, process, idx)
) strict;

create index instances_of_app on instances (app_id);

create table events (
    id integer primary key autoincrement,
    at integer not null,
    app text,
    deploy_id integer,
    by text,
    what text not null
) strict;

create index events_of_app on events (app, id);
