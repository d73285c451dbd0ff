SELECT first_version, version FROM mcp_catalog WHERE id = 1
