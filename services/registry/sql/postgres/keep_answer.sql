-- $1 tenant, $2 subject, $3 key, $4 oldest that is still good, $5 request, $6 answer, $7 made at,
-- $8 most that are kept. Runs after lock.sql, in the transaction of the write that was answered.
WITH old AS (
    DELETE FROM mcp_answers
    WHERE tenant = $1 AND (subject, key) <> ($2, $3) AND made_at <= greatest($4, (
        SELECT made_at FROM mcp_answers WHERE tenant = $1 ORDER BY made_at DESC LIMIT 1 OFFSET $8
    ))
)
INSERT INTO mcp_answers (tenant, subject, key, request, answer, made_at)
VALUES ($1, $2, $3, $5, $6, $7)
ON CONFLICT (tenant, subject, key) DO UPDATE SET
    request = excluded.request,
    answer = excluded.answer,
    made_at = excluded.made_at
