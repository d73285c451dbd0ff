SELECT revision_floor FROM tenants WHERE tenant = ?1
