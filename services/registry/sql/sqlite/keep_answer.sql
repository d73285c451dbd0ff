INSERT INTO answers (tenant, subject, key, request, answer, made_at)
VALUES (?1, ?2, ?3, ?4, ?5, ?6)
ON CONFLICT (tenant, subject, key) DO UPDATE SET
    request = excluded.request,
    answer = excluded.answer,
    made_at = excluded.made_at
