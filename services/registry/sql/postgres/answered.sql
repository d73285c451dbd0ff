-- $1 tenant, $2 subject, $3 key, $4 oldest that is still good.
SELECT request, answer FROM mcp_answers
WHERE tenant = $1 AND subject = $2 AND key = $3 AND made_at > $4
