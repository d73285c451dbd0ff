UPDATE catalog SET first_version = max(first_version, ?1) WHERE id = 1
