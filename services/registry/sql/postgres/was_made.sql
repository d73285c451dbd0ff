-- Whether a write was made. $1 its mark, $2 its version.
SELECT EXISTS (SELECT FROM mcp_writes WHERE slot = $2 % 65536 AND mark = $1::text::uuid) AS made
