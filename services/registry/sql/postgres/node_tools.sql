-- The tools of the Node server in the shape of its JSON store.
SELECT json_build_object(
           'name', name, 'title', title, 'description', description, 'image', image,
           'timeoutMs', timeout_ms, 'dependencies', dependencies, 'code', code, 'enabled', enabled,
           'revision', revision,
           'createdAt', to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
           'updatedAt', to_char(updated_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
       )::text AS record
FROM dynamic_tools
ORDER BY name COLLATE "C"
