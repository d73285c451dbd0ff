DELETE FROM audit_records WHERE id <= ?1
