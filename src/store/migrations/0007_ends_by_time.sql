-- The watch counts the ends of the last hour every few seconds.
create index ends_lately on ends (at) where live = 1;
