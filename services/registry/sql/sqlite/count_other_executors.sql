SELECT count(*) FROM executors WHERE id <> ?1
