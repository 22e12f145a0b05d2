-- What clients get instead of an app while it is being worked on. It outlives deploys and restarts.
create table maintenance (
    app_id integer primary key references apps (id) on delete cascade,
    message text,
    hold_ms integer not null,
    since integer not null,
    by text not null
) strict;

-- Certificates with their private keys, which are sealed as settings are. The fingerprint is that of the first certificate of the chain.
create table certificates (
    id integer primary key autoincrement,
    fingerprint text not null,
    chain text not null,
    sealed blob not null,
    names text not null,
    issuer text not null,
    key_type text not null,
    not_before integer not null,
    not_after integer not null,
    -- Where it came from: `added` by a person.
    source text not null,
    created_at integer not null,
    constraint certificates_fingerprint unique (fingerprint)
) strict;

-- Which certificate is shown for a host name (or for `*.parent`); one that is shown for none is removed.
create table certificate_hosts (
    host text primary key,
    certificate_id integer not null references certificates (id) on delete cascade
) strict;

create index certificate_hosts_certificate on certificate_hosts (certificate_id);
