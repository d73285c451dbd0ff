INSERT INTO tenants (tenant, revision_floor) VALUES (?1, ?2)
ON CONFLICT (tenant) DO UPDATE SET revision_floor = max(revision_floor, excluded.revision_floor)
