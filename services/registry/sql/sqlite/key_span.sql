-- Keys are known from the first version of the catalogue on, and after those that were dropped.
SELECT max(first_version, coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'keys_floor'), 0)),
       version
FROM catalog WHERE id = 1
