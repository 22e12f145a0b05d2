-- What follows the end of a deploy (its branch, the removal of what it made, its last event) is several effects, and a crash may come between
-- any two: `ended` says that all of them are done. A start carries out what is not.
alter table deploys add column ended integer not null default 0;

update deploys set ended = 1 where state in ('failed', 'cancelled', 'superseded') or (state = 'live' and (branch_moved = 1 or commit_sha is null));

create index deploys_to_end on deploys (app_id, id) where ended = 0;

-- The push that a deploy came from: a hook that lost the daemon before it was told the deploy's id asks again, and gets the same deploy.
alter table deploys add column push text;

create unique index deploys_one_per_push on deploys (app_id, push) where push is not null;
