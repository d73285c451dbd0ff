SELECT count(*) AS tools FROM mcp_tools WHERE tenant = $1 AND NOT deleted
