SELECT coalesce(sum(octet_length(t::text)), 0)::bigint AS bytes FROM dynamic_tools AS t
