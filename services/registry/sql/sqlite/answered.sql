SELECT request, answer FROM answers
WHERE tenant = ?1 AND subject = ?2 AND key = ?3 AND made_at > ?4
