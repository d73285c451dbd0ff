-- A lease that a crash of the database takes back is renewed seconds later: it need not wait for
-- the disk.
BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE;
SET LOCAL synchronous_commit TO off;
LOCK TABLE mcp_executors IN SHARE ROW EXCLUSIVE MODE
