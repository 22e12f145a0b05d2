-- Who asked for a deploy, also where that was nobody with a key, and when the key is gone: `root`, `key laptop`.
alter table deploys add column by_name text;

-- Of those that are there the events know it.
update deploys set by_name = e.by
from (select deploy_id, by, min(id) from events where what like '% admitted: %' group by deploy_id) e
where e.deploy_id = deploys.id;
