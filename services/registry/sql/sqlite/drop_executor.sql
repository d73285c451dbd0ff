DELETE FROM executors WHERE id = ?1
