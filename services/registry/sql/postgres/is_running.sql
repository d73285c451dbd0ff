-- Whether a transaction goes on. $1 its id.
SELECT coalesce(pg_xact_status($1::text::xid8) = 'in progress', false) AS running
