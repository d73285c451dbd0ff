-- What became of a transaction whose commit was not answered. $1 its id.
SELECT pg_xact_status($1::text::xid8) AS outcome
